"""Any volume to OME-Zarr with a pyramid, block by block, resumable like a segmentation."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil
from numpy.typing import NDArray

from vpbsd.blockwise import (
    Block,
    OnDone,
    Output,
    OutputJob,
    Part,
    Plan,
    Run,
    Workers,
    WorkFolder,
    Writers,
    failures_in_kind,
    fill_outputs,
    plan_blocks,
    work_path,
)
from vpbsd.errors import ConfigError, OutputError
from vpbsd.geometry import Triplet, as_triplet
from vpbsd.machine import available_memory_bytes, free_bytes
from vpbsd.provenance import library_versions, provenance
from vpbsd.resources import describe_host
from vpbsd.volumes import (
    CachedVolume,
    Location,
    OutputLayout,
    Volume,
    is_url,
    open_volume,
)
from vpbsd.volumes.refusal import refuse_existing, refuse_input

__all__ = ["ConvertOptions", "convert_volume", "peak_bytes"]

_CHUNK_VOXELS = 64
_SHARD_VOXELS = 256
_CACHE_BYTES = 256 * 2**20
# Blocks are as many planes thick as chunks are, and as wide as memory allows, where the input is
# stored in planes: each is then decoded once.
_WIDEST_BLOCK_BYTES = 2**30
# One block is read while another is written, whose shard is put together beside it; 3.5 at most
# were measured, and what the libraries hold besides.
_BLOCKS_HELD = 4
_PROGRAM_SLACK_BYTES = 192 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertOptions:
    """Choices of one conversion.

    Attributes
    ----------
    labels
        The values are labels: coarser levels take the most frequent one, not the mean.
    ngff
        Version of OME-Zarr to write.
    workers, part, work
        Where the work is done, which share of it, and where to keep what it needs to go on.
    overwrite
        Replace an earlier output, once the new one is complete.
    command
        The command line to note as provenance.
    """

    labels: bool = False
    ngff: Literal["0.4", "0.5"] = "0.5"
    workers: Workers = field(default_factory=Workers)
    part: Part | None = None
    work: Path | None = None
    overwrite: bool = False
    command: str = "vpbsd.convert.convert_volume"


@dataclass(frozen=True, slots=True)
class _Copy:
    """Read a box and write it."""

    volume: Volume
    writers: Writers

    def read(self, block: Block) -> NDArray[Any]:
        return self.volume.read(block.write)

    def compute(self, block: Block, data: NDArray[Any]) -> NDArray[Any]:
        return data if self.volume.channels > 1 else data[0]

    def write(self, block: Block, result: NDArray[Any]) -> int:
        self.writers["image"].write(block.write, result)
        return 0


def convert_volume(
    volume: Location | Volume,
    out: Location,
    options: ConvertOptions | None = None,
    on_done: OnDone | None = None,
) -> Run:
    """Write a volume as OME-Zarr with a pyramid.

    Parameters
    ----------
    volume
        A file, folder or URL in any format that is read, or an open volume.
    out
        Ends in ``.zarr``; a path or a URL.
    options
        Defaults if not given.
    on_done
        Told about every finished block.

    Raises
    ------
    OutputError
        If the output exists, is being written by another run, or will not fit on the disk.
    VoxelSizeUnknownError
        If neither the file nor the caller gives the voxel size.
    ConfigError
        If the memory of this machine will not do, or real numbers are called labels.
    VolumeFormatError
        If the volume, or a part of it, cannot be read; the same call tries that part again.
    BlocksFailedError
        If blocks failed for other reasons.
    """
    options = options or ConvertOptions()
    with ExitStack() as stack:
        if not isinstance(volume, Volume):
            volume = stack.enter_context(open_volume(volume))
        job = _job(volume, out, options)
        cached = CachedVolume(volume, _CACHE_BYTES)
        with failures_in_kind():
            return fill_outputs(job, lambda writers: _Copy(cached, writers), on_done)


def peak_bytes(volume: Volume) -> int:
    """Return the memory in bytes that one process takes at most to convert a volume."""
    block = float(np.prod(_plan(volume).block, dtype=float)) * _voxel_bytes(volume)
    program = int(psutil.Process().memory_info().rss) + _PROGRAM_SLACK_BYTES
    cache = 0 if volume.chunk_voxels is None else _CACHE_BYTES
    return math.ceil(program + cache + _BLOCKS_HELD * block)


def _job(volume: Volume, out: Location, options: ConvertOptions) -> OutputJob:
    size = volume.require_voxel_size()
    _require_possible(volume, out, options)
    plan = _plan(volume)
    layout = OutputLayout(
        shape=volume.shape if volume.channels > 1 else volume.shape_zyx,
        dtype=volume.dtype,
        voxel_size_um=size,
        kind="mask" if options.labels else "image",
        shard=plan.block,
        chunk=as_triplet([_CHUNK_VOXELS] * 3),
        ngff=options.ngff,
    )
    fingerprint = volume.fingerprint()
    about = {
        "kind": "labels" if options.labels else "image",
        "input": {"source": volume.source, "fingerprint": fingerprint},
        "provenance": provenance(
            options.command, {volume.source: fingerprint}, machine=describe_host()
        ),
    }
    return OutputJob(
        plan=plan,
        outputs={"image": Output(out, layout, about)},
        fingerprint={
            "input": fingerprint,
            "voxel size": list(size.zyx_um),
            "labels": options.labels,
            "ngff": options.ngff,
            "block": list(plan.block),
            "vpbsd": library_versions(("vpbsd",))["vpbsd"],
        },
        work=WorkFolder(work_path(out, options.work), out),
        workers=options.workers,
        part=options.part,
        overwrite=options.overwrite,
    )


def _require_possible(volume: Volume, out: Location, options: ConvertOptions) -> None:
    if not str(out).rstrip("/").endswith(".zarr"):
        raise OutputError(f"'{out}' must end in .ome.zarr, the one format that is written")
    if options.labels and volume.dtype.kind not in "ui":
        raise ConfigError(
            f"'{volume.source}' holds {volume.dtype}, but labels are integers; leave out --labels"
        )
    refuse_input(out, volume.source)
    # What a run that is taken up again, or another part, has left there: the engine looks closer.
    if options.part is None and not WorkFolder(work_path(out, options.work), out).begun:
        refuse_existing(out, options.overwrite)
    _require_memory(volume, options.workers)
    if is_url(out):
        return
    needed = float(np.prod(volume.shape, dtype=float)) * volume.dtype.itemsize * 8 / 7
    free = free_bytes(Path(out))
    if needed > free:
        raise OutputError(
            f"'{volume.source}' may take {needed / 1e9:.1f} GB as OME-Zarr, and "
            f"{free / 1e9:.1f} GB are free at '{Path(out).parent}'; make room, or choose another "
            "disk (-o)"
        )


def _require_memory(volume: Volume, workers: Workers) -> None:
    if workers.scheduler is not None or workers.slurm_jobs:
        return
    held = int(psutil.Process().memory_info().rss)
    # This process is there already; where there are workers, it only hands out the blocks.
    others = 0 if workers.in_process else _PROGRAM_SLACK_BYTES
    needed = workers.processes * peak_bytes(volume) + others
    needed -= held if workers.in_process else 0
    free = available_memory_bytes()
    if needed > free:
        fewer = "fewer workers (--workers), or " if workers.processes > 1 else ""
        raise ConfigError(
            f"converting '{volume.source}' with {workers} would need {needed / 2**30:.1f} GiB, but "
            f"only {free / 2**30:.1f} GiB of memory are free; {'choose ' if fewer else ''}{fewer}"
            "close other programs"
        )


def _voxel_bytes(volume: Volume) -> int:
    return volume.channels * volume.dtype.itemsize


def _plan(volume: Volume) -> Plan:
    """Return blocks that decode the input as seldom as memory allows."""
    shape = volume.shape_zyx
    stored = volume.chunk_voxels
    block = [_SHARD_VOXELS] * 3
    if stored is not None and stored[1] * stored[2] > _SHARD_VOXELS**2:
        block = _wide_block(shape, stored, _voxel_bytes(volume))
    return plan_blocks(shape, block)


def _wide_block(shape: Triplet, stored: Triplet, voxel_bytes: int) -> list[int]:
    """Return a block one chunk thick (or as the input's own) and as wide as memory allows."""
    block = [_CHUNK_VOXELS, _SHARD_VOXELS, _SHARD_VOXELS]
    for axis in (2, 1):
        others = block[0] * block[1] * block[2] // block[axis] * voxel_bytes
        widest = _WIDEST_BLOCK_BYTES // others // _CHUNK_VOXELS * _CHUNK_VOXELS
        needed = -(-max(min(stored[axis], shape[axis]), 1) // _CHUNK_VOXELS) * _CHUNK_VOXELS
        block[axis] = max(block[axis], min(widest, needed))
    return block
