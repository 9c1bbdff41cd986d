"""Centreline precision and recall with a tolerance: how much of each line runs near the other.

::

    precision = |{p ∈ S(P) : d(p, S(T)) <= t}| / |S(P)|     "correctness"
    recall    = |{q ∈ S(T) : d(q, S(P)) <= t}| / |S(T)|     "completeness"

S(·) is the centreline and d the Euclidean distance. Heipke, Mayer, Wiedemann and Jamet (1997),
*Evaluation of automatic road extraction*, with counts of voxels in place of lengths. Unlike clDice,
a prediction that is much too wide gains nothing by it.
"""

from __future__ import annotations

import math
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
        reach = require_tolerance(tolerance) * (1 + _ROUNDING)
        return Matches(
            predicted=self.prediction_to_truth.size,
            predicted_matched=int(np.count_nonzero(self.prediction_to_truth <= reach)),
            true=self.truth_to_prediction.size,
            true_matched=int(np.count_nonzero(self.truth_to_prediction <= reach)),
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


def within(line: Mask, other: Mask, core: Box, tolerance_voxels: float) -> int:
    """Count the voxels of ``line`` in the core that lie within a tolerance of ``other``.

    Parameters
    ----------
    line, other
        Centrelines (z, y, x) of one shape; ``other`` is looked for outside of the core as well.
    core
        Where voxels of ``line`` count.
    """
    reach = core.grow(math.ceil(tolerance_voxels)).clip(line.shape)
    start = np.asarray(core.start) - reach.start
    distances = _nearest(np.argwhere(line[core.slices]) + start, np.argwhere(other[reach.slices]))
    return int(np.count_nonzero(distances <= tolerance_voxels * (1 + _ROUNDING)))


def _nearest(points: NDArray[Any], others: NDArray[Any]) -> NDArray[np.float64]:
    """Return the distance of each of the points (n, 3) to the nearest of the others (m, 3)."""
    if not len(others):
        return np.full(len(points), np.inf)
    # Lines are thin: a tree of their voxels is quicker than a distance transform of the volume.
    distances, _ = KDTree(others).query(points)
    return np.asarray(distances, dtype=np.float64)
