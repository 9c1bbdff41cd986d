"""Coarser copies of a volume, for viewers that zoom out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vpbsd.geometry import Triplet, VoxelSize, as_triplet

__all__ = ["VolumeKind", "downsample", "level_shape", "pyramid_factors"]

VolumeKind = Literal["mask", "probability", "image"]

_LARGEST_EDGE_OF_LAST_LEVEL = 256
_COARSER_AT_MOST = 2.0
_SLAB_BYTES = 1 << 20


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
    must), with the highest value of the window; anything else the mean, rounded half up for
    integers. Means of integers are exact up to 32 bits; real numbers are summed in their own
    precision, at least 32 bits.

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
    coarse = np.empty((*block.shape[:-3], *level_shape(shape, factor)), block.dtype)
    reduce = _majority if kind == "mask" else _mean
    axes = [_spans(n, f, p) for n, f, p in zip(shape, factor, _slab(block, factor), strict=True)]
    for spans in product(*axes):
        fine: tuple[Any, ...] = (..., *(span.fine for span in spans))
        there: tuple[Any, ...] = (..., *(span.coarse for span in spans))
        window = as_triplet([span.window for span in spans])
        coarse[there] = block[fine] if window == (1, 1, 1) else reduce(block[fine], window)
    return coarse


@dataclass(frozen=True, slots=True)
class _Span:
    """Voxels along one axis that fall into windows of one length, and where those end up."""

    fine: slice
    coarse: slice
    window: int


def _spans(size: int, factor: int, at_most: int) -> list[_Span]:
    """Cut an axis into spans of at most ``at_most`` whole windows, and the cut-off one."""
    whole = size // factor
    spans = [
        _Span(slice(first * factor, last * factor), slice(first, last), factor)
        for first in range(0, whole, at_most)
        for last in [min(first + at_most, whole)]
    ]
    if size % factor:
        spans.append(_Span(slice(whole * factor, size), slice(whole, whole + 1), size % factor))
    return spans


def _slab(block: NDArray[Any], factor: Triplet) -> Triplet:
    """Return how many windows to take at once: few planes, whose sums stay in the cache."""
    plane_bytes = max(1, block[..., 0, :, :].nbytes) * factor[0]
    windows = as_triplet([max(1, n) for n in block.shape[-3:]])
    return (max(1, _SLAB_BYTES // plane_bytes), windows[1], windows[2])


def _majority(block: NDArray[Any], window: Triplet) -> NDArray[Any]:
    count = math.prod(window)
    half = (count + 1) // 2
    zeros_and_ones = block.dtype == np.uint8 and block.max(initial=0) <= 1
    marked = block if zeros_and_ones else (block != 0).view(np.uint8)
    votes = _fold(marked, window, np.add, np.min_scalar_type(count))
    if zeros_and_ones:
        return (votes >= half).view(np.uint8)
    values = _fold(block, window, np.maximum, block.dtype)
    majority: NDArray[Any] = np.where(votes >= half, values, 0)
    return majority


def _mean(block: NDArray[Any], window: Triplet) -> NDArray[Any]:
    count = math.prod(window)
    sums = _fold(block, window, np.add, _sum_type(block.dtype, count))
    if sums.dtype.kind in "ui":
        sums += sums.dtype.type(count // 2)
        sums //= sums.dtype.type(count)
        return sums
    sums /= count
    return np.floor(sums + 0.5) if block.dtype.kind in "ui" else sums


def _sum_type(dtype: np.dtype[Any], count: int) -> np.dtype[Any]:
    """Return the smallest type that holds ``count`` values and half of one more."""
    if dtype.kind == "f":
        return np.promote_types(dtype, np.float32)
    if dtype.itemsize == 8:
        return np.dtype(np.float64)
    # A type twice as wide holds 256 bytes, or 65536 words; more is no window of a pyramid.
    twice = 2 if dtype.itemsize == 1 and count <= 256 else max(4, 2 * dtype.itemsize)
    return np.dtype(f"{dtype.kind}{twice}")


def _fold(
    block: NDArray[Any], window: Triplet, join: np.ufunc, dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Join all voxels of each window: first planes, then rows, and columns only of what is left.

    Neighbours in a plane or row lie next to each other in memory, so that these steps run at the
    speed of memory; the last one, which does not, finds a quarter of the voxels.
    """
    joined = block
    for axis, length in zip((-3, -2, -1), window, strict=True):
        if length == 1:
            continue
        # Moving the axis to the front moves no voxel: it is only named differently.
        parts = np.moveaxis(joined, axis, 0)
        total = join(parts[0::length], parts[1::length], dtype=dtype)
        for k in range(2, length):
            join(total, parts[k::length], out=total)
        joined = np.moveaxis(total, 0, axis)
    return joined
