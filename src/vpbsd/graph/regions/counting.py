"""One block: its voxels, vessel voxels and distances to the nearest vessel, counted by region."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from vpbsd.blockwise import Block
from vpbsd.geometry import Triplet, VoxelSize
from vpbsd.graph.regions.squared_distance import (
    UNITS_OF_LIMIT,
    lattice,
    plane_squares,
    row_squares,
    squares,
)
from vpbsd.graph.regions.tissue_counts import TissueCounts
from vpbsd.graph.regions.volume import LabelBox

__all__ = ["Distances", "count_block"]

# A distance of exactly the limit must not be beyond it by the rounding of its squares.
_WITHIN = UNITS_OF_LIMIT + 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Distances:
    """How distances are taken and counted.

    Attributes
    ----------
    limit_um
        Longer ones are beyond; None: none are taken.
    bin_um
        They are rounded to multiples of this.
    step
        They are taken at every so-many-th voxel along (z, y, x).
    """

    limit_um: float | None
    bin_um: float
    step: Triplet

    @property
    def columns(self) -> int:
        """Number of counts a region: one for each rounded distance, and those beyond the limit."""
        return 0 if self.limit_um is None else round(self.limit_um / self.bin_um) + 2


def count_block(
    block: Block,
    vessels: NDArray[np.bool_],
    regions: LabelBox,
    tissue: LabelBox,
    voxel_size: VoxelSize,
    distances: Distances,
) -> TissueCounts:
    """Count one block.

    Parameters
    ----------
    block
        Read with a halo of the limit.
    vessels
        (z, y, x) of the read box.
    regions, tissue
        Of the write box; only where tissue is above 0 is anything counted.
    voxel_size
        Of the mask.
    distances
        How they are taken.
    """
    found = _distinct(regions.labels)
    inside = vessels[block.crop.slices]
    labels = (regions.labels, *regions.index, found)
    flags = (tissue.labels, *tissue.index)
    voxels = np.zeros((len(found), 2), np.int64)
    _count_voxels(inside, labels, flags, voxels)
    counts = np.zeros((len(found), distances.columns), np.int64)
    if distances.limit_um is not None:
        _distances_of(block, vessels, (labels, flags), voxel_size, distances, counts)
    kept = voxels[:, 0] > 0
    return TissueCounts(
        found[kept], voxels[kept, 0], voxels[kept, 1], counts[kept], distances.bin_um
    )


def _distances_of(
    block: Block,
    vessels: NDArray[np.bool_],
    labels: tuple[tuple[NDArray[np.int64], ...], tuple[NDArray[np.int64], ...]],
    voxel_size: VoxelSize,
    distances: Distances,
    counts: NDArray[np.int64],
) -> None:
    limit_um = distances.limit_um or 0.0
    square = squares(voxel_size, limit_um)
    step = distances.step
    first, size = lattice(block.write.start, block.write.stop, step)
    if min(size) == 0:
        return
    read = [f - r for f, r in zip(first, block.read.start, strict=True)]
    write = [f - w for f, w in zip(first, block.write.start, strict=True)]
    planes = np.empty((size[1], vessels.shape[0], size[2]), np.int32)
    plane_squares(vessels, (read[1], read[2]), (step[1], step[2]), square[1], square[2], planes)
    _count_distances(
        planes,
        vessels[block.crop.slices],
        *labels,
        (read[0], *write, *step, size[0]),
        (square[0], limit_um / math.sqrt(UNITS_OF_LIMIT) / distances.bin_um),
        counts,
    )


def _distinct(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the labels of a block, ascending; only where they change are they looked at."""
    flat = labels.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    return np.unique(np.concatenate([flat[changes], flat[-1:]]))


@numba.njit(cache=True, nogil=True)
def _count_voxels(vessels, labels, flags, counts):  # type: ignore[no-untyped-def]
    """Add the voxels of each region, and its vessel voxels, to (R, 2) ``counts``."""
    volume, at_z, at_y, at_x, found = labels
    tissue, in_z, in_y, in_x = flags
    slot = 0
    for z in range(vessels.shape[0]):
        for y in range(vessels.shape[1]):
            for x in range(vessels.shape[2]):
                if tissue[in_z[z], in_y[y], in_x[x]] <= 0:
                    continue
                label = volume[at_z[z], at_y[y], at_x[x]]
                if label != found[slot]:
                    slot = np.searchsorted(found, label)
                counts[slot, 0] += 1
                counts[slot, 1] += vessels[z, y, x]


@numba.njit(cache=True, nogil=True)
def _count_distances(  # type: ignore[no-untyped-def]
    planes, vessels, labels, flags, grid, measure, counts
):
    """Add the distances on the lattice to (R, bins + 1) ``counts``, row by row."""
    volume, at_z, at_y, at_x, found = labels
    tissue, in_z, in_y, in_x = flags
    read_z, first_z, first_y, first_x, step_z, step_y, step_x, rows = grid
    square_z, bins_per_root = measure
    beyond = counts.shape[1] - 1
    best = np.empty(planes.shape[2], np.int32)
    slot = 0
    for i in range(planes.shape[0]):
        y = first_y + i * step_y
        for k in range(rows):
            row_squares(planes[i], read_z + k * step_z, square_z, best)
            z = first_z + k * step_z
            for j in range(best.size):
                x = first_x + j * step_x
                if vessels[z, y, x] or tissue[in_z[z], in_y[y], in_x[x]] <= 0:
                    continue
                label = volume[at_z[z], at_y[y], at_x[x]]
                if label != found[slot]:
                    slot = np.searchsorted(found, label)
                if best[j] > _WITHIN:
                    counts[slot, beyond] += 1
                else:
                    counts[
                        slot, min(beyond - 1, int(math.sqrt(best[j]) * bins_per_root + 0.5))
                    ] += 1
