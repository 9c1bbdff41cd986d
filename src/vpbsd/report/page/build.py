"""A page from what was found: sections appear for what is there, in the order of the pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vpbsd import __version__
from vpbsd.geometry import VoxelSize
from vpbsd.metrics import Scores
from vpbsd.report.page.graph import graph_section, graph_tiles, histograms_section
from vpbsd.report.page.graph_file import read_graph_folder
from vpbsd.report.page.numbers import percent
from vpbsd.report.page.page import Finding, Page, Section, Tile
from vpbsd.report.page.provenance import provenance_section
from vpbsd.report.page.regions import read_regions, regions_section, write_regions_csv
from vpbsd.report.page.scores import score_tiles, scores_section
from vpbsd.report.page.sources import Sources
from vpbsd.report.page.training import (
    Patterns,
    patterns_section,
    training_section,
    training_tiles,
)
from vpbsd.report.page.volumes import volumes_section
from vpbsd.report.page.warnings import blocks_warnings, graph_warnings, ordered

__all__ = ["Collected", "build_page", "names_of"]

_MOST_TILES = 10


@dataclass(frozen=True, slots=True)
class Collected:
    """What takes long to compute, or needs what `report` does not know.

    Attributes
    ----------
    scores
        Of masks, by their path.
    patterns
        Of runs, by their folder.
    """

    scores: Mapping[Path, Scores] = field(default_factory=dict)
    patterns: Mapping[Path, Patterns] = field(default_factory=dict)


@dataclass
class _Parts:
    """A page while it grows."""

    tiles: list[Tile] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)

    def add(self, section: Section | None) -> None:
        if section is not None:
            self.sections.append(section)


def build_page(
    sources: Sources,
    collected: Collected,
    out: Path,
    *,
    made: str,
    csv: bool = False,
    voxel_size_um: VoxelSize | None = None,
) -> Page:
    """Return the page of what is there.

    Parameters
    ----------
    sources, collected
        What to report, and scores and patterns of it.
    out, csv
        Where the page will lie, and whether to write tables of regions beside it.
    made
        When, as the page shows it.
    voxel_size_um
        Overrides what volumes state.

    Raises
    ------
    DataError, ConfigError
        If something cannot be read.
    OutputError
        If a CSV file cannot be written.
    """
    names = names_of(sources)
    parts = _Parts()
    parts.add(provenance_section(sources, names))
    training, found = training_section(sources.runs, names)
    parts.add(training)
    parts.warnings += found
    parts.add(patterns_section(collected.patterns, names))
    _add_masks(parts, sources, names, collected, voxel_size_um)
    _add_graphs(parts, sources, names, out if csv else None)
    if not collected.scores:
        parts.tiles += training_tiles(sources.runs, names)
    return Page(
        title=f"Vessel report: {out.stem if not names else _title(sources, names)}",
        subtitle=_subtitle(sources),
        made=made,
        version=__version__,
        tiles=parts.tiles[:_MOST_TILES],
        warnings=ordered(parts.warnings),
        sections=parts.sections,
    )


def _add_masks(
    parts: _Parts,
    sources: Sources,
    names: Mapping[Path, str],
    collected: Collected,
    voxel_size_um: VoxelSize | None,
) -> None:
    for mask in sources.masks:
        parts.warnings += blocks_warnings(
            f"mask {names[mask.path]}", mask.done, mask.failed, finished=not mask.unfinished
        )
    whole = [mask for mask in sources.masks if mask.path.exists()]
    volumes = volumes_section(whole, names, collected.scores, voxel_size_um)
    parts.add(volumes.section)
    parts.warnings += volumes.warnings
    parts.add(scores_section(collected.scores, names))
    parts.tiles += score_tiles(collected.scores, names)
    if not (collected.scores or sources.graphs):
        parts.tiles += [
            Tile("Marked as vessel", percent(n.foreground_share), "%", n.name)
            for n in volumes.numbers
        ]


def names_of(sources: Sources) -> dict[Path, str]:
    """Return a short name for everything, with its folder where two of a kind share it."""
    kinds = (
        {path: path.resolve().name for path in sources.runs},
        {mask.path: mask.name for mask in sources.masks},
        {path: path.resolve().name for path in sources.graphs},
    )
    found: dict[Path, str] = {}
    for names in kinds:
        given = list(names.values())
        for path, name in names.items():
            twice = given.count(name) > 1
            found[path] = f"{path.resolve().parent.name}/{name}" if twice else name
    return found


def _title(sources: Sources, names: Mapping[Path, str]) -> str:
    first = [*sources.graphs, *(m.path for m in sources.masks), *sources.runs]
    return names[first[0]] if len(first) == 1 else first[0].resolve().parent.name


def _subtitle(sources: Sources) -> str:
    kinds = (
        (len(sources.runs), "training run"),
        (len(sources.masks), "mask"),
        (len(sources.graphs), "graph"),
    )
    return ", ".join(f"{n} {kind}{'s' if n > 1 else ''}" for n, kind in kinds if n)


def _add_graphs(
    parts: _Parts, sources: Sources, names: Mapping[Path, str], csv_beside: Path | None
) -> None:
    for number, folder in enumerate(sources.graphs):
        name = names[folder]
        graph = read_graph_folder(folder, name)
        regions = read_regions(folder)
        parts.tiles += graph_tiles(graph, None if regions is None else regions.whole)
        parts.warnings += graph_warnings(graph.numbers)
        told = graph.summary.get("warnings") or []
        parts.warnings += [_passed_on(text, name) for text in told]
        parts.add(graph_section(folder, graph, number))
        parts.add(histograms_section(graph, number))
        if regions is None:
            continue
        csv_name = None
        if csv_beside is not None:
            suffix = f"-{number + 1}" if number else ""
            csv_name = f"{csv_beside.stem}.regions{suffix}.csv"
            write_regions_csv(regions, csv_beside.with_name(csv_name))
        parts.add(regions_section(regions, name, number, csv_name))


def _passed_on(warning: object, name: str) -> Finding:
    """Return what `vpbsd graph` itself warned of."""
    if isinstance(warning, dict):
        what = str(warning.get("what", warning))
        return Finding("notice", what, str(warning.get("advice", "")), name)
    return Finding("notice", str(warning), "Noted when the graph was made.", name)
