"""Coarser copies of a volume, for viewers that zoom out."""

from __future__ import annotations

from itertools import product
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vpbsd.geometry import Triplet, VoxelSize, as_triplet

__all__ = ["VolumeKind", "downsample", "level_shape", "pyramid_factors"]

VolumeKind = Literal["mask", "probability", "image"]

_LARGEST_EDGE_OF_LAST_LEVEL = 256
_COARSER_AT_MOST = 2.0


def pyramid_factors(shape: Triplet, voxel_size_um: VoxelSize) -> list[Triplet]:
    """Return the factor of every level against the first, finest level first: ``[(1, 1, 1), …]``.

    Each level halves every axis that is not already more than twice as coarse as the finest
    one, so that thick planes are kept until the pixels have caught up with them. The last level
    is the first whose longest edge is at most 256 voxels.

    Parameters
    ----------
    shape : tuple of int
        (z, y, x) of the finest level.
    voxel_size_um : VoxelSize
        Of the finest level.
    """
    factors = [(1, 1, 1)]
    while max(level_shape(shape, factors[-1])) > _LARGEST_EDGE_OF_LAST_LEVEL:
        last = factors[-1]
        size = level_shape(shape, last)
        step_um = voxel_size_um.scaled(last).zyx_um
        # An axis of one voxel cannot be halved, so it must not hold back the others either.
        finest = min(u for u, n in zip(step_um, size, strict=True) if n > 1)
        halved = [
            2 * f if n > 1 and u <= _COARSER_AT_MOST * finest else f
            for f, u, n in zip(last, step_um, size, strict=True)
        ]
        factors.append(as_triplet(halved))
    return factors


def level_shape(shape: Triplet, factor: Triplet) -> Triplet:
    """Return the shape (z, y, x) of a level; a part of a voxel at the end counts as one."""
    return as_triplet([-(-n // f) for n, f in zip(shape, factor, strict=True)])


def downsample(block: NDArray[Any], factor: Triplet, kind: VolumeKind) -> NDArray[Any]:
    """Return one value for each window of ``factor`` voxels.

    Windows at the high end may be cut off; what is there counts. A mask takes the majority,
    and foreground where the votes are even (thin vessels should not vanish sooner than they
    must); anything else the mean, rounded half up for integers.

    Parameters
    ----------
    block : ndarray, (..., z, y, x)
        Its start must lie on a window's start.
    factor : tuple of int
        Window along (z, y, x).
    kind : str
        ``mask``, ``probability`` or ``image``.

    Returns
    -------
    ndarray, (..., z, y, x)
        In the type of ``block``.
    """
    if factor == (1, 1, 1):
        return block.copy()
    shape = as_triplet(block.shape[-3:])
    present = np.ones(shape, np.uint8)
    windows = [
        (slice(z, None, factor[0]), slice(y, None, factor[1]), slice(x, None, factor[2]))
        for z, y, x in product(*(range(f) for f in factor))
    ]
    pad = [(0, -n % f) for n, f in zip(shape, factor, strict=True)]
    counts = _sum_windows(np.pad(present, pad), windows, np.dtype(np.int64))
    lead = [(0, 0)] * (block.ndim - 3)
    padded = np.pad(block, [*lead, *pad])
    if kind == "mask":
        votes = _sum_windows(padded != 0, windows, np.dtype(np.int64))
        value = padded[(..., *windows[0])]
        for window in windows[1:]:
            value = np.maximum(value, padded[(..., *window)])
        majority: NDArray[Any] = np.where(2 * votes >= counts, value, np.zeros((), block.dtype))
        return majority
    means: NDArray[Any] = _sum_windows(padded, windows, np.dtype(np.float64)) / counts
    if block.dtype.kind in "ui":
        means = np.floor(means + 0.5)
    return means.astype(block.dtype)


def _sum_windows(
    padded: NDArray[Any], windows: list[tuple[slice, slice, slice]], dtype: np.dtype[Any]
) -> NDArray[Any]:
    total: NDArray[Any] = padded[(..., *windows[0])].astype(dtype)
    for window in windows[1:]:
        total += padded[(..., *window)]
    return total
