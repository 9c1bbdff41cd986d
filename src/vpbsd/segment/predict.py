"""Probabilities of a whole volume in memory, for validation and for pseudo-labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from vpbsd.blockwise import Block, BlockDone, Function, Workers, run_blocks
from vpbsd.segment.block import probability
from vpbsd.segment.planning import plan_volume, require_channels
from vpbsd.segment.runtimes import Predictor
from vpbsd.volumes import IntensityScale, Volume, estimate_intensity

__all__ = ["predict_volume"]


def predict_volume(
    volume: Volume,
    runtime: Predictor,
    *,
    scale: IntensityScale | None = None,
    block_voxels: int | Sequence[int] | None = None,
    on_block: Callable[[Block], None] | None = None,
) -> NDArray[np.float32]:
    """Return the foreground probabilities of a whole volume.

    Equal to one pass of the net over the whole (padded) volume, for any block size, as long as
    the net's halo covers its receptive field; see :mod:`vpbsd.segment.block`.

    Parameters
    ----------
    volume
        Its channels are those that the net takes.
    runtime
        The net.
    scale
        Volume-global intensity scale; estimated from the volume if not given.
    block_voxels
        Edges (z, y, x) of the blocks; by default chosen by memory.
    on_block
        Told about every finished block.

    Returns
    -------
    ndarray
        (z, y, x), float32 in [0, 1].

    Raises
    ------
    DataError
        If the volume has another number of channels than the net takes.
    BlocksFailedError
        If a block failed; the first error is its cause.
    """
    require_channels(volume, runtime.channels)
    scale = estimate_intensity(volume) if scale is None else scale
    plan = plan_volume(volume, runtime, block_voxels=block_voxels)
    result = np.empty(volume.shape_zyx, np.float32)

    def operation(block: Block) -> None:
        result[block.write.slices] = probability(volume, scale, runtime, block)

    def done(block: Block, _: BlockDone) -> None:
        if on_block is not None:
            on_block(block)

    # One lane, and what fails once fails again: everything is in this process's memory.
    run_blocks(plan, Function(operation), workers=Workers(lanes=1, retries=0), on_done=done)
    return result
