"""Distance of vessel voxels to the background, and the radius of vessels at their centrelines.

The squared Euclidean distance is found one axis after the other (Saito and Toriwaki, Pattern
Recognition 27, 1994)::

    d²(z, y, x) = min over k of  (k w_z)² + min over j of  (j w_y)² + min over i of  (i w_x)²

where the innermost looks for background at (z + k, y + j, x + i). Only vessel voxels are visited,
and from each the search ends where the axis alone is farther than what was found. A vessel is a few
voxels wide, so this takes a fraction of what a transform of the whole array takes.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from vpbsd.errors import DataError
from vpbsd.geometry import VoxelSize
from vpbsd.graph.skeleton.simple_points import compiled

__all__ = ["ROOF_SHARE", "distance_um", "radius_um"]

ROOF_SHARE = 0.7
"""How much of the roof above the largest distance counts; see :func:`radius_um`."""


def distance_um(vessels: NDArray[np.bool_], voxel_size: VoxelSize) -> NDArray[np.float32]:
    """Return the Euclidean distance of each vessel voxel to the nearest background voxel.

    Distances are between centres of voxels. What lies outside the array is unknown and counts as
    no background: a vessel that leaves the volume keeps its distance, and so its centreline, up to
    the border. Where the array holds no background at all, the distance is the array's diagonal,
    which is also the limit for every other distance.

    Parameters
    ----------
    vessels
        (Z, Y, X) bool, true in vessels.
    voxel_size
        Of the array.

    Returns
    -------
    ndarray
        (Z, Y, X) float32, 0 in the background.

    Raises
    ------
    DataError
        If ``vessels`` is not a 3D array of bool.
    """
    if vessels.ndim != 3 or vessels.dtype != np.bool_:
        raise DataError(
            f"distances need a 3D mask of bool, got {vessels.dtype} of shape {vessels.shape}; "
            "make it with as_vessels(array)"
        )
    squares = np.zeros(vessels.shape, np.float32)
    flat = squares.ravel()
    voxels = np.empty(np.count_nonzero(vessels), np.int64)
    z_um, y_um, x_um = voxel_size.zyx_um
    _along_x(np.ascontiguousarray(vessels), x_um, flat, voxels)
    nz, ny, nx = vessels.shape
    _along(flat, voxels, nx, ny, y_um)
    _along(flat, voxels, ny * nx, nz, z_um)
    diagonal = math.hypot(*(n * v for n, v in zip(vessels.shape, voxel_size.zyx_um, strict=True)))
    flat[voxels] = np.minimum(np.sqrt(flat[voxels]), np.float32(diagonal))
    return squares


@compiled
def _along_x(
    vessels: NDArray[np.bool_],
    edge_um: float,
    squares: NDArray[np.float32],
    voxels: NDArray[np.int64],
) -> None:
    """Note vessel voxels, and their squared distances to background in the row; infinite without.

    Both ``squares`` and ``voxels`` are over the flat array.
    """
    nz, ny, nx = vessels.shape
    found = 0
    for z in range(nz):
        for y in range(ny):
            row = vessels[z, y]
            x = 0
            while x < nx:
                if not row[x]:
                    x += 1
                    continue
                first = x
                while x < nx and row[x]:
                    x += 1
                for i in range(first, x):
                    before = (i - first + 1) * edge_um if first > 0 else np.inf
                    after = (x - i) * edge_um if x < nx else np.inf
                    at = (z * ny + y) * nx + i
                    squares[at] = min(before, after) ** 2
                    voxels[found] = at
                    found += 1


@compiled
def _along(
    squares: NDArray[np.float32],
    voxels: NDArray[np.int64],
    stride: int,
    length: int,
    edge_um: float,
) -> None:
    """Lower ``squares`` to what is nearer along an axis of ``length`` voxels, ``stride`` apart."""
    lowered = np.empty(voxels.size, np.float32)
    for i in range(voxels.size):
        at = voxels[i]
        place = at // stride % length
        least = float(squares[at])
        for step in range(1, max(place, length - 1 - place) + 1):
            way = (step * edge_um) ** 2
            if way >= least:
                break
            if place >= step:
                least = min(least, way + squares[at - step * stride])
            if place + step < length:
                least = min(least, way + squares[at + step * stride])
        lowered[i] = least
    for i in range(voxels.size):
        squares[voxels[i]] = lowered[i]


def radius_um(
    distance_um: NDArray[np.float32], voxels: NDArray[np.int64], voxel_size: VoxelSize
) -> NDArray[np.float32]:
    """Return the radius of the vessel at each centreline voxel.

    The largest distance D among the voxel and its 26 neighbours: the axis of a vessel of even width
    runs between voxels. The axis can pass between slices as well, half a slice from any centre.
    Across it, D falls off like a roof. The peak of a roof sampled at c, a, b, with a the largest,
    lies :math:`|b - c| / 2` above a. Of that, :data:`ROOF_SHARE` is added, on axes with voxels
    larger than the smallest only: between small voxels, what D lacks at the peak and what it has
    too much (it ends at centres of background voxels, outside the wall) cancel out. Both rules were
    measured on digitised tubes of known radius, not derived.

    Parameters
    ----------
    distance_um
        (Z, Y, X) from :func:`distance_um`.
    voxels
        (N, 3) indices (z, y, x) of centreline voxels in it.
    voxel_size
        Of the array.
    """
    last = np.array(distance_um.shape) - 1
    peak = np.array(voxels, np.int64)
    largest: NDArray[np.float32] = distance_um[tuple(peak.T)]
    for place in np.ndindex(3, 3, 3):
        near = np.clip(voxels + (np.array(place) - 1), 0, last)
        found = distance_um[tuple(near.T)]
        higher = found > largest
        largest[higher], peak[higher] = found[higher], near[higher]
    roof = np.zeros(len(peak), np.float32)
    smallest = min(voxel_size.zyx_um)
    for axis, edge in enumerate(voxel_size.zyx_um):
        step = np.eye(3, dtype=np.int64)[axis]
        after = distance_um[tuple(np.minimum(peak + step, last).T)]
        before = distance_um[tuple(np.maximum(peak - step, 0).T)]
        share = np.float32(ROOF_SHARE * (1 - smallest / edge))
        np.maximum(roof, share * np.minimum(np.abs(after - before), edge) / 2, out=roof)
    return largest + roof
