"""Which region a voxel or a point lies in, from a label volume of the same space.

The mask and the region volume cover the same box of tissue with voxels of their own size: their
outer faces coincide. With voxel sizes m (mask) and r (regions), along each axis::

    region voxel of mask voxel i        = floor((i + 1/2) m / r)
    region voxel of a position p in µm  = floor((p + m/2) / r),    p = 0 is the centre of voxel 0

so that a voxel and its centre get one label, that of the region voxel which contains the centre. A
centre that lies in two belongs to the higher one. Where the region volume ends a little earlier (at
a coarser voxel size it cannot end at the same place), its last voxel reaches on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpbsd.errors import DataError, VoxelSizeUnknownError
from vpbsd.geometry import Box, Triplet, VoxelSize, as_triplet
from vpbsd.graph.regions.names import RegionNames
from vpbsd.volumes import CachedVolume, Volume

__all__ = ["LABEL_CACHE_BYTES", "LabelBox", "RegionVolume"]

LABEL_CACHE_BYTES = 256 * 2**20
"""Decoded chunks that are kept of a label volume, at most."""

_CELL_VOXELS = 128
_EXTENT_TOLERANCE_VOXELS = 2.0
# A centre on the face between two voxels must not fall to either side by rounding.
_FACE = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class LabelBox:
    """The labels of a box of mask voxels, at the resolution of the region volume.

    The label of mask voxel (z, y, x) of the box is
    ``labels[index[0][z], index[1][y], index[2][x]]``.

    Attributes
    ----------
    labels
        (a, b, c) int64.
    index
        Three arrays of int64, one for each axis of the box.
    """

    labels: NDArray[np.int64]
    index: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]

    @classmethod
    def uniform(cls, label: int, shape: Triplet) -> LabelBox:
        """Return a box of ``shape`` mask voxels that all carry one label."""
        z, y, x = (np.zeros(n, np.int64) for n in shape)
        return cls(np.full((1, 1, 1), label, np.int64), (z, y, x))

    def full(self) -> NDArray[np.int64]:
        """Return the label of every mask voxel of the box, (z, y, x)."""
        return self.labels[np.ix_(*self.index)]


class RegionVolume:
    """A label volume that says which region each part of a mask belongs to.

    It is read in boxes, so that it may be larger than memory.

    Parameters
    ----------
    volume
        Whole numbers from 0; one channel. 0 is outside.
    mask_shape, mask_voxel_size
        Of the mask, (z, y, x).
    names
        Names and parents of the regions; without, regions go by their numbers.
    option
        The option that gives its voxel size, for messages.

    Raises
    ------
    VoxelSizeUnknownError
        If the volume states no voxel size.
    DataError
        If it has several channels, or does not cover the same box of tissue as the mask.
    """

    def __init__(
        self,
        volume: Volume,
        mask_shape: Triplet,
        mask_voxel_size: VoxelSize,
        names: RegionNames | None = None,
        option: str = "--region-voxel-size",
    ) -> None:
        if volume.channels != 1:
            raise DataError(f"'{volume.source}' has {volume.channels} channels; labels have one")
        if volume.voxel_size_um is None:
            raise VoxelSizeUnknownError(
                f"'{volume.source}' does not state its voxel size in physical units; pass it in "
                f"micrometres: {option} Z Y X"
            )
        self.volume = volume
        self.voxel_size = volume.voxel_size_um
        self.mask_shape = mask_shape
        self.mask_voxel_size = mask_voxel_size
        self.names = names or RegionNames()
        self._require_same_box(option)
        self._cached = CachedVolume(volume, LABEL_CACHE_BYTES)

    @property
    def source(self) -> str:
        """Where the labels come from."""
        return self.volume.source

    def _require_same_box(self, option: str) -> None:
        mask_um = _extent_um(self.mask_shape, self.mask_voxel_size)
        region_um = _extent_um(self.volume.shape_zyx, self.voxel_size)
        coarser = np.maximum(self.mask_voxel_size.zyx_um, self.voxel_size.zyx_um)
        if np.all(np.abs(mask_um - region_um) <= _EXTENT_TOLERANCE_VOXELS * coarser):
            return
        raise DataError(
            f"'{self.source}' covers {_shown(region_um)} µm (z y x: {self.volume.shape_zyx} voxels "
            f"of {self.voxel_size}) and the mask {_shown(mask_um)} µm ({self.mask_shape} voxels of "
            f"{self.mask_voxel_size}), but they must cover the same box to within two voxels"
            f"{self._hint()}: bring the labels into the space of the mask, or correct {option}"
        )

    def _hint(self) -> str:
        """Say so where the axes seem to stand in another order."""
        mask_um = np.sort(_extent_um(self.mask_shape, self.mask_voxel_size))
        region_um = np.sort(_extent_um(self.volume.shape_zyx, self.voxel_size))
        if np.allclose(mask_um, region_um, rtol=0.02):
            return " (the same three extents in another order: the axes are probably permuted)"
        return ""

    def box(self, box: Box) -> LabelBox:
        """Return the labels of a box of mask voxels.

        Raises
        ------
        DataError
            If the volume holds fractions or negative numbers there.
        """
        indices = [
            self._clipped(np.floor((np.arange(a, b) + 0.5) * (m / r) + _FACE), axis)
            for axis, (a, b, m, r) in enumerate(
                zip(
                    box.start,
                    box.stop,
                    self.mask_voxel_size.zyx_um,
                    self.voxel_size.zyx_um,
                    strict=True,
                )
            )
        ]
        if box.is_empty:
            return LabelBox.uniform(0, box.shape)
        wanted = Box(
            as_triplet([int(i[0]) for i in indices]), as_triplet([int(i[-1]) + 1 for i in indices])
        )
        z, y, x = (i - start for i, start in zip(indices, wanted.start, strict=True))
        return LabelBox(self._read(wanted), (z, y, x))

    def at(self, position_um: NDArray[Any]) -> NDArray[np.int64]:
        """Return the label at each of (n, 3) positions in µm; (n,) int64.

        Raises
        ------
        DataError
            As :meth:`box`.
        """
        found = np.zeros(len(position_um), np.int64)
        if not len(position_um):
            return found
        half = np.asarray(self.mask_voxel_size.zyx_um) / 2
        scaled = (np.asarray(position_um, np.float64) + half) / self.voxel_size.zyx_um
        index = np.stack([self._clipped(np.floor(scaled[:, a] + _FACE), a) for a in range(3)], 1)
        for rows in _by_cell(index):
            here = index[rows]
            box = Box(
                as_triplet(here.min(axis=0).tolist()), as_triplet((here.max(axis=0) + 1).tolist())
            )
            z, y, x = (here - box.start).T
            found[rows] = self._read(box)[z, y, x]
        return found

    def fingerprint(self) -> str:
        """Return a cheap identity of the labels, for runs that are taken up again."""
        return self.volume.fingerprint()

    def _clipped(self, index: NDArray[np.float64], axis: int) -> NDArray[np.int64]:
        return np.clip(index, 0, self.volume.shape_zyx[axis] - 1).astype(np.int64)

    def _read(self, box: Box) -> NDArray[np.int64]:
        values = self._cached.read(box)[0]
        labels: NDArray[np.int64] = values.astype(np.int64)
        # NIfTI labels are often stored as floats, but hold whole numbers.
        if values.dtype.kind == "f" and not np.array_equal(labels, values):
            raise DataError(
                f"'{self.source}' holds fractions, which are no labels: it was probably resampled "
                "with interpolation; resample labels with the nearest neighbour"
            )
        if int(labels.min()) < 0:
            raise DataError(
                f"'{self.source}' holds negative labels; regions are numbered from 1, and 0 is "
                "outside"
            )
        return labels


def _by_cell(index: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return the rows of an (n, 3) array of voxels, parted by cells of the volume."""
    cell = index // _CELL_VOXELS
    sizes = cell.max(axis=0) + 1
    key = (cell[:, 0] * sizes[1] + cell[:, 1]) * sizes[2] + cell[:, 2]
    order = np.argsort(key, kind="stable")
    borders = np.flatnonzero(np.diff(key[order])) + 1
    return np.split(order, borders)


def _extent_um(shape: Triplet, voxel_size: VoxelSize) -> NDArray[np.float64]:
    return np.asarray(shape, np.float64) * voxel_size.zyx_um


def _shown(extent_um: NDArray[np.float64]) -> str:
    return " x ".join(f"{v:g}" for v in extent_um)
