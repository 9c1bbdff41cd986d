"""From the voxels of a skeleton to its chains: what joins whom, compiled.

::

    o - - - - B - - - ┊ - -       o  end: one neighbour
             /        ┊           -  link: two neighbours
            o     block's face    B  branch voxel: three and more

A chain is a run of links inside the block; before and after it stands a voxel that is no link, or
one outside. Neighbours are the 26 around a voxel. The arrays are those of one block and of one
voxel around it (its rim), so that what a voxel is does not depend on where blocks were cut.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vpbsd.graph.skeleton.simple_points import compiled

__all__ = ["LINK", "NODE", "chains", "classify", "pairs"]

RIM = 1
"""A skeleton voxel around the block: it is another block's to say what it is."""
LINK = 2
NODE = 3
_TRACED = 4


@compiled
def classify(mark: NDArray[np.uint8], flat: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Mark each skeleton voxel of a block as link or node.

    Parameters
    ----------
    mark
        (z, y, x) of the block and one voxel around it: 1 = skeleton. Changed in place: ``LINK`` or
        ``NODE`` inside, ``RIM`` around.
    flat
        Ascending flat indices of the skeleton voxels in ``mark``.

    Returns
    -------
    ndarray
        Number of neighbours of each voxel of ``flat``; 0 for those of the rim.
    """
    depth, rows, columns = mark.shape
    neighbours = np.zeros(flat.size, np.uint8)
    for i in range(flat.size):
        z, rest = divmod(flat[i], rows * columns)
        y, x = divmod(rest, columns)
        if z == 0 or y == 0 or x == 0 or z == depth - 1 or y == rows - 1 or x == columns - 1:
            continue
        found = -1  # itself
        for dz in range(-1, 2):
            for dy in range(-1, 2):
                for dx in range(-1, 2):
                    found += mark[z + dz, y + dy, x + dx] != 0
        neighbours[i] = found
        mark[z, y, x] = LINK if found == 2 else NODE
    return neighbours


@compiled
def pairs(mark: NDArray[np.uint8], nodes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the pairs of a node voxel and a neighbour after it that is, or may be, one as well.

    Parameters
    ----------
    mark
        From :func:`classify`.
    nodes
        Flat indices of the node voxels.

    Returns
    -------
    ndarray
        (n, 2) flat indices, the first below the second. A pair across a face is thus told by one
        of the two blocks.
    """
    _, rows, columns = mark.shape
    total = 0
    found = np.empty((nodes.size + 16, 2), np.int64)
    for a in nodes:
        z, rest = divmod(a, rows * columns)
        y, x = divmod(rest, columns)
        for step in range(14, 27):  # the thirteen neighbours that come later
            dz, dy, dx = step // 9 - 1, step // 3 % 3 - 1, step % 3 - 1
            kind = mark[z + dz, y + dy, x + dx]
            if kind not in (RIM, NODE):
                continue
            if total == len(found):
                longer = np.empty((2 * total, 2), np.int64)
                longer[:total] = found
                found = longer
            found[total] = a, ((z + dz) * rows + y + dy) * columns + x + dx
            total += 1
    return found[:total]


@compiled
def _other(mark: NDArray[np.uint8], at: int, known: int) -> int:
    """Return the neighbour of a link that is not ``known``; of two unknown ones, the first."""
    _, rows, columns = mark.shape
    z, rest = divmod(at, rows * columns)
    y, x = divmod(rest, columns)
    for dz in range(-1, 2):
        for dy in range(-1, 2):
            for dx in range(-1, 2):
                if mark[z + dz, y + dy, x + dx] != 0:
                    there: int = ((z + dz) * rows + y + dy) * columns + x + dx
                    if there not in (at, known):
                        return there
    return -1  # a link has two neighbours: not reached


@compiled
def chains(
    mark: NDArray[np.uint8], links: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the runs of links.

    Parameters
    ----------
    mark
        From :func:`classify`; what has been traced is marked in place.
    links
        Ascending flat indices of the links.

    Returns
    -------
    voxels
        Flat indices of all links, chain after chain.
    offsets
        Where each chain starts in ``voxels``, and the end of the last.
    outside
        (n, 2): the voxel before and the voxel after each chain. Of a ring these are its own last
        and first.
    """
    voxels = np.empty(links.size, np.int64)
    offsets = np.zeros(links.size + 1, np.int64)
    outside = np.empty((links.size, 2), np.int64)
    values = mark.ravel()
    count = 0
    filled = 0
    for seed in links:
        if values[seed] != LINK:
            continue
        # Back to where the chain begins; a ring begins at its first voxel, which is this one.
        at, ahead = seed, _other(mark, seed, -1)
        before = _other(mark, seed, ahead)
        while values[before] == LINK and before != seed:
            at, ahead, before = before, at, _other(mark, before, at)
        if before == seed:
            at, ahead = seed, _other(mark, seed, -1)
            before = _other(mark, seed, ahead)
        outside[count, 0] = before
        last = before
        while values[at] == LINK:
            voxels[filled] = at
            values[at] = _TRACED
            filled += 1
            last, at = at, _other(mark, at, last)
        outside[count, 1] = at
        count += 1
        offsets[count] = filled
    return voxels, offsets[: count + 1], outside[:count]
