"""Cavities: background enclosed by vessel, which would leave closed shells in the skeleton."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from vpbsd.errors import ConfigError
from vpbsd.geometry import Triplet
from vpbsd.graph.skeleton.simple_points import compiled

__all__ = ["fill_cavities"]

_VESSEL, _OPEN, _SEARCHED = 1, 2, 4


def fill_cavities(
    vessels: NDArray[np.bool_],
    most_voxels: int,
    owns: Callable[[Triplet], bool] | None = None,
    longest_voxels: int | None = None,
) -> tuple[NDArray[np.bool_], int]:
    """Fill small cavities: 6-connected pieces of background that touch no border of the array.

    The same for any blocks where a block reads at least ``longest_voxels`` (without it,
    ``most_voxels``) more on each side than the part that must be right: a cavity that reaches into
    this part then ends before the array does.

    Parameters
    ----------
    vessels
        (Z, Y, X) bool; not changed.
    most_voxels
        Larger cavities stay open.
    owns
        Tells from the index in the array of a cavity's first voxel, in (z, y, x) order, whether
        the cavity counts. A block asks whether that voxel lies in its core, so that each cavity
        counts once. Without it all count.
    longest_voxels
        Cavities that extend over more voxels than this along an axis stay open.

    Returns
    -------
    (filled, cavities)
        The mask with small cavities filled, and how many of the filled ones count. The mask is
        ``vessels`` itself where there was nothing to fill.

    Raises
    ------
    ConfigError
        If ``most_voxels`` is negative or ``longest_voxels`` is below 1.
    """
    if most_voxels < 0 or (longest_voxels is not None and longest_voxels < 1):
        raise ConfigError(
            f"cavities to fill have at most so many voxels, got most_voxels={most_voxels} and "
            f"longest_voxels={longest_voxels}; give 0 to fill none"
        )
    longest = most_voxels if longest_voxels is None else longest_voxels
    state = np.ascontiguousarray(vessels).view(np.uint8).copy()
    firsts = _fill(state, most_voxels, longest)
    if not len(firsts):
        return vessels, 0
    places = ((int(z), int(y), int(x)) for z, y, x in firsts)
    return state == _VESSEL, sum(owns is None or owns(place) for place in places)


@compiled
def _fill(state: NDArray[np.uint8], most: int, longest: int) -> NDArray[np.int64]:
    """Fill cavities in ``state`` (0 background, 1 vessel); return their first voxels, (N, 3).

    The first voxel of a piece has vessel before it along each axis. Few background voxels do; from
    each of them the piece is searched until it is whole, or known to be open.
    """
    nz, ny, nx = state.shape
    queue = np.empty(most + 1, np.int64)
    firsts = []
    for z in range(1, nz - 1):
        for y in range(1, ny - 1):
            for x in range(1, nx - 1):
                if state[z, y, x] or not (
                    state[z, y, x - 1] & state[z, y - 1, x] & state[z - 1, y, x] & _VESSEL
                ):
                    continue
                size, whole = _search(state, (z, y, x), queue, longest)
                for at in queue[:size]:
                    state.ravel()[at] = _VESSEL if whole else _OPEN
                if whole:
                    firsts.append((z, y, x))
    found = np.empty((len(firsts), 3), np.int64)
    for i, first in enumerate(firsts):
        found[i] = first
    return found


@compiled
def _search(
    state: NDArray[np.uint8], first: tuple[int, int, int], queue: NDArray[np.int64], longest: int
) -> tuple[int, bool]:
    """Put the piece of background around ``first`` into ``queue``.

    Returns how many voxels were put there, and whether they are a whole piece that may be filled.
    It is not where it grows too large or too long, touches a border of the array, or meets a piece
    known to be open. A voxel before ``first`` shows that the piece was searched from there already.
    """
    nz, ny, nx = state.shape
    flat = state.ravel()
    queue[0] = (first[0] * ny + first[1]) * nx + first[2]
    flat[queue[0]] = _SEARCHED
    low_y = high_y = first[1]
    low_x = high_x = first[2]
    size, done = 1, 0
    while done < size:
        at = queue[done]
        done += 1
        z, y, x = at // (ny * nx), at // nx % ny, at % nx
        low_y, high_y, low_x, high_x = min(low_y, y), max(high_y, y), min(low_x, x), max(high_x, x)
        if max(z - first[0], high_y - low_y, high_x - low_x) >= longest:
            return size, False
        if min(z, y, x) == 0 or z == nz - 1 or y == ny - 1 or x == nx - 1:
            return size, False
        for step in (-ny * nx, -nx, -1, 1, nx, ny * nx):
            other = at + step
            if flat[other] == _VESSEL or flat[other] == _SEARCHED:
                continue
            if flat[other] == _OPEN or other < queue[0] or size == queue.size - 1:
                return size, False
            flat[other] = _SEARCHED
            queue[size] = other
            size += 1
    return size, True
