"""How a volume is cut for a net, and the memory that takes."""

from __future__ import annotations

from collections.abc import Sequence

from vpbsd.blockwise import Plan, choose_block, plan_blocks, projected_peak_bytes
from vpbsd.errors import ConfigError, DataError
from vpbsd.machine import available_memory_bytes
from vpbsd.segment.runtimes import Predictor
from vpbsd.volumes import Volume

__all__ = ["MEMORY_BYTES", "plan_volume", "projected_bytes", "require_channels"]

MEMORY_BYTES = 5 * 2**29
"""What the blocks of all workers may take by default. With the programs themselves it stays below
4 GB on two workers; larger blocks compute less twice, to little avail above."""

# Mask and probability of a block, as float32 and in the type they are stored in, and once more
# stored by the lane that writes while the next block is computed.
_WRITE_BYTES_PER_VOXEL = 14.0


def plan_volume(
    volume: Volume,
    runtime: Predictor,
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


def projected_bytes(plan: Plan, volume: Volume, runtime: Predictor) -> int:
    """Return the memory in bytes that the largest block of ``plan`` takes, beside the program."""
    return projected_peak_bytes(
        plan,
        read_bytes_per_voxel=_read_bytes_per_voxel(volume, runtime),
        write_bytes_per_voxel=_WRITE_BYTES_PER_VOXEL,
    )


def _read_bytes_per_voxel(volume: Volume, runtime: Predictor) -> float:
    # What the net needs, the input as it is stored, and that of the next block, read meanwhile.
    return runtime.bytes_per_voxel + 2 * volume.dtype.itemsize * runtime.channels


def require_channels(volume: Volume, channels: int) -> None:
    """Check that what will be read has as many channels as the net takes.

    Raises
    ------
    DataError
        If not.
    """
    if volume.channels != channels:
        raise DataError(
            f"'{volume.source}' comes with {volume.channels} channel(s), but the model was trained "
            f"on {channels}; choose as many with --channels, counted from 0"
        )
