"""Tables and figures of a comparison, from result lines alone.

::

    OUT/COMPARISON/...                        tables and verdicts (`vpbsd.compare.tables.write`)
    OUT/COMPARISON/DATASET/speed.*            clDice against voxels per second
    OUT/COMPARISON/DATASET/differences.*      VpbSD against every other method
    OUT/COMPARISON/ablation.*                 VpbSD against itself with a part switched off
    OUT/COMPARISON/labels.*                   clDice by number of labelled patches
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from vpbsd.compare.results.labels import REFERENCE, REFERENCE_PATCHES, LabelCurve, label_curves
from vpbsd.compare.results.lines import Family, ResultLine, read_results
from vpbsd.compare.results.summary import OURS, Contest, contests, title
from vpbsd.compare.tables.rows import compared_with
from vpbsd.compare.tables.verdicts import PARTS, Benchmarks
from vpbsd.compare.tables.write import comparison_folder, write_tables
from vpbsd.report.comparison import (
    DifferenceBar,
    LabelLine,
    SpeedPoint,
    difference_figure,
    label_figure,
    speed_figure,
)

__all__ = ["write_comparison"]

_RIVALS: tuple[Family, ...] = ("net", "semi", "distillation", "classical")
_FEWEST_METHODS = 3
_SUFFIXES = (".png", ".pdf")


def write_comparison(
    sources: Path | str | Iterable[Path | str],
    out: Path,
    benchmarks: Benchmarks | None = None,
) -> list[Path]:
    """Write every table, verdict and figure that result lines make, without training anything.

    Parameters
    ----------
    sources
        Files of result lines, or folders of them.
    out
        Folder; files of the same names are replaced.
    benchmarks
        Names of the data sets that the bars speak of.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    DataError
        If there are no results, or some cannot be used.
    OutputError
        If a file cannot be written.
    """
    results = read_results(sources)
    return [*write_tables(results, out, benchmarks=benchmarks), *_figures(results, out)]


def _figures(results: Sequence[ResultLine], out: Path) -> list[Path]:
    written: list[Path] = []
    found = contests(results)
    for name in dict.fromkeys(contest.comparison for contest in found):
        chosen = [contest for contest in found if contest.comparison == name]
        for contest in chosen:
            written += _of_dataset(contest, comparison_folder(out, name, contest.dataset))
        written += _of_comparison(chosen, comparison_folder(out, name))
    return written


def _of_comparison(chosen: Sequence[Contest], folder: Path) -> list[Path]:
    written: list[Path] = []
    ablations = {c.dataset: _bars(c, ("ablation",)) for c in chosen}
    if any(ablations.values()):
        label = "clDice lost by switching the part off (points)"
        written += _drawn(
            folder / "ablation", lambda path: difference_figure(ablations, path, label=label)
        )
    for number, curve in enumerate(label_curves(chosen)):
        stem = f"labels_{number}" if number else "labels"
        written += _drawn(folder / stem, _label_drawing(curve))
    return written


def _of_dataset(contest: Contest, folder: Path) -> list[Path]:
    points = _points(contest)
    # Two methods are told apart better by a table.
    if len(points) < _FEWEST_METHODS:
        return []
    written = _drawn(
        folder / "speed", lambda path: speed_figure(points, path, title=contest.dataset)
    )
    bars = _bars(contest, _RIVALS)
    if bars:
        label = "VpbSD minus the other, clDice (points)"
        written += _drawn(
            folder / "differences",
            lambda path: difference_figure({contest.dataset: bars}, path, label=label),
        )
    return written


def _drawn(stem: Path, draw: Callable[[Path], None]) -> list[Path]:
    paths = [stem.with_name(stem.name + suffix) for suffix in _SUFFIXES]
    for path in paths:
        draw(path)
    return paths


def _points(contest: Contest) -> list[SpeedPoint]:
    points = []
    for method in contest.of_family("ours", *_RIVALS):
        score = method.spread("cldice")
        speed = method.mean_of(lambda line: line.voxels_per_second)
        if score is not None and speed:
            points.append(
                SpeedPoint(
                    name=title(method.name),
                    family=method.family,
                    score=score.mean,
                    sd=score.sd,
                    voxels_per_second=speed,
                    ours=method.name == OURS,
                )
            )
    return points


def _bars(contest: Contest, families: tuple[Family, ...]) -> list[DifferenceBar]:
    methods = contest.of_family(*families)
    bars = []
    for name, both in compared_with(contest, methods, contest.ours).items():
        difference = both["cldice"]
        bars.append(
            DifferenceBar(
                name=f"without {PARTS[name]}" if name in PARTS else title(name),
                family=contest.methods[name].family,
                value=difference.value,
                low=difference.low,
                high=difference.high,
                significant=difference.significant,
            )
        )
    return bars


def _label_drawing(curve: LabelCurve) -> Callable[[Path], None]:
    lines = []
    for method in curve.methods:
        spreads = curve.spreads(method)
        lines.append(
            LabelLine(
                name=title(method),
                patches=tuple(spreads),
                scores=tuple(s.mean for s in spreads.values()),
                sds=tuple(s.sd for s in spreads.values()),
                ours=method == OURS,
            )
        )
    name = f"{REFERENCE} with {REFERENCE_PATCHES} labelled patches"
    target = None if curve.target is None else (name, curve.target)
    return lambda path: label_figure(lines, path, target=target, needed=curve.needed)
