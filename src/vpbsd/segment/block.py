"""One block: read, normalise, evaluate, cut off the halo.

The result is, bit for bit in fp32, a part of what a single pass of the net over the whole volume
gives, when that volume is first extended at the high end of each axis to a multiple of the stride
by reflection with the edge voxel repeated (``c b a | a b c d | d c b``, NumPy's ``symmetric``),
and convolutions see zeros beyond. What is reflected depends on coordinates alone, never on
the cut.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpbsd.blockwise import Block
from vpbsd.errors import CollapseError, IntensityError
from vpbsd.geometry import Box, as_triplet
from vpbsd.segment.runtimes import Predictor
from vpbsd.volumes import IntensityScale, Volume

__all__ = ["probability", "read_padded"]


def read_padded(volume: Volume, box: Box) -> NDArray[Any]:
    """Read a box that may stick out of the volume at the high end of each axis.

    Outside, the volume continues as its mirror image: along an axis of ``n`` voxels, coordinate
    ``i`` shows voxel ``r = i mod 2n`` if ``r < n``, else ``2n - 1 - r``. That holds at any
    distance, also where the axis is shorter than what is missing.

    Parameters
    ----------
    volume
        Read lazily; only the voxels that show in the box.
    box
        Starts at 0 or above.

    Returns
    -------
    ndarray
        (c, z, y, x) of exactly ``box.shape``, in the volume's own type.

    Raises
    ------
    IntensityError
        If a value is NaN or infinite; the message names the box.
    """
    index = [
        _mirrored(np.arange(a, b), n)
        for a, b, n in zip(box.start, box.stop, volume.shape_zyx, strict=True)
    ]
    low = as_triplet([int(i.min()) for i in index])
    inside = Box(low, as_triplet([int(i.max()) + 1 for i in index]))
    block = volume.read(inside)
    _require_finite(block, inside, volume.source)
    for axis, (coordinates, first) in enumerate(zip(index, low, strict=True), start=1):
        local = coordinates - first
        # An axis inside the volume is a plain run of coordinates and needs no copy.
        if len(local) != block.shape[axis] or not np.array_equal(local, np.arange(len(local))):
            block = block.take(local, axis=axis)
    return block


def probability(
    volume: Volume, scale: IntensityScale, runtime: Predictor, block: Block
) -> NDArray[np.float32]:
    """Return the foreground probabilities of a block's write box.

    Parameters
    ----------
    volume
        What to segment.
    scale
        Volume-global intensity scale, one entry per channel.
    runtime
        The net.
    block
        From a plan with the runtime's halo and stride.

    Returns
    -------
    ndarray
        (z, y, x) of ``block.write.shape``, float32 in [0, 1].

    Raises
    ------
    IntensityError
        If the volume holds NaN or infinite values there.
    CollapseError
        If the net's output is not a number there.
    """
    intensities = read_padded(volume, block.read)
    inside = runtime.predict(scale.apply(intensities), block.crop)
    if not np.isfinite(inside).all():
        raise CollapseError(
            f"the net's output is NaN at {block.write} of '{volume.source}'; its weights have "
            "diverged or overflow in this precision: try --precision fp32, or another checkpoint"
        )
    return inside


def _mirrored(coordinates: NDArray[np.intp], size: int) -> NDArray[np.intp]:
    turn = coordinates % (2 * size)
    return np.where(turn < size, turn, 2 * size - 1 - turn)


def _require_finite(block: NDArray[Any], box: Box, source: str) -> None:
    if block.dtype.kind != "f":
        return
    bad = block.size - int(np.count_nonzero(np.isfinite(block)))
    if bad:
        raise IntensityError(
            f"{bad} of {block.size} values at {box} of '{source}' are NaN or infinite; replace "
            "them (0 is taken as padding) or crop the volume before segmenting it"
        )
