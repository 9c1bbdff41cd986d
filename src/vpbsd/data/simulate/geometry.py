"""Real vessel shapes: a label volume, cropped, flipped and scaled into a raster.

The label is turned once into a signed distance to its surface, which is then interpolated on the
simulated grid, so that any scale and anisotropy give smooth walls.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import edt
import numpy as np
from numpy.typing import ArrayLike, NDArray

from vpbsd.data.simulate.raster import Parts, Raster, occupancy
from vpbsd.errors import DataError
from vpbsd.geometry import Box, Triplet, VoxelSize
from vpbsd.volumes import open_volume

__all__ = ["LabelGeometry", "read_label"]

Floats = NDArray[np.float32]

_PART_VOXELS = 4  # edge of the blocks that share one brightness


def read_label(path: Path, voxel_size: VoxelSize | None, fallback: VoxelSize) -> LabelGeometry:
    """Read a label volume (values above 0 are vessel) in any format that vpbsd opens.

    Parameters
    ----------
    path
        The label.
    voxel_size
        Overrides what the file states.
    fallback
        Used where neither states it.

    Raises
    ------
    DataError
        If the file cannot be read, has several channels, or holds no or only vessel.
    """
    with open_volume(path, voxel_size_um=voxel_size) as volume:
        if volume.channels != 1:
            raise DataError(f"{path} has {volume.channels} channels; a label volume has one")
        label = volume.read(Box.whole(volume.shape_zyx))[0]
        return LabelGeometry.of(label, volume.voxel_size_um or fallback)


@dataclass(frozen=True, eq=False)
class LabelGeometry:
    """Signed distance (µm, negative inside) to the surface of a label, (z, y, x)."""

    distance_um: Floats
    voxel_size: VoxelSize

    @classmethod
    def of(cls, label: ArrayLike, voxel_size: VoxelSize) -> LabelGeometry:
        """Build from a (z, y, x) label volume; values above 0 are vessel.

        Raises
        ------
        DataError
            If the label is not three-dimensional, or is empty or full.
        """
        inside = np.asarray(label) > 0
        if inside.ndim != 3 or min(inside.shape) < 2:
            raise DataError(f"a label volume must be (z, y, x), got shape {inside.shape}")
        if not inside.any() or inside.all():
            raise DataError(
                f"the label volume of shape {inside.shape} holds "
                f"{'only' if inside.any() else 'no'} vessel: is it the right file?"
            )
        size = voxel_size.zyx_um
        # Distances run between voxel centres; the wall is half a voxel before the other side's.
        depth = np.float32(0.5 * min(size))
        within = edt.edt(inside, anisotropy=size) - depth
        beyond = edt.edt(~inside, anisotropy=size) - depth
        return cls(np.where(inside, -within, beyond).astype(np.float32), voxel_size)

    def crop(
        self, shape: Triplet, voxel_size: VoxelSize, rng: np.random.Generator, scale: float = 1.0
    ) -> Raster:
        """Return a random part, flipped and swapped in y and x at random.

        Parameters
        ----------
        shape
            (z, y, x) voxels wanted; where the label is too small it is mirrored.
        voxel_size
            Voxel size wanted.
        rng
            Source of randomness.
        scale
            Factor on all lengths of the label.
        """
        source = self.distance_um
        step = np.array(voxel_size.zyx_um) / (np.array(self.voxel_size.zyx_um) * scale)
        if rng.random() < 0.5:
            source = source.transpose(0, 2, 1)
            step = np.array(voxel_size.zyx_um) / (
                np.array(self.voxel_size.zyx_um)[[0, 2, 1]] * scale
            )
        positions = []
        for axis in range(3):
            spare = source.shape[axis] - 1 - (shape[axis] - 1) * step[axis]
            start = rng.uniform(0, spare) if spare > 0 else spare * rng.uniform(0, 1)
            if abs(step[axis] - 1) < 1e-9:
                start = round(start)
            at = start + np.arange(shape[axis]) * step[axis]
            positions.append(at[::-1] if rng.random() < 0.5 else at)
        return self._raster(_interpolate(source, positions) * np.float32(scale), voxel_size)

    def _raster(self, distance_um: Floats, voxel_size: VoxelSize) -> Raster:
        width = float(np.cbrt(np.prod(voxel_size.zyx_um)))
        shape = distance_um.shape
        blocks = tuple(-(-n // _PART_VOXELS) for n in shape)
        z, y, x = (np.arange(n) // _PART_VOXELS for n in shape)
        part = ((z[:, None, None] * blocks[1] + y[:, None]) * blocks[2] + x).astype(np.int32)
        margin = np.float32(0.75 * max(voxel_size.zyx_um))
        part[distance_um > margin] = -1
        depth = np.maximum(-_block_minimum(distance_um), np.float32(0.5 * width))
        centre = np.stack(
            np.meshgrid(
                *(
                    (np.arange(b) + 0.5) * _PART_VOXELS * v
                    for b, v in zip(blocks, voxel_size.zyx_um, strict=True)
                ),
                indexing="ij",
            ),
            axis=-1,
        )
        parts = Parts(
            centre.reshape(-1, 3).astype(np.float32),
            depth.ravel(),
            np.zeros(depth.size, np.int64),
        )
        return Raster(
            (distance_um < 0).astype(np.uint8),
            occupancy(distance_um, width),
            np.minimum(distance_um, margin),
            part,
            parts,
        )


def _block_minimum(distance_um: Floats) -> Floats:
    """Return the least distance in and around each block: about the vessel's radius there."""
    from scipy.ndimage import minimum_filter

    pad = [(0, -n % _PART_VOXELS) for n in distance_um.shape]
    padded = np.pad(distance_um, pad, mode="edge")
    z, y, x = (n // _PART_VOXELS for n in padded.shape)
    e = _PART_VOXELS
    coarse = padded.reshape(z, e, y, e, x, e).min(axis=(1, 3, 5))
    least: Floats = minimum_filter(coarse, 3)
    return least


def _interpolate(source: Floats, positions: list[NDArray[np.float64]]) -> Floats:
    """Interpolate linearly on the grid of three position lists, mirrored at the faces."""
    for axis, at in enumerate(positions):
        last = source.shape[axis] - 1
        folded = np.abs((at + last) % (2 * last) - last) if last else np.zeros_like(at)
        low = np.minimum(np.floor(folded).astype(np.int64), max(last - 1, 0))
        part = (folded - low).astype(np.float32)
        part = part.reshape([-1 if a == axis else 1 for a in range(3)])
        below = np.take(source, low, axis=axis)
        above = np.take(source, np.minimum(low + 1, last), axis=axis)
        source = below + part * (above - below)
    return np.ascontiguousarray(source)
