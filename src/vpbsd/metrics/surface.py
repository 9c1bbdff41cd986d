"""Distances between the surfaces of two masks: surface Dice, HD95 and mean distance.

The surface of a mask is the set of its voxels that touch background through a face; voxels
on the border of the volume count as touching background. This is MONAI's voxel version of
the surface Dice of Nikolov et al. (2018), whose original weighs surface elements by area.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import edt
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion

from vpbsd.geometry import Box, VoxelSize
from vpbsd.metrics.masks import Mask, mask_pair
from vpbsd.metrics.matches import Matches
from vpbsd.metrics.view import Ends, View

__all__ = [
    "SurfaceDistances",
    "core_distances",
    "surface_dice",
    "surface_dice_voxels",
    "surface_distances",
]

# Distances are float32: a tolerance of one voxel of 0.994 µm must still reach the neighbour.
_ROUNDING = 1e-5


@dataclass(frozen=True, slots=True)
class SurfaceDistances:
    """How far each surface voxel of one mask is from the surface of the other.

    The unit is that of the voxel size they were measured with. If just one mask is empty,
    the distances of the other are all infinite.
    """

    prediction_to_truth: NDArray[np.float32]
    """(number of predicted surface voxels,)"""

    truth_to_prediction: NDArray[np.float32]
    """(number of true surface voxels,)"""

    def dice(self, tolerance: float) -> float:
        """Return the share of both surfaces that lies within ``tolerance`` of the other.

        ::

            (|{p : d(p, S_T) <= t}| + |{q : d(q, S_P) <= t}|) / (|S_P| + |S_T|)

        Both masks empty: 1; one empty: 0.

        Raises
        ------
        ConfigError
            If the tolerance is negative or not finite.
        """
        return self.matches(tolerance).dice

    def matches(self, tolerance: float) -> Matches:
        """Return how many voxels of each surface lie within ``tolerance`` of the other.

        Raises
        ------
        ConfigError
            If the tolerance is negative or not finite.
        """
        return Matches.within(
            self.prediction_to_truth, self.truth_to_prediction, tolerance, _ROUNDING
        )

    def hausdorff(self, percentile: float = 95.0) -> float | None:
        """Return the larger of the two percentiles of distance (95: HD95).

        Both masks empty: 0; one empty: None, because the distance is infinite.
        """
        if not self._pooled().size:
            return 0.0
        if self._one_empty():
            return None
        return max(
            float(np.percentile(self.prediction_to_truth, percentile)),
            float(np.percentile(self.truth_to_prediction, percentile)),
        )

    def mean(self) -> float | None:
        """Return the mean over both surfaces (average symmetric surface distance).

        Both masks empty: 0; one empty: None, because the distance is infinite.
        """
        both = self._pooled()
        if not both.size:
            return 0.0
        return None if self._one_empty() else float(both.mean(dtype=np.float64))

    def _pooled(self) -> NDArray[np.float32]:
        return np.concatenate([self.prediction_to_truth, self.truth_to_prediction])

    def _one_empty(self) -> bool:
        return not (self.prediction_to_truth.size and self.truth_to_prediction.size)


def surface_distances(
    prediction: NDArray[Any], truth: NDArray[Any], voxel_size: VoxelSize
) -> SurfaceDistances:
    """Measure the Euclidean distances between the surfaces of two masks.

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
    return core_distances(View.whole(*mask_pair(prediction, truth)).tight(), voxel_size)


def core_distances(view: View, voxel_size: VoxelSize) -> SurfaceDistances:
    """Measure from the surface voxels in the core of a view to those anywhere in the view.

    A distance is exact if it is shorter than the context is deep; a longer one may come out too
    long, since a nearer surface outside of the context is not seen.
    """
    predicted = _surface(view.predicted, view.ends)
    true = _surface(view.true, view.ends)
    return SurfaceDistances(
        prediction_to_truth=_distances(view.core_of(predicted), true, view.core, voxel_size),
        truth_to_prediction=_distances(view.core_of(true), predicted, view.core, voxel_size),
    )


def surface_dice(
    prediction: NDArray[Any],
    truth: NDArray[Any],
    voxel_size_um: VoxelSize,
    tolerance_um: float,
) -> float:
    """Return the surface Dice at a tolerance in µm; see `SurfaceDistances.dice`.

    Raises
    ------
    DataError
        If the arrays are not masks of one shape.
    ConfigError
        If the tolerance is negative or not finite.
    """
    return surface_distances(prediction, truth, voxel_size_um).dice(tolerance_um)


def surface_dice_voxels(
    prediction: NDArray[Any], truth: NDArray[Any], tolerance_voxels: float
) -> float:
    """Return the surface Dice at a tolerance in voxels.

    Distances are measured on the grid of indices, where every axis has step 1: one voxel is
    what an annotator can be off by, be it in plane or across thick planes.

    Raises
    ------
    DataError
        If the arrays are not masks of one shape.
    ConfigError
        If the tolerance is negative or not finite.
    """
    return surface_distances(prediction, truth, VoxelSize(1, 1, 1)).dice(tolerance_voxels)


def _surface(mask: Mask, ends: Ends) -> Mask:
    surface = np.asarray(mask & ~binary_erosion(mask), dtype=np.bool_)
    # On the border of the volume a voxel touches background; on that of a context, who knows.
    for axis, (low, high) in enumerate(ends):
        layers = np.moveaxis(surface, axis, 0)
        if not low:
            layers[:1] = False
        if not high:
            layers[-1:] = False
    return surface


def _distances(
    from_core: Mask, to_surface: Mask, core: Box, voxel_size: VoxelSize
) -> NDArray[np.float32]:
    if not to_surface.any():
        return np.full(int(np.count_nonzero(from_core)), np.inf, dtype=np.float32)
    field = edt.edt(~to_surface, anisotropy=voxel_size.zyx_um, black_border=False)
    return np.asarray(field[core.slices][from_core], dtype=np.float32)
