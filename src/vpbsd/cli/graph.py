"""The verb ``graph``: a vessel mask to its graph, or what that would take."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vpbsd.cli.blocks import graph_options, part_lines
from vpbsd.cli.console import echo_voxel_size, opened, stderr, tell
from vpbsd.cli.regions import add_region_options

if TYPE_CHECKING:
    from vpbsd.graph import GraphReport
    from vpbsd.graph.job import GraphJob

__all__ = ["add_graph_options", "graph"]


def add_graph_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb, but those that verbs share."""
    parser.add_argument(
        "-o", "--out", type=Path, required=True, metavar="OUT",
        help="folder to make, with tables and files",
    )  # fmt: skip
    parser.add_argument(
        "--dry-run", action="store_true", help="tell what it will take (memory, disk), and stop"
    )
    parser.add_argument(
        "--cavity-voxels", type=int, metavar="N",
        help="fill holes inside vessels of at most so many voxels (default: 64; 0 = none)",
    )  # fmt: skip
    parser.add_argument(
        "--largest-radius", type=float, metavar="UM",
        help="read every block with context for vessels this wide; blocks with wider ones take "
        "more by themselves (default: 8 voxels)",
    )  # fmt: skip
    parser.add_argument(
        "--spur-factor", type=float, metavar="F",
        help="prune dead ends shorter than so many radii of the vessel that they leave "
        "(0 = none; default: 1.5)",
    )  # fmt: skip
    parser.add_argument(
        "--close-gaps", type=float, metavar="UM",
        help="join free ends that face each other and are no further apart (default: 0 = none)",
    )  # fmt: skip
    parser.add_argument(
        "--shortest-component", type=float, metavar="UM",
        help="remove what is not joined to the rest and shorter than this (default: 0 = nothing)",
    )  # fmt: skip
    parser.add_argument(
        "--capillary-radius", type=float, metavar="UM",
        help="vessels of a smaller radius in µm are capillaries (default: 5)",
    )  # fmt: skip
    add_region_options(parser)
    parser.add_argument("--swc", action="store_true", help="write graph.swc too; cuts loops")
    parser.add_argument("--graphml", action="store_true", help="write graph.graphml too")
    parser.add_argument(
        "--block-voxels", type=int, nargs=3, metavar=("Z", "Y", "X"), help="default: by memory"
    )
    parser.add_argument(
        "--memory", type=float, metavar="GIB", help="for the blocks of all workers (default: 2.5)"
    )


def graph(options: argparse.Namespace) -> int:
    """Make the graph of a mask, or tell what it would take."""
    with opened(options.volume, options.voxel_size) as volume:
        size = volume.require_voxel_size()
        from vpbsd.cli.progress import log_to
        from vpbsd.graph.build import run_graph
        from vpbsd.graph.job import prepare_graph
        from vpbsd.malloc import tune_malloc

        tune_malloc()
        console = stderr()
        with log_to(console, quiet=options.quiet):
            if not options.quiet:
                echo_voxel_size(console, size, given=bool(options.voxel_size))
            job = prepare_graph(volume, options.out, graph_options(options, volume.shape_zyx))
            if options.dry_run:
                tell(_plan_lines(job))
                job.work.discard()
                return 0
            report = run_graph(job)
    tell(_report_lines(report))
    return 0


def _plan_lines(job: GraphJob) -> Iterator[tuple[str, str]]:
    processes = job.options.workers.processes
    z, y, x = job.plan.halo
    yield "blocks", f"{len(job.plan)} of {' x '.join(map(str, job.plan.block))} voxels"
    if job.todo_blocks < len(job.plan):
        yield "to do", f"{job.todo_blocks} blocks"
    yield "halo", f"{z} x {y} x {x} voxels; more where vessels are wider"
    yield "read", f"{job.plan.overhead:.2f} x the volume"
    yield "computed in", str(job.options.workers)
    yield "memory", f"{processes * job.projected_bytes / 2**30:.2f} GiB"
    yield "disk", f"at most {job.disk_bytes / 1e9:.2f} GB"


def _report_lines(report: GraphReport) -> Iterator[tuple[str, str]]:
    if report.missing_blocks:
        yield from part_lines(report)
        return
    yield "wrote", str(report.out)
    if report.elsewhere:
        return
    yield "graph", f"{report.nodes} nodes, {report.edges} edges"
    yield from _measure_lines(report.measures)
    yield "largest radius", f"{report.largest_radius_um:.3g} µm"
    if report.cavities:
        yield "cavities", f"{report.cavities} filled ({report.cavity_voxels} voxels)"
    if report.redone_blocks:
        yield "done again", f"{report.redone_blocks} blocks, with more context"
    if report.resumed_blocks:
        yield "resumed", f"{report.resumed_blocks} blocks were finished before"
    if report.blocks:
        yield "speed", f"{report.voxels_per_second / 1e6:.2f} Mvoxel/s"


def _measure_lines(measures: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what most ask for first; a measure of an empty volume is None."""
    density = measures.get("length_density_mm_per_mm3")
    if density is not None:
        yield "length density", f"{density:.1f} mm/mm³"
    distance = measures.get("extravascular_distance_mean_um")
    if distance is not None:
        beyond = 100 * measures["extravascular_distance_beyond_share"]
        yield "to the nearest vessel", f"{distance:.1f} µm on average, {beyond:.1f} % beyond"
