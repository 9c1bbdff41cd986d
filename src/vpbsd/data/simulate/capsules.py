"""Signed distance to many capsules (tubes with round ends) on a voxel grid.

For a capsule from ``a`` to ``b`` with radii ``r_a`` and ``r_b`` a point ``p`` lies at

    t = clip((p - a)·(b - a) / |b - a|², 0, 1)
    d = |p - a - t (b - a)| - (r_a + t (r_b - r_a))

and the distance to the union is the minimum over capsules. Each capsule is evaluated only in its
bounding box; boxes of equal size are evaluated together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Capsules", "Grid", "distance_to_capsules"]

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

_BOX_EDGES = np.array([2, 4, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128])
_BATCH_VOXELS = 1 << 17  # working arrays of one batch stay in the processor's cache
_ALONE_VOXELS = 1 << 13  # boxes above this are written one by one, without index arrays


@dataclass(frozen=True)
class Grid:
    """Voxel centres at ``origin_um + index * voxel_um``; all (z, y, x)."""

    shape: tuple[int, int, int]
    voxel_um: tuple[float, float, float]
    origin_um: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True, eq=False)
class Capsules:
    """Ends (S, 3) and radii (S,) of S capsules in micrometres."""

    a_um: NDArray[np.floating]
    b_um: NDArray[np.floating]
    radius_a_um: NDArray[np.floating]
    radius_b_um: NDArray[np.floating]

    def boxes(self, grid: Grid, margin_um: float) -> tuple[Ints, Ints]:
        """(S, 3) first voxel and size of the bounding boxes, unclipped."""
        voxel, origin = np.array(grid.voxel_um), np.array(grid.origin_um)
        reach_a = self.radius_a_um[:, None] + margin_um
        reach_b = self.radius_b_um[:, None] + margin_um
        low = np.minimum(self.a_um - reach_a, self.b_um - reach_b)
        high = np.maximum(self.a_um + reach_a, self.b_um + reach_b)
        first = np.ceil((low - origin) / voxel).astype(np.int64)
        last = np.floor((high - origin) / voxel).astype(np.int64)
        return first, last - first + 1


def distance_to_capsules(
    grid: Grid, capsules: Capsules, margin_um: float
) -> tuple[Floats, NDArray[np.int32]]:
    """Return the signed distance to the nearest wall, and which capsule it belongs to.

    Parameters
    ----------
    grid
        Where to evaluate.
    capsules
        The tubes.
    margin_um
        Distances above this are not computed.

    Returns
    -------
    distance
        (z, y, x) float32 in µm, negative inside; ``margin_um`` where farther.
    nearest
        (z, y, x) int32 index of the capsule; -1 where farther than the margin.
    """
    distance = np.full(grid.shape, margin_um, np.float32)
    nearest = np.full(grid.shape, -1, np.int32)
    first, size = capsules.boxes(grid, margin_um)
    shape = np.array(grid.shape)
    seen = np.flatnonzero(((first + size > 0) & (first < shape) & (size > 0)).all(axis=1))
    stop = np.minimum(first[seen] + size[seen], shape)
    low = np.maximum(first[seen], 0)
    box = np.minimum(_round_up(stop - low), shape)
    low = np.minimum(low, shape - box)
    for edges, members in _groups(box):
        voxels = int(np.prod(edges))
        batch = max(1, _BATCH_VOXELS // voxels)
        for at in range(0, len(members), batch):
            some = members[at : at + batch]
            signed = _evaluate(grid, capsules, seen[some], low[some], edges)
            if voxels > _ALONE_VOXELS:
                _write_boxes(distance, nearest, signed, seen[some], low[some])
            else:
                _write_scattered(distance, nearest, signed, seen[some], low[some])
    return distance, nearest


def _round_up(size: Ints) -> Ints:
    grown: Ints = _BOX_EDGES[np.minimum(np.searchsorted(_BOX_EDGES, size), len(_BOX_EDGES) - 1)]
    wide: Ints = np.maximum(grown, size)
    return wide


def _groups(box: Ints) -> Iterator[tuple[list[int], Ints]]:
    if len(box) == 0:
        return
    kinds, member = np.unique(box, axis=0, return_inverse=True)
    order = np.argsort(member.ravel(), kind="stable")
    bounds = np.cumsum(np.bincount(member.ravel()))[:-1]
    yield from zip(kinds.tolist(), np.split(order, bounds), strict=True)


def _evaluate(grid: Grid, capsules: Capsules, which: Ints, low: Ints, edges: list[int]) -> Floats:
    """Return (n, z, y, x) signed distances of n capsules in boxes of one size."""
    along = (capsules.b_um[which] - capsules.a_um[which]).astype(np.float32)
    length2 = np.maximum((along**2).sum(axis=1), 1e-12)[:, None, None, None]
    corner = low * np.array(grid.voxel_um) + np.array(grid.origin_um) - capsules.a_um[which]
    relative = []
    for axis in range(3):
        steps = np.arange(edges[axis]) * grid.voxel_um[axis]
        spread = [1, 1, 1]
        spread[axis] = edges[axis]
        offset = corner[:, axis, None] + steps
        relative.append(offset.astype(np.float32).reshape(len(which), *spread))
    z, y, x = relative
    dz, dy, dx = (along[:, axis, None, None, None] for axis in range(3))
    dot = (z * dz + y * dy) + x * dx
    t = dot / length2
    np.clip(t, 0.0, 1.0, out=t)
    signed: Floats = (z * z + y * y) + x * x
    dot *= 2.0
    dot -= t * length2
    dot *= t
    signed -= dot
    np.maximum(signed, 0.0, out=signed)
    np.sqrt(signed, out=signed)
    radius = capsules.radius_a_um[which].astype(np.float32)[:, None, None, None]
    taper = (capsules.radius_b_um - capsules.radius_a_um)[which].astype(np.float32)
    t *= taper[:, None, None, None]
    signed -= t
    signed -= radius
    return signed


def _write_boxes(
    distance: Floats, nearest: NDArray[np.int32], signed: Floats, which: Ints, low: Ints
) -> None:
    for one, index, start in zip(signed, which.tolist(), low.tolist(), strict=True):
        view = tuple(slice(s, s + n) for s, n in zip(start, one.shape, strict=True))
        closer = one < distance[view]
        np.copyto(distance[view], one, where=closer)
        np.copyto(nearest[view], np.int32(index), where=closer)


def _write_scattered(
    distance: Floats, nearest: NDArray[np.int32], signed: Floats, which: Ints, low: Ints
) -> None:
    _, rows, columns = distance.shape
    z, y, x = (np.arange(n, dtype=np.int32) for n in signed.shape[1:])
    inside_box = ((z[:, None, None] * rows + y[:, None]) * columns + x).ravel()
    base = ((low[:, 0] * rows + low[:, 1]) * columns + low[:, 2]).astype(np.int64)
    flat_distance, flat_nearest = distance.reshape(-1), nearest.reshape(-1)
    signed = signed.reshape(len(which), -1)
    capsule, voxel = np.nonzero(signed < flat_distance[base[:, None] + inside_box])
    value = signed[capsule, voxel]
    index = base[capsule] + inside_box[voxel]
    np.minimum.at(flat_distance, index, value)
    won = value == flat_distance[index]
    flat_nearest[index[won]] = which[capsule[won]]
