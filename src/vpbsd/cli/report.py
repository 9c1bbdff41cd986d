"""The verb ``report``: one offline page of a run, a mask, a graph, or groups of animals."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from vpbsd.cli.console import stderr, tell
from vpbsd.errors import ConfigError, VpbsdError

if TYPE_CHECKING:
    from vpbsd.data.collection import TrainingVolume
    from vpbsd.geometry import VoxelSize
    from vpbsd.metrics import Scores
    from vpbsd.report.page.sources import MaskSource, Sources
    from vpbsd.report.page.training import Patterns

__all__ = ["add_report_options", "collect", "report", "write_report"]

logger = logging.getLogger(__name__)

# Volumes that patterns are looked for in, together: the teacher does about a million voxels a
# second on one core.
_PATTERN_VOXELS = 1 << 25


def add_report_options(parser: argparse.ArgumentParser) -> None:
    """Add what the verb takes."""
    parser.add_argument(
        "run", nargs="?", type=Path, metavar="RUN",
        help="training run, graph, mask, or a folder of several of them such as a demo's",
    )  # fmt: skip
    parser.add_argument(
        "-o", "--out", type=Path, default=Path("report.html"), metavar="FILE.html",
        help="the page (default: report.html); an earlier one is replaced",
    )  # fmt: skip
    parser.add_argument(
        "--graph", type=Path, action="append", default=[], metavar="DIR", help="also this graph"
    )
    parser.add_argument("--mask", type=Path, metavar="MASK", help="also this mask")
    parser.add_argument("--image", type=Path, help="that the masks were made of")
    parser.add_argument("--truth", type=Path, help="to hold the masks against")
    parser.add_argument(
        "--csv", action="store_true", help="also the tables of regions as CSV, beside the page"
    )
    parser.add_argument(
        "--no-patterns", action="store_true", help="leave out the look of vessel patterns"
    )
    parser.add_argument(
        "--group", nargs="+", action="append", default=[], metavar=("NAME", "DIR"),
        help="animals of one group, one graph folder each; give it twice to compare two groups",
    )  # fmt: skip
    parser.add_argument(
        "--voxel-size", type=float, nargs=3, metavar=("Z", "Y", "X"), help="in µm; overrides the "
        "files'",
    )  # fmt: skip
    parser.add_argument("--quiet", action="store_true", help="no progress, only warnings")


def report(options: argparse.Namespace) -> int:
    """Write the page."""
    from vpbsd.machine import prepare_process

    if options.run is None and not options.group:
        # What was to come beside a run will do as one.
        if options.graph:
            options.run, *options.graph = options.graph
        else:
            options.run, options.mask = options.mask, None
    if (options.run is None) == (not options.group):
        raise ConfigError(
            "a report is either of a RUN (a training run, mask, graph or demo) or of two groups "
            "(--group NAME DIR … --group NAME DIR …): give one of the two"
        )
    prepare_process()
    from vpbsd.cli.progress import log_to

    with log_to(stderr(), quiet=options.quiet):
        size_bytes = _of_groups(options) if options.group else _of_run(options)
    from vpbsd.report.page.numbers import size_text

    tell([("wrote", f"{options.out} ({size_text(size_bytes)}): open it in any browser")])
    return 0


def _of_groups(options: argparse.Namespace) -> int:
    from vpbsd.report.page.groups import groups_page, read_groups
    from vpbsd.report.page.page import refuse_place, write_page

    refuse_place(options.out)
    short = [words[0] for words in options.group if len(words) < 2]
    if short or len(options.group) < 2:
        raise ConfigError(
            "a comparison needs at least two groups, each with a name and the graph folders of its "
            "animals: --group control c1 c2 c3 --group treated t1 t2 t3"
        )
    for name in ("graph", "mask", "image", "truth"):
        if getattr(options, name):
            raise ConfigError(f"--{name} belongs to the report of a RUN, not to groups of animals")
    tables = read_groups([(name, [Path(d) for d in dirs]) for name, *dirs in options.group])
    page = groups_page(tables, options.out, made=_now(), write_csv=options.csv)
    return write_page(page, options.out)


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"


def _of_run(options: argparse.Namespace) -> int:
    from vpbsd.geometry import VoxelSize

    size = None if options.voxel_size is None else VoxelSize.of(options.voxel_size)
    sources = collect(options.run, options.graph, options.mask)
    sources = _with_company(sources, options.image, options.truth)
    return write_report(
        sources, options.out, csv=options.csv, patterns=not options.no_patterns, voxel_size_um=size
    )


def collect(run: Path, graphs: Sequence[Path] = (), mask: Path | None = None) -> Sources:
    """Return everything that a report shall be of.

    Raises
    ------
    DataError
        If there is nothing to report, or a path is not what it should be.
    """
    from vpbsd.errors import DataError
    from vpbsd.report.page.sources import Sources, find_sources, is_graph, mask_source, merged

    sources = find_sources(run)
    for graph in graphs:
        if not is_graph(graph):
            raise DataError(
                f"'{graph}' is no folder of a graph: nodes.parquet or edges.parquet is missing; "
                "make one with vpbsd graph"
            )
    sources = merged(sources, Sources(graphs=tuple(graphs)))
    return sources if mask is None else merged(sources, Sources(masks=(mask_source(mask),)))


def _with_company(sources: Sources, image: Path | None, truth: Path | None) -> Sources:
    from dataclasses import replace

    from vpbsd.report.page.sources import noted_company

    if (image or truth) and not sources.masks:
        raise ConfigError("--image and --truth belong to a mask, and there is none: give --mask")
    masks = tuple(
        replace(mask, image=image or mask.image, truth=truth or mask.truth)
        for mask in map(noted_company, sources.masks)
    )
    return replace(sources, masks=masks)


def write_report(
    sources: Sources,
    out: Path,
    *,
    csv: bool = False,
    patterns: bool = True,
    voxel_size_um: VoxelSize | None = None,
) -> int:
    """Compute what is missing, write the page, and return its size in bytes.

    Raises
    ------
    DataError, ConfigError
        If something cannot be read.
    OutputError
        If a file cannot be written.
    """
    from vpbsd.report.page.build import Collected, build_page
    from vpbsd.report.page.page import refuse_place, write_page

    refuse_place(out)
    collected = Collected(
        scores=_scores(sources.masks, voxel_size_um),
        patterns={run: p for run in sources.runs if patterns and (p := _patterns(run))},
    )
    page = build_page(sources, collected, out, made=_now(), csv=csv, voxel_size_um=voxel_size_um)
    return write_page(page, out)


def _scores(masks: Sequence[MaskSource], size: VoxelSize | None) -> dict[Path, Scores]:
    from vpbsd.metrics.evaluate import EvaluateOptions, evaluate

    options = EvaluateOptions(progress=False)
    given = None if size is None else size.zyx_um
    return {
        mask.path: evaluate(mask.path, mask.truth, given, options)[0]
        for mask in masks
        if mask.truth is not None and mask.path.exists()
    }


def _patterns(run: Path) -> Patterns | None:
    """Return the look of a run's codebook, why it cannot be had, or None without a teacher."""
    from vpbsd.report.page.training import Patterns

    if not (run / "teacher.safetensors").is_file():
        return None
    from vpbsd.cli.pictures import write_patterns
    from vpbsd.config import load_config
    from vpbsd.report.page.pictures import png_of
    from vpbsd.stages import Run

    logger.info("looking for the vessel patterns of %s", run)
    try:
        images = Run(load_config(run / "config.yaml"), run).collection.images
        chosen = _smallest(images)
        if not chosen:
            return Patterns(
                None,
                "the volumes that the run learnt from are too large to go over for a report "
                f"(the smallest has more than {_PATTERN_VOXELS:,} voxels).",
            )
        png = png_of(lambda path: write_patterns(run, path, chosen))
    except VpbsdError as error:
        # No part of a report: that it is missing, and why, stands on the page.
        return Patterns(None, f"no patterns can be shown: {error}.")
    names = ", ".join(volume.name for volume in chosen)
    return Patterns(png, f"Looked for in {names}; a frame marks the cell of the code.")


def _smallest(volumes: Sequence[TrainingVolume]) -> tuple[TrainingVolume, ...]:
    import math

    chosen: list[TrainingVolume] = []
    total = 0
    for volume in sorted(volumes, key=lambda v: math.prod(v.shape)):
        total += math.prod(volume.shape)
        if total > _PATTERN_VOXELS:
            break
        chosen.append(volume)
    return tuple(chosen)
