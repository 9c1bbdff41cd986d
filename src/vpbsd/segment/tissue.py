"""Where there is nothing to segment: a net need not look at empty space.

A cell of the net's stride is *empty* if no voxel within its halo is brighter than the volume's
background (the centre of its intensity scale; with inverted contrast: if all voxels are 0, which is
padding). The mask is 0 in empty cells, and a block that consists of empty cells is not computed.

Emptiness is a matter of the voxels around a cell, never of how the volume was cut, so a mask is the
same for any blocks; and a voxel above the background keeps all cells that could see it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vpbsd.blockwise import Block
from vpbsd.geometry import Triplet
from vpbsd.volumes import IntensityScale

__all__ = ["empty_voxels", "signal_cells"]


def signal_cells(
    intensities: NDArray[Any], scale: IntensityScale, stride: Triplet
) -> NDArray[np.bool_]:
    """Return which cells of a block hold a voxel above the background, in any channel.

    Parameters
    ----------
    intensities
        (c, z, y, x) as they are stored; edges are multiples of ``stride``.
    scale
        Of the volume.
    stride
        Edges (z, y, x) of a cell.
    """
    shape = [n // s for n, s in zip(intensities.shape[1:], stride, strict=True)]
    found = np.zeros(shape, np.bool_)
    for channel, centre in zip(intensities, scale.centre, strict=True):
        above = channel != 0 if scale.invert else channel > centre
        # Axis by axis, the innermost last: whole rows are combined at a time.
        for axis in (0, 1, 2):
            if stride[axis] > 1:
                above = np.logical_or.reduceat(
                    above, np.arange(0, above.shape[axis], stride[axis]), axis=axis
                )
        found |= above
    return found


def empty_voxels(
    intensities: NDArray[Any],
    scale: IntensityScale,
    block: Block,
    stride: Triplet,
    halo: Triplet,
) -> NDArray[np.bool_] | None:
    """Return which voxels of a block's write box lie in empty cells; None where none does.

    Parameters
    ----------
    intensities
        (c, z, y, x) of ``block.read``, as they are stored.
    scale
        Of the volume.
    block
        From a plan with this stride and halo.
    stride, halo
        Of the net, in voxels (z, y, x).
    """
    signal = signal_cells(intensities, scale, stride)
    if signal.all():
        return None
    # Rounded up: a halo that ends inside a cell sees some of that cell.
    reach = [2 * -(-h // s) + 1 for h, s in zip(halo, stride, strict=True)]
    seen = ndimage.maximum_filter(signal, size=reach, mode="constant", cval=0)
    first = [a // s for a, s in zip(block.crop.start, stride, strict=True)]
    stop = [-(-b // s) for b, s in zip(block.crop.stop, stride, strict=True)]
    empty = ~seen[tuple(slice(a, b) for a, b in zip(first, stop, strict=True))]
    if not empty.any():
        return None
    for axis, step in enumerate(stride):
        empty = np.repeat(empty, step, axis=axis)
    inside: NDArray[np.bool_] = empty[tuple(slice(n) for n in block.write.shape)]
    return inside
