"""The options of commands that work block by block: workers, shares, memory, where to go on."""

from __future__ import annotations

import argparse
import math
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vpbsd.errors import ConfigError

if TYPE_CHECKING:
    from vpbsd.blockwise import Part, Workers
    from vpbsd.convert import ConvertOptions
    from vpbsd.geometry import Triplet
    from vpbsd.graph import GraphOptions, GraphReport
    from vpbsd.metrics.evaluate import EvaluateOptions
    from vpbsd.segment import SegmentOptions, SegmentReport

__all__ = [
    "add_block_options",
    "convert_options",
    "default_workers",
    "evaluate_options",
    "graph_options",
    "part_lines",
    "report_lines",
    "segment_options",
]

# Below this many voxels, starting processes takes longer than they save.
_WORTH_PROCESSES_VOXELS = 200_000_000


def add_block_options(parser: argparse.ArgumentParser, *, ngff: bool = True) -> None:
    """Add what all such commands share; ``ngff`` for those that write OME-Zarr."""
    parser.add_argument(
        "--workers", type=int, metavar="N", help="local processes (default: one a core if it pays)"
    )
    parser.add_argument(
        "--scheduler", metavar="tcp://HOST:PORT", help="use the workers of this Dask scheduler"
    )
    parser.add_argument(
        "--slurm", type=int, default=0, metavar="JOBS",
        help="start workers in so many SLURM jobs; account, partition and time as in dask's "
        "jobqueue.yaml",
    )  # fmt: skip
    parser.add_argument(
        "--part", metavar="I/N",
        help="do the I-th of N shares, for job arrays; whichever part is last finishes the output",
    )  # fmt: skip
    parser.add_argument(
        "--work", type=Path, metavar="FOLDER",
        help="where to keep what a run needs to go on (default: OUT.work)",
    )  # fmt: skip
    if ngff:
        parser.add_argument(
            "--ngff", choices=("0.4", "0.5"), default="0.5",
            help="version of OME-Zarr (default: 0.5)",
        )  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier output")


def segment_options(options: argparse.Namespace, shape: Triplet) -> SegmentOptions:
    """Return what ``vpbsd segment`` was told.

    Raises
    ------
    ConfigError
        If settings contradict each other or are out of range.
    """
    from vpbsd.geometry import as_triplet
    from vpbsd.segment import SegmentOptions
    from vpbsd.segment.planning import MEMORY_BYTES

    return SegmentOptions(
        threshold=options.threshold,
        probability=options.probability,
        invert=options.invert,
        channels=options.channels and tuple(options.channels),
        skip_empty=not options.no_skip,
        block_voxels=options.block_voxels and as_triplet(options.block_voxels),
        memory_bytes=_memory_bytes(options) or MEMORY_BYTES,
        precision=options.precision,
        runtime=options.runtime,
        device=options.device,
        workers=_workers(options, math.prod(shape), gpu=options.device == "cuda"),
        part=_part(options),
        work=options.work,
        ngff=options.ngff,
        overwrite=options.overwrite,
        progress=not options.quiet,
        command=shlex.join(options.command),
    )


def default_workers(shape: Triplet) -> Workers:
    """Return where a volume of ``shape`` (z, y, x) is segmented if nothing is said."""
    nothing_said = argparse.Namespace(workers=None, scheduler=None, slurm=0)
    return _workers(nothing_said, math.prod(shape), gpu=False)


def convert_options(options: argparse.Namespace) -> ConvertOptions:
    """Return what ``vpbsd convert`` was told.

    Raises
    ------
    ConfigError
        As :func:`segment_options`.
    """
    from vpbsd.convert import ConvertOptions

    return ConvertOptions(
        labels=options.labels,
        ngff=options.ngff,
        workers=_workers(options, 0, gpu=False),
        part=_part(options),
        work=options.work,
        overwrite=options.overwrite,
        command=shlex.join(options.command),
    )


def evaluate_options(options: argparse.Namespace) -> EvaluateOptions:
    """Return what ``vpbsd evaluate`` was told.

    Raises
    ------
    ConfigError
        If a setting is out of range.
    """
    from vpbsd.metrics.evaluate import EvaluateOptions

    radius, memory = options.capillary_radius, _memory_bytes(options)
    if options.workers is not None and options.workers < 1:
        raise ConfigError(f"--workers is a number of processes, at least 1, got {options.workers}")
    default = EvaluateOptions()
    return EvaluateOptions(
        capillary_radius_um=default.capillary_radius_um if radius is None else radius,
        workers=options.workers,
        memory_bytes=default.memory_bytes if memory is None else memory,
        work=options.work,
        progress=not options.quiet,
    )


def graph_options(options: argparse.Namespace, shape: Triplet) -> GraphOptions:
    """Return what ``vpbsd graph`` was told.

    Raises
    ------
    ConfigError
        As :func:`segment_options`.
    """
    from vpbsd.cli.regions import region_options
    from vpbsd.geometry import as_triplet
    from vpbsd.graph import CleanOptions, GraphOptions
    from vpbsd.graph.options import MEMORY_BYTES

    def told(**values: Any) -> dict[str, Any]:
        return {name: value for name, value in values.items() if value is not None}

    cleaning = told(
        spur_factor=options.spur_factor,
        gap_longest_um=options.close_gaps,
        component_shortest_um=options.shortest_component,
    )
    workers = _workers(options, math.prod(shape), gpu=False)
    memory = _memory_bytes(options)
    each = (memory or MEMORY_BYTES) // workers.processes
    return GraphOptions(
        **told(
            cavity_voxels=options.cavity_voxels,
            largest_radius_um=options.largest_radius,
            capillary_radius_um=options.capillary_radius,
            memory_bytes=memory,
        ),
        regions=region_options(options, workers=workers, memory_bytes=each),
        clean=CleanOptions(**cleaning),
        swc=options.swc,
        graphml=options.graphml,
        block_voxels=options.block_voxels and as_triplet(options.block_voxels),
        workers=workers,
        part=_part(options),
        work=options.work,
        overwrite=options.overwrite,
        progress=not options.quiet,
        command=shlex.join(options.command),
    )


def part_lines(report: SegmentReport | GraphReport) -> Iterator[tuple[str, str]]:
    """Yield names and values to show when a part of a job array is done, and others are not."""
    yield "this part", f"finished ({report.blocks} blocks now, {report.resumed_blocks} before)"
    yield "left to other parts", f"{report.missing_blocks} blocks"


def report_lines(report: SegmentReport) -> Iterator[tuple[str, str]]:
    """Yield names and values to show when a segmentation is done."""
    if report.missing_blocks:
        yield from part_lines(report)
        return
    yield "wrote", str(report.mask)
    if report.probability is not None:
        yield "wrote", str(report.probability)
    if report.foreground_share is not None:
        share = f"{100 * report.foreground_share:.2f} % of the volume"
        yield "vessel", f"{share} at threshold {report.threshold:g}"
    if report.resumed_blocks:
        yield "resumed", f"{report.resumed_blocks} blocks were finished before"
    if report.blocks:
        yield (
            "speed",
            f"{report.voxels_per_second / 1e6:.2f} Mvoxel/s in {report.precision} with "
            f"{report.runtime}",
        )


def _memory_bytes(options: argparse.Namespace) -> int | None:
    gib: float | None = options.memory
    if gib is None:
        return None
    if not 0 < gib < math.inf:
        raise ConfigError(f"--memory is a positive number of GiB, got {gib:g}")
    return math.ceil(gib * 2**30)


def _part(options: argparse.Namespace) -> Part | None:
    from vpbsd.blockwise import Part

    return None if options.part is None else Part.parse(options.part)


def _workers(options: argparse.Namespace, voxels: int, *, gpu: bool) -> Workers:
    from vpbsd.blockwise import Workers
    from vpbsd.machine import usable_cores

    cores = usable_cores()
    elsewhere = options.scheduler is not None or options.slurm > 0
    if options.workers is not None and (options.workers < 1 or elsewhere):
        raise ConfigError(
            "--workers is a number of local processes of at least 1; it does not go with "
            "--scheduler or --slurm"
        )
    many = voxels >= _WORTH_PROCESSES_VOXELS and not gpu and not elsewhere
    processes = options.workers or (cores if many else 1)
    # One thread a process where there are several: two that share a core slow each other down.
    threads = 0 if processes == 1 and not elsewhere else max(1, cores // processes)
    return Workers(
        processes=processes,
        threads=1 if elsewhere else threads,
        scheduler=options.scheduler,
        slurm_jobs=options.slurm,
    )
