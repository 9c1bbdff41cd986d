"""Probabilities of a whole volume in memory, for validation and for pseudo-labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from vpbsd.blockwise import Block, Plan, choose_block, plan_blocks, projected_peak_bytes, run_serial
from vpbsd.errors import ConfigError, DataError
from vpbsd.machine import available_memory_bytes
from vpbsd.segment.block import probability
from vpbsd.segment.runtime import Runtime
from vpbsd.volumes import IntensityScale, Volume, estimate_intensity

__all__ = ["MEMORY_BYTES", "plan_volume", "predict_volume", "projected_bytes", "require_channels"]

MEMORY_BYTES = 2 * 2**30
"""What one block may take by default. Larger blocks compute less twice, to little avail above."""

# Mask and probability of a block, as float32 and in the type they are stored in.
_WRITE_BYTES_PER_VOXEL = 12.0


def plan_volume(
    volume: Volume,
    runtime: Runtime,
    *,
    block_voxels: int | Sequence[int] | None = None,
    memory_bytes: int = MEMORY_BYTES,
) -> Plan:
    """Plan the blocks in which a net goes over a volume.

    Parameters
    ----------
    volume
        What to segment; only its shape and type are looked at.
    runtime
        The net: its stride, halo and memory per voxel.
    block_voxels
        Edges (z, y, x) of the written blocks; by default the largest whose projected memory
        stays below ``memory_bytes``.
    memory_bytes
        Memory for one block, beside the program itself; ignored if ``block_voxels`` is given.

    Raises
    ------
    ConfigError
        If blocks do not fit the stride, or need more memory than the machine has free.
    """
    if block_voxels is None:
        block_voxels = choose_block(
            volume.shape_zyx,
            runtime.halo_voxels,
            runtime.stride,
            limit_voxels=int(
                memory_bytes / (_read_bytes_per_voxel(volume, runtime) + _WRITE_BYTES_PER_VOXEL)
            ),
        )
    plan = plan_blocks(volume.shape_zyx, block_voxels, runtime.halo_voxels, runtime.stride)
    needed = projected_bytes(plan, volume, runtime)
    free = available_memory_bytes()
    if needed > free:
        raise ConfigError(
            f"a block of {plan.block} voxels, read with its halo as {plan.largest_read}, needs "
            f"{needed / 2**30:.1f} GiB but only {free / 2**30:.1f} GiB of memory are free; "
            "choose smaller blocks (--block-voxels) or close other programs"
        )
    return plan


def projected_bytes(plan: Plan, volume: Volume, runtime: Runtime) -> int:
    """Return the memory in bytes that the largest block of ``plan`` takes, beside the program."""
    return projected_peak_bytes(
        plan,
        read_bytes_per_voxel=_read_bytes_per_voxel(volume, runtime),
        write_bytes_per_voxel=_WRITE_BYTES_PER_VOXEL,
    )


def _read_bytes_per_voxel(volume: Volume, runtime: Runtime) -> float:
    # What the net needs, and the input as it is stored.
    return runtime.bytes_per_voxel + volume.dtype.itemsize * runtime.channels


def require_channels(volume: Volume, runtime: Runtime) -> None:
    """Check that what will be read has as many channels as the net takes.

    Raises
    ------
    DataError
        If not.
    """
    if volume.channels != runtime.channels:
        raise DataError(
            f"'{volume.source}' comes with {volume.channels} channel(s), but the model was trained "
            f"on {runtime.channels}; choose as many with --channels, counted from 0"
        )


def predict_volume(
    volume: Volume,
    runtime: Runtime,
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
    require_channels(volume, runtime)
    scale = estimate_intensity(volume) if scale is None else scale
    plan = plan_volume(volume, runtime, block_voxels=block_voxels)
    result = np.empty(volume.shape_zyx, np.float32)

    def operation(block: Block) -> None:
        result[block.write.slices] = probability(volume, scale, runtime, block)

    def done(block: Block, _: object) -> None:
        if on_block is not None:
            on_block(block)

    run_serial(plan, operation, done)
    return result
