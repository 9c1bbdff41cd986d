"""Figures of a comparison: accuracy against speed, differences with intervals, labels needed.

Colours are those of Okabe and Ito (2008), told apart with any common colour blindness; every family
has a marker of its own besides, so that a print in grey can be read too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vpbsd.errors import DataError
from vpbsd.report.figures import save_figure
from vpbsd.report.placement import place_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "FAMILY_STYLES",
    "DifferenceBar",
    "LabelLine",
    "SpeedPoint",
    "difference_figure",
    "label_figure",
    "speed_figure",
]


@dataclass(frozen=True, slots=True)
class FamilyStyle:
    """How a family of methods is drawn."""

    label: str
    colour: str
    marker: str


FAMILY_STYLES: Mapping[str, FamilyStyle] = {
    "ours": FamilyStyle("ours", "#D55E00", "*"),
    "net": FamilyStyle("other nets", "#0072B2", "o"),
    "semi": FamilyStyle("semi-supervised, same student", "#009E73", "^"),
    "distillation": FamilyStyle("distilled, same student", "#CC79A7", "D"),
    "classical": FamilyStyle("classical", "#555555", "s"),
    "ablation": FamilyStyle("one part switched off", "#0072B2", "o"),
    "design": FamilyStyle("one choice made otherwise", "#0072B2", "o"),
}
"""Family -> how it is drawn."""

_INK = "#222222"
# Lines of a label curve besides ours.
_OTHERS = ("#555555", "#0072B2", "#009E73", "#CC79A7", "#E69F00")


@dataclass(frozen=True, slots=True)
class SpeedPoint:
    """One method: its score, its spread over seeds, and how fast it segments."""

    name: str
    family: str
    score: float
    sd: float | None
    voxels_per_second: float
    ours: bool = False


@dataclass(frozen=True, slots=True)
class DifferenceBar:
    """One difference with its interval, as shares; drawn in points."""

    name: str
    family: str
    value: float
    low: float
    high: float
    significant: bool


@dataclass(frozen=True, slots=True)
class LabelLine:
    """One method's score by number of labelled patches."""

    name: str
    patches: tuple[int, ...]
    scores: tuple[float, ...]
    sds: tuple[float | None, ...]
    ours: bool = False


def speed_figure(points: Sequence[SpeedPoint], path: Path, *, title: str = "") -> None:
    """Draw clDice against voxels per second, one marker a method.

    Parameters
    ----------
    points
        Methods; bars show the standard deviation over seeds. A classical filter far below all
        others stands at the lower edge, with its score.
    path
        Where to write; the suffix decides the format.
    title
        Above the axes.

    Raises
    ------
    DataError
        If there is no point, or a speed is not above 0.
    OutputError
        If the figure cannot be written.
    """
    if not points or any(p.voxels_per_second <= 0 for p in points):
        raise DataError(
            "accuracy against speed needs methods with a measured speed above 0 voxels/s: "
            f"{len(points)} were given"
        )
    figure, axes = _axes((7.2, 5.0))
    floor = _floor(points)
    _draw_points(axes, points, floor)
    axes.set_xscale("log")
    # Room for names on the right of the fastest and on the left of the slowest.
    speeds = [p.voxels_per_second for p in points]
    axes.set_xlim(min(speeds) / 2.2, max(speeds) * 4.5)
    axes.set(xlabel="voxels per second (log scale)", ylabel="clDice")
    axes.set_title(title, fontsize=10)
    axes.grid(which="major", alpha=0.25, linewidth=0.6)
    figure.legend(
        loc="outside lower center", ncols=3, frameon=False, fontsize=8, markerscale=0.8,
        handletextpad=0.3,
    )  # fmt: skip
    _settle(figure)
    place_names(
        axes,
        [(p.voxels_per_second, max(p.score, floor)) for p in points],
        [p.name if p.score >= floor else f"{p.name} ({p.score:.2f})" for p in points],
        [
            {"fontsize": 9 if p.ours else 7, "fontweight": "bold" if p.ours else "normal",
             "color": FAMILY_STYLES[p.family].colour, "zorder": 5}
            for p in points
        ],
    )  # fmt: skip
    save_figure(figure, path)


def _draw_points(axes: Axes, points: Sequence[SpeedPoint], floor: float) -> None:
    for family in dict.fromkeys(p.family for p in points):
        style = FAMILY_STYLES[family]
        for number, point in enumerate(p for p in points if p.family == family):
            below = point.score < floor
            axes.errorbar(
                point.voxels_per_second, max(point.score, floor), yerr=None if below else point.sd,
                fmt="v" if below else style.marker, color=style.colour, elinewidth=0.8,
                markersize=_marker_size(style, point.ours), markeredgecolor="white",
                markeredgewidth=0.7, zorder=4 if point.ours else 3,
                label=style.label if number == 0 else None,
            )  # fmt: skip


def difference_figure(
    panels: Mapping[str, Sequence[DifferenceBar]], path: Path, *, label: str
) -> None:
    """Draw differences with their intervals, one panel a data set and one line a method.

    Parameters
    ----------
    panels
        Title of each panel and its bars; a filled marker is significant after correction.
    path
        Where to write.
    label
        Of the horizontal axis: what a value above 0 means.

    Raises
    ------
    DataError
        If there is no bar.
    OutputError
        If the figure cannot be written.
    """
    panels = {title: bars for title, bars in panels.items() if bars}
    if not panels:
        raise DataError("no difference was given to draw: run ours and at least one other method")
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(bar.name for bars in panels.values() for bar in bars))
    height = 0.9 + 0.24 * len(names)
    figure = Figure(figsize=(1.4 + 2.9 * len(panels), max(2.2, height)), layout="constrained")
    row = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (title, bars) in zip(row, panels.items(), strict=True):
        _draw_bars(axes, bars, names)
        axes.set_title(title, fontsize=9)
    row[0].set_yticks(range(len(names)), names, fontsize=8)
    row[0].set_ylim(len(names) - 0.4, -0.6)
    figure.supxlabel(f"{label}\nfilled: significant after correction", fontsize=8)
    _family_legend(figure, dict.fromkeys(b.family for bars in panels.values() for b in bars))
    save_figure(figure, path)


def label_figure(
    lines: Sequence[LabelLine],
    path: Path,
    *,
    target: tuple[str, float] | None = None,
    needed: int | None = None,
) -> None:
    """Draw clDice by number of labelled patches, one line a method.

    Parameters
    ----------
    lines
        Methods; bars show the standard deviation over seeds.
    path
        Where to write.
    target
        What it is, and the score to reach, drawn across.
    needed
        Fewest patches with which ours reaches it.

    Raises
    ------
    DataError
        If there is no line, or one is empty.
    OutputError
        If the figure cannot be written.
    """
    if not lines or not all(line.patches for line in lines):
        raise DataError("a label curve needs at least one method with a score, got none")
    figure, axes = _axes((5.2, 3.8))
    others = iter(_OTHERS * len(lines))
    for line in lines:
        colour = FAMILY_STYLES["ours"].colour if line.ours else next(others)
        axes.errorbar(
            line.patches, line.scores, yerr=[sd or 0.0 for sd in line.sds], label=line.name,
            color=colour, marker="*" if line.ours else "o", markersize=11 if line.ours else 5,
            linewidth=2.0 if line.ours else 1.2, linestyle="-" if line.ours else "--",
            capsize=2, elinewidth=0.8,
        )  # fmt: skip
    ticks = sorted({n for line in lines for n in line.patches})
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [str(n) for n in ticks])
    axes.minorticks_off()
    if target is not None:
        name, score = target
        axes.axhline(score, color=_INK, linewidth=0.8, linestyle=":")
        axes.annotate(
            name, (0.01, score), xycoords=("axes fraction", "data"), xytext=(0, 2),
            textcoords="offset points", fontsize=7, color=_INK, va="bottom",
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5},
        )  # fmt: skip
        if needed is not None:
            bottom = axes.get_ylim()[0]
            axes.plot([needed, needed], [bottom, score], color=_INK, linewidth=0.8, linestyle=":")
            axes.set_ylim(bottom=bottom)
    axes.set(xlabel="labelled patches", ylabel="clDice")
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    save_figure(figure, path)


def _axes(size: tuple[float, float]) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _floor(points: Sequence[SpeedPoint]) -> float:
    """Return the score below which a classical filter would flatten all others."""
    trained = [p.score for p in points if p.family != "classical"]
    if not trained:
        return min(p.score for p in points)
    return min(trained) - 0.5 * max(0.05, max(trained) - min(trained))


def _marker_size(style: FamilyStyle, ours: bool) -> float:
    if ours:
        return 17.0
    return 10.0 if style.marker == "*" else 6.5


def _family_legend(figure: Figure, families: Iterable[str]) -> None:
    from matplotlib.lines import Line2D

    styles = [FAMILY_STYLES[family] for family in families]
    if len(styles) < 2:
        return
    handles = [
        Line2D([], [], color=s.colour, marker=s.marker, linestyle="", label=s.label) for s in styles
    ]
    figure.legend(
        handles=handles, loc="outside upper center", ncols=2, frameon=False, fontsize=7,
        handletextpad=0.2, columnspacing=0.8,
    )  # fmt: skip


def _settle(figure: Figure) -> None:
    """Lay the figure out once and for all, so that places in pixels keep."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def _draw_bars(axes: Axes, bars: Sequence[DifferenceBar], names: Sequence[str]) -> None:
    axes.axvline(0, color=_INK, linewidth=0.8)
    for bar in bars:
        style = FAMILY_STYLES[bar.family]
        place = names.index(bar.name)
        options: dict[str, Any] = {"color": style.colour, "zorder": 3}
        axes.plot([100 * bar.low, 100 * bar.high], [place, place], linewidth=1.4, **options)
        axes.plot(
            100 * bar.value, place, marker=style.marker, markersize=6, markeredgewidth=1.3,
            markerfacecolor=style.colour if bar.significant else "white", **options,
        )  # fmt: skip
    axes.grid(axis="x", alpha=0.25, linewidth=0.6)
    axes.tick_params(axis="x", labelsize=8)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
