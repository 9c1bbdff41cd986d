"""Euler characteristic of a mask, counted from cells, so that the parts of a volume add up.

A mask is the union of closed voxels (26-connectivity: voxels that share a corner touch). Its
Euler characteristic follows from its corners, edges, faces and voxels (Euler-Poincaré)::

    χ = V - E + F - C = pieces - loops + cavities

Each cell is counted by the block that holds the voxel after it, so that counts of blocks that
tile a volume sum up to that of the volume, with one voxel of context and nothing approximate.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpbsd.metrics.masks import Mask, as_mask

__all__ = ["euler_cells", "euler_characteristic"]


def euler_characteristic(mask: NDArray[Any]) -> int:
    """Return the Euler characteristic of a mask (26-connectivity); 0 for an empty one.

    Parameters
    ----------
    mask
        (z, y, x). What lies outside counts as background.

    Raises
    ------
    DataError
        If the array is not a mask.
    """
    return euler_cells(np.pad(as_mask(mask, "mask"), 1))


def euler_cells(framed: Mask) -> int:
    """Return ``V - E + F - C`` of the cells that lie at or just before the voxels of a block.

    Parameters
    ----------
    framed
        The block with the layer of voxels before it along each axis, (z + 1, y + 1, x + 1); where
        the volume ends with the block, one layer of background after it as well.
    """
    return _signed_count(framed, framed.ndim)


def _signed_count(cells: Mask, axes: int) -> int:
    """Count, along each of the axes to come, what lies between two voxels minus the voxels."""
    if axes == 0:
        return int(np.count_nonzero(cells))
    before, after = cells[:-1], cells[1:]
    # A cell between two voxels belongs to the mask if one of them does.
    between = _signed_count(np.moveaxis(before | after, 0, -1), axes - 1)
    return between - _signed_count(np.moveaxis(after, 0, -1), axes - 1)
