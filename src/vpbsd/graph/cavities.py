"""Cavities: background enclosed by vessel, which would leave closed shells in the skeleton."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["fill_cavities"]


def fill_cavities(
    vessels: NDArray[np.bool_],
    most_voxels: int,
    owns: Callable[[tuple[int, int, int]], bool] | None = None,
) -> tuple[NDArray[np.bool_], int]:
    """Fill small cavities: 6-connected pieces of background that touch no border of the array.

    Block by block: give each block a halo. A cavity of at most ``most_voxels`` is at most that
    many voxels long, and one that reaches beyond the halo touches the array's border and is left
    alone. To count each cavity once, ``owns`` tells whether the block is the one that holds the
    cavity's first voxel in (z, y, x) order.

    Parameters
    ----------
    vessels
        (Z, Y, X) bool; not changed.
    most_voxels
        Larger cavities are left open.
    owns
        Called with the index in the array of each filled cavity's first voxel. Without it every
        filled cavity is counted.

    Returns
    -------
    (filled, cavities)
        The mask with small cavities filled, and how many of them were counted.
    """
    import cc3d

    if vessels.size == 0 or most_voxels < 1:
        return vessels, 0
    labels, pieces = cc3d.connected_components(
        (~vessels).view(np.uint8), connectivity=6, return_N=True
    )
    sizes = np.bincount(labels.ravel(), minlength=pieces + 1)
    small = sizes <= most_voxels
    small[0] = False
    for axis in range(3):
        for end in (0, -1):
            small[np.unique(labels.take(end, axis=axis))] = False
    which = np.flatnonzero(small)
    if not which.size:
        return vessels, 0
    filled = vessels | small[labels]
    if owns is None:
        return filled, int(which.size)
    at = np.flatnonzero(filled & ~vessels)
    _, first = np.unique(labels.ravel()[at], return_index=True)
    places = np.stack(np.unravel_index(at[first], vessels.shape), axis=1)
    return filled, sum(owns((int(z), int(y), int(x))) for z, y, x in places)
