"""What a segmentation will take, before it starts: measured on a few blocks of this volume here.

::

    seconds = sum over blocks of (read + compute + write) / workers, plus the pyramid

Reading and computing grow with the voxels read (halo included), writing with the voxels written;
blocks without tissue are only read. The seconds per voxel are those of a few real blocks.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vpbsd.blockwise import Block, Plan
from vpbsd.errors import ConfigError
from vpbsd.geometry import Box, as_triplet
from vpbsd.machine import available_memory_bytes, free_bytes, resident_bytes
from vpbsd.segment.planning import projected_bytes
from vpbsd.segment.prepare import CACHE_BYTES, Segmentation, disk_bytes
from vpbsd.segment.tissue import signal_cells
from vpbsd.volumes import OmeZarrWriter, decode_factor, is_url

__all__ = ["Estimate", "estimate_segmentation", "require_memory", "total_bytes"]

_BLOCKS_TIMED = 3
_SECONDS_TIMED = 60.0
# Blocks looked at, at a few places each, to see how many hold no tissue.
_BLOCKS_SEEN = 64
_PLACES_SEEN = 12
_PLACE_EDGE_VOXELS = 16
_BLOCKS_DECODED = 4096
# glibc keeps this much on top of what is used (see vpbsd.machine), and the libraries' own buffers.
_PROGRAM_SLACK_BYTES = 192 * 2**20
# Levels of the pyramid, each an eighth of the one below: 1 + 1/8 + 1/64 + …
_PYRAMID_SUM = 8 / 7
_SCALES_BADLY_BEYOND = 4.0
_HOUR_SECONDS = 3600.0
# Until worker processes have imported torch and hold the net.
_START_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a segmentation takes.

    Attributes
    ----------
    blocks, todo
        Of the plan, and those of this part that are not finished yet.
    overhead
        Voxels read over voxels of the volume.
    empty_share
        Share of blocks that seem to hold no tissue.
    decode_factor
        How often each voxel of the input is decoded.
    worker_bytes, total_bytes
        Peak memory of one worker process and of all on this machine.
    gpu_bytes
        Peak memory of the GPU; 0 without one.
    disk_bytes
        What the outputs may take.
    seconds
        From now to the end.
    voxels_per_second
        Of the volume, by all workers.
    io_share
        Reading and writing over everything.
    picked
        How the net is evaluated, and why.
    """

    blocks: int
    todo: int
    overhead: float
    empty_share: float
    decode_factor: float
    worker_bytes: int
    total_bytes: int
    gpu_bytes: int
    disk_bytes: int
    seconds: float
    voxels_per_second: float
    io_share: float
    picked: str

    def lines(self, segmentation: Segmentation) -> Iterator[tuple[str, str]]:
        """Yield names and values to show."""
        plan, workers = segmentation.plan, segmentation.options.workers
        left = "" if self.todo == self.blocks else f", {self.todo} of them to do"
        yield "blocks", f"{self.blocks} of {plan.block} voxels, read as {plan.largest_read}{left}"
        yield "halo", f"{self.overhead:.2f} times the voxels of the volume are read"
        if self.decode_factor > _SCALES_BADLY_BEYOND:
            yield (
                "warning",
                f"each part of the input is decoded {self.decode_factor:.0f} times, because of how "
                "it is stored; 'vpbsd convert' it to OME-Zarr once",
            )
        if self.empty_share > 0:
            yield "without tissue", f"about {100 * self.empty_share:.0f} % of the blocks"
        yield "computed by", f"{workers}; {self.picked}"
        yield (
            "memory",
            f"up to {_bytes(self.total_bytes)}, {_bytes(self.worker_bytes)} a worker "
            f"({_bytes(available_memory_bytes())} are free)",
        )
        if self.gpu_bytes:
            yield "GPU memory", f"up to {_bytes(self.gpu_bytes)}"
        free = "" if is_url(segmentation.mask) else _free(Path(segmentation.mask))
        yield "disk", f"up to {_bytes(self.disk_bytes)}{free}"
        yield (
            "time",
            f"about {_duration(self.seconds)} at {self.voxels_per_second / 1e6:.1f} Mvoxel/s "
            f"({100 * self.io_share:.0f} % of it reading and writing)",
        )


def estimate_segmentation(segmentation: Segmentation) -> Estimate:
    """Measure a few blocks and tell what the whole will take.

    Raises
    ------
    DataError
        If one of those blocks cannot be read.
    """
    plan, options = segmentation.plan, segmentation.options
    todo = segmentation.todo_blocks
    # Before any block is timed: what that leaves with the process, no block of the run adds again.
    worker_bytes, all_bytes = _worker_bytes(segmentation), total_bytes(segmentation)
    empty_share = _empty_share(segmentation)
    read, compute, write = _seconds_per_voxel(segmentation)
    voxels = float(np.prod(plan.shape, dtype=float))
    share = todo / len(plan)
    reads = voxels * plan.overhead
    io = reads * read + voxels * write * (1 - empty_share) * (1 + _PYRAMID_SUM / 8)
    busy = io + reads * compute * (1 - empty_share)
    start = 0.0 if options.workers.in_process else _START_SECONDS
    seconds = start + share * busy / options.workers.processes
    block_bytes = projected_bytes(plan, segmentation.volume, segmentation.runtime)
    on_gpu = segmentation.spec.device == "cuda"
    return Estimate(
        blocks=len(plan),
        todo=todo,
        overhead=plan.overhead,
        empty_share=empty_share,
        decode_factor=_decode_factor(segmentation),
        worker_bytes=worker_bytes,
        total_bytes=all_bytes,
        gpu_bytes=block_bytes if on_gpu else 0,
        disk_bytes=int(disk_bytes(plan.shape, with_probability=options.probability)),
        seconds=seconds,
        voxels_per_second=share * voxels / max(seconds, 1e-9),
        io_share=io / max(busy, 1e-12),
        picked=segmentation.picked,
    )


def total_bytes(segmentation: Segmentation) -> int:
    """Return the projected peak of all processes on this machine, in bytes."""
    workers = segmentation.options.workers
    worker = _worker_bytes(segmentation)
    if workers.in_process:
        return worker
    # The process that hands out the blocks holds the program as well, and starts others.
    return workers.processes * worker + _program_bytes() + _PROGRAM_SLACK_BYTES


def _worker_bytes(segmentation: Segmentation) -> int:
    block = projected_bytes(segmentation.plan, segmentation.volume, segmentation.runtime)
    return _program_bytes() + CACHE_BYTES + block


def require_memory(segmentation: Segmentation) -> None:
    """Refuse a run that would not fit into this machine's memory.

    Raises
    ------
    ConfigError
        With the numbers, and the settings that would help.
    """
    workers = segmentation.options.workers
    if workers.scheduler is not None or workers.slurm_jobs:
        return
    # What this process holds already is no longer free.
    needed = total_bytes(segmentation) - resident_bytes()
    free = available_memory_bytes()
    if needed > free:
        fewer = "fewer workers (--workers), " if workers.processes > 1 else ""
        raise ConfigError(
            f"{workers} would need {needed / 2**30:.1f} GiB for blocks of "
            f"{segmentation.plan.block} voxels, but only {free / 2**30:.1f} GiB of memory are "
            f"free; choose {fewer}smaller blocks (--block-voxels or --memory), or close other "
            "programs"
        )


def _program_bytes() -> int:
    return resident_bytes() + _PROGRAM_SLACK_BYTES


def _seconds_per_voxel(segmentation: Segmentation) -> tuple[float, float, float]:
    """Return seconds per voxel read (reading, computing) and per voxel written (writing)."""
    # Blocks without tissue are counted apart, so those timed are computed whatever they hold.
    operation = replace(segmentation.operation({}), skip_empty=False)
    read = compute = write = 0.0
    voxels_read = voxels_written = 0
    start = time.monotonic()
    for number, block in enumerate(_spread(segmentation.plan, _BLOCKS_TIMED)):
        if number and time.monotonic() - start > _SECONDS_TIMED:
            break
        if number == 0:
            # The first pass takes memory from the system, which happens once a worker.
            operation.compute(block, operation.read(block))
        began = time.perf_counter()
        data = operation.read(block)
        read_at = time.perf_counter()
        result = operation.compute(block, data)
        computed_at = time.perf_counter()
        if result.mask is not None:
            _write_once(segmentation, result.mask)
        write += time.perf_counter() - computed_at
        compute += computed_at - read_at
        read += read_at - began
        voxels_read += block.read.size_voxels
        voxels_written += block.write.size_voxels
    return read / voxels_read, compute / voxels_read, write / voxels_written


def _write_once(segmentation: Segmentation, mask: NDArray[np.uint8]) -> None:
    """Write a block as the run would, into a folder that is removed again."""
    out = segmentation.mask
    near = Path.cwd() if is_url(out) else Path(out).absolute().parent
    while not near.is_dir():
        near = near.parent
    layout = replace(
        segmentation.job.outputs["mask"].layout,
        shape=mask.shape,
        ngff="0.5",
    )
    with tempfile.TemporaryDirectory(dir=near, prefix=".vpbsd-timing-") as folder:
        writer = OmeZarrWriter.create(Path(folder) / "mask.ome.zarr", layout)
        writer.write(Box.whole(as_triplet(mask.shape)), mask)
        writer.abort()


def _spread(plan: Plan, count: int) -> list[Block]:
    """Return up to ``count`` blocks spread over the plan, away from its ends."""
    indices = sorted({len(plan) * (2 * i + 1) // (2 * count) for i in range(count)})
    return [plan[i] for i in indices]


def _empty_share(segmentation: Segmentation) -> float:
    """Return the share of blocks without tissue, from a few places in some of them."""
    if not segmentation.options.skip_empty:
        return 0.0
    random = np.random.default_rng(0)
    blocks = _spread(segmentation.plan, min(_BLOCKS_SEEN, len(segmentation.plan)))
    empty = sum(not _shows_signal(segmentation, block, random) for block in blocks)
    return empty / len(blocks)


def _shows_signal(segmentation: Segmentation, block: Block, random: np.random.Generator) -> bool:
    volume, scale = segmentation.volume, segmentation.scale
    inside = block.read.clip(volume.shape_zyx)
    edge = as_triplet([min(_PLACE_EDGE_VOXELS, n) for n in inside.shape])
    for _ in range(_PLACES_SEEN):
        start = [
            int(random.integers(a, b - e + 1))
            for a, b, e in zip(inside.start, inside.stop, edge, strict=True)
        ]
        if signal_cells(volume.read(Box.at(start, edge)), scale, edge).any():
            return True
    return False


def _decode_factor(segmentation: Segmentation) -> float:
    plan = segmentation.plan
    # Rows of blocks are alike, so the first thousands tell the factor of all.
    some = [plan[i].read.clip(plan.shape) for i in range(min(len(plan), _BLOCKS_DECODED))]
    written = sum(plan[i].write.size_voxels for i in range(len(some)))
    factor = decode_factor(segmentation.volume, some, CACHE_BYTES)
    return factor * float(np.prod(plan.shape, dtype=float)) / written


def _bytes(number: float) -> str:
    return f"{number / 2**30:.1f} GiB" if number >= 2**30 else f"{number / 2**20:.0f} MiB"


def _free(out: Path) -> str:
    return f" ({_bytes(free_bytes(out))} are free)"


def _duration(seconds: float) -> str:
    if seconds >= 2 * _HOUR_SECONDS:
        return f"{seconds / _HOUR_SECONDS:.1f} hours"
    return f"{seconds / 60:.1f} minutes" if seconds >= 100 else f"{seconds:.0f} seconds"
