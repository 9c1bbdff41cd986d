"""Centreline precision and recall with a tolerance: how much of each line runs near the other.

::

    precision = |{p ∈ S(P) : d(p, S(T)) <= t}| / |S(P)|     "correctness"
    recall    = |{q ∈ S(T) : d(q, S(P)) <= t}| / |S(T)|     "completeness"

S(·) is the centreline and d the Euclidean distance. Heipke, Mayer, Wiedemann and Jamet (1997),
*Evaluation of automatic road extraction*, with counts of voxels in place of lengths. Unlike clDice,
a prediction that is much too wide gains nothing by it.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from vpbsd.geometry import Box, VoxelSize
from vpbsd.metrics.centreline import centreline
from vpbsd.metrics.masks import Mask, mask_pair
from vpbsd.metrics.matches import Matches, require_tolerance

__all__ = [
    "CentrelineDistances",
    "centreline_distances",
    "centreline_match",
    "centreline_match_voxels",
    "within",
]

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class CentrelineDistances:
    """How far each voxel of one centreline is from the other centreline.

    The unit is that of the voxel size they were measured with. If just one mask is empty, the
    distances of the other are all infinite.
    """

    prediction_to_truth: NDArray[np.float64]
    """(voxels of the predicted centreline,)"""

    truth_to_prediction: NDArray[np.float64]
    """(voxels of the true centreline,)"""

    def matches(self, tolerance: float) -> Matches:
        """Return how many voxels of each line lie within ``tolerance`` of the other.

        Its ``precision``, ``recall`` and ``f1`` are the scores. Both masks empty: 1; one empty: 0.

        Raises
        ------
        ConfigError
            If the tolerance is negative or not finite.
        """
        return Matches.within(
            self.prediction_to_truth, self.truth_to_prediction, tolerance, _ROUNDING
        )


def centreline_distances(
    prediction: NDArray[Any], truth: NDArray[Any], voxel_size: VoxelSize
) -> CentrelineDistances:
    """Measure the Euclidean distances between the centrelines of two masks.

    Parameters
    ----------
    prediction, truth
        Masks (z, y, x) of one shape.
    voxel_size
        In µm gives distances in µm; ``VoxelSize(1, 1, 1)`` gives distances in voxels.

    Raises
    ------
    DataError
        If the arrays are not masks of one shape.
    """
    predicted, true = mask_pair(prediction, truth)
    p = np.argwhere(centreline(predicted)) * voxel_size.zyx_um
    t = np.argwhere(centreline(true)) * voxel_size.zyx_um
    return CentrelineDistances(_nearest(p, t), _nearest(t, p))


def centreline_match(
    prediction: NDArray[Any],
    truth: NDArray[Any],
    voxel_size_um: VoxelSize,
    tolerance_um: float,
) -> Matches:
    """Return centreline precision, recall and F1 at a tolerance in µm.

    Raises
    ------
    DataError
        If the arrays are not masks of one shape.
    ConfigError
        If the tolerance is negative or not finite.
    """
    require_tolerance(tolerance_um)
    return centreline_distances(prediction, truth, voxel_size_um).matches(tolerance_um)


def centreline_match_voxels(
    prediction: NDArray[Any], truth: NDArray[Any], tolerance_voxels: float
) -> Matches:
    """Return centreline precision, recall and F1 at a tolerance in voxels.

    Distances are measured on the grid of indices, where every axis has step 1.

    Raises
    ------
    DataError
        If the arrays are not masks of one shape.
    ConfigError
        If the tolerance is negative or not finite.
    """
    return centreline_match(prediction, truth, VoxelSize(1, 1, 1), tolerance_voxels)


def within(line: Mask, other: Mask, core: Box, tolerance_voxels: int) -> int:
    """Count the voxels of ``line`` in the core that lie within a few voxels of ``other``.

    Parameters
    ----------
    line, other
        Centrelines (z, y, x) of one shape; ``other`` is looked for outside of the core as well.
    core
        Where voxels of ``line`` count.
    """
    reach = tolerance_voxels
    field = np.pad(other[core.grow(reach).clip(other.shape).slices], _margin(core, other, reach))
    points = np.argwhere(line[core.slices]).astype(np.int32) + np.int32(reach)
    # Every step of the ball is looked up for all voxels at once: no tree, no distances to keep.
    steps = np.arange(-reach, reach + 1, dtype=np.int32)
    near = np.zeros(len(points), dtype=np.bool_)
    for step in itertools.product(steps, repeat=3):
        if sum(int(s) ** 2 for s in step) <= reach**2:
            near |= field[tuple((points + step).T)]
    return int(np.count_nonzero(near))


def _margin(core: Box, whole: Mask, reach: int) -> list[tuple[int, int]]:
    """Return how many voxels of ``reach`` around the core lie outside of the whole."""
    return [
        (max(0, reach - start), max(0, stop + reach - size))
        for start, stop, size in zip(core.start, core.stop, whole.shape, strict=True)
    ]


def _nearest(points: NDArray[Any], others: NDArray[Any]) -> NDArray[np.float64]:
    """Return the distance of each of the points (n, 3) to the nearest of the others (m, 3)."""
    if not len(others):
        return np.full(len(points), np.inf)
    # Lines are thin: a tree of their voxels is quicker than a distance transform of the volume.
    distances, _ = KDTree(others).query(points)
    return np.asarray(distances, dtype=np.float64)
