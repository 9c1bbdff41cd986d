"""Masks with vessels of known course: tubes around polylines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from vpbsd.geometry import VoxelSize
from vpbsd.volumes import ArrayVolume

MICRON = VoxelSize(1.0, 1.0, 1.0)


def tubes(
    shape: Sequence[int],
    lines: Sequence[tuple[Sequence[float], Sequence[float], float]],
    voxel_size: VoxelSize = MICRON,
) -> np.ndarray:
    """Return a mask (uint8) of tubes, each by its two ends (z, y, x) in voxels and its radius."""
    mask = np.zeros(shape, bool)
    for start, stop, radius_um in lines:
        axis = np.ones(shape, bool)
        steps = 2 * int(np.abs(np.subtract(stop, start)).max()) + 1
        for t in np.linspace(0, 1, steps):
            at = np.rint(np.add(start, t * np.subtract(stop, start))).astype(int)
            axis[tuple(np.clip(at, 0, np.array(shape) - 1))] = False
        mask |= ndimage.distance_transform_edt(axis, sampling=voxel_size.zyx_um) <= radius_um
    return mask.astype(np.uint8)


def thicket(
    shape: Sequence[int], count: int, seed: int, voxel_size: VoxelSize = MICRON
) -> np.ndarray:
    """Return a mask of ``count`` tubes across each other, of radii from 1.2 to 4 µm."""
    rng = np.random.default_rng(seed)
    ends = rng.random((count, 2, 3)) * np.array(shape)
    radii = 1.2 + 2.8 * rng.random(count) ** 3
    return tubes(shape, [(a, b, r) for (a, b), r in zip(ends, radii, strict=True)], voxel_size)


def saved(path: Path, mask: np.ndarray) -> Path:
    """Write a mask where any process can read it."""
    np.save(path, mask)
    return path


def volume(mask: np.ndarray, voxel_size: VoxelSize = MICRON) -> ArrayVolume:
    """Return a mask as an open volume."""
    return ArrayVolume(mask, voxel_size, "mask")
