"""Figures of a comparison: what is drawn where."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from vpbsd.errors import DataError, OutputError
from vpbsd.report import comparison
from vpbsd.report.comparison import (
    FAMILY_STYLES,
    DifferenceBar,
    LabelLine,
    SpeedPoint,
    difference_figure,
    label_figure,
    speed_figure,
)
from vpbsd.report.placement import place_names

POINTS = [
    SpeedPoint("VpbSD", "ours", 0.80, 0.01, 2e6, ours=True),
    SpeedPoint("unet", "net", 0.75, 0.02, 1e4),
    SpeedPoint("cps", "semi", 0.78, None, 2e6),
    SpeedPoint("cwd", "distillation", 0.77, 0.01, 2e6),
    SpeedPoint("threshold", "classical", 0.30, None, 6e5),
]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Return the figures that are saved, instead of writing them."""
    kept: list[Figure] = []
    monkeypatch.setattr(comparison, "save_figure", lambda figure, path: kept.append(figure))
    return kept


def colours(path: Path) -> set[tuple[int, ...]]:
    from matplotlib.image import imread

    pixels = (np.asarray(imread(path))[..., :3] * 255).round().astype(int)
    return {tuple(p) for p in np.unique(pixels.reshape(-1, 3), axis=0).tolist()}


def rgb(name: str) -> tuple[int, ...]:
    return tuple(round(255 * c) for c in to_rgb(name))


def test_speed_figure_names_every_method_and_family(drawn: list[Figure]) -> None:
    speed_figure(POINTS, Path("unused.png"), title="simulated")
    (axes,) = drawn[0].axes
    assert axes.get_xscale() == "log"
    names = {t.get_text() for t in axes.texts}
    # A filter far below the others stands at the edge, with its score.
    assert names == {"VpbSD", "unet", "cps", "cwd", "threshold (0.30)"}
    assert axes.get_ylim()[0] > 0.65
    (legend,) = drawn[0].legends
    labels = [t.get_text() for t in legend.get_texts()]
    assert labels == [FAMILY_STYLES[p.family].label for p in POINTS]
    weights = {t.get_text(): t.get_fontweight() for t in axes.texts}
    assert weights["VpbSD"] == "bold"
    assert weights["unet"] == "normal"


def test_figures_are_written_in_the_colours_of_their_families(tmp_path: Path) -> None:
    speed_figure(POINTS, tmp_path / "speed.png")
    assert {rgb(FAMILY_STYLES[p.family].colour) for p in POINTS} <= colours(tmp_path / "speed.png")
    speed_figure(POINTS[:1], tmp_path / "one.pdf")
    assert (tmp_path / "one.pdf").read_bytes().startswith(b"%PDF")


def test_every_family_has_a_marker_of_its_own() -> None:
    in_one_figure = ("ours", "net", "semi", "distillation", "classical")
    assert len({FAMILY_STYLES[f].marker for f in in_one_figure}) == 5
    assert len({FAMILY_STYLES[f].colour for f in in_one_figure}) == 5


@pytest.mark.parametrize("count", [3, 24])
def test_names_cover_neither_each_other_nor_points(count: int) -> None:
    figure = Figure(figsize=(7, 5))
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set(xlim=(0, 10), ylim=(0, 1))
    rng = np.random.default_rng(0)
    # A dense stack, as of methods that deploy the same net.
    points = [(float(x), float(y)) for x, y in rng.normal((5, 0.5), (0.1, 0.08), (count, 2))]
    texts = place_names(
        axes, points, [f"method_{i}" for i in range(count)], [{"fontsize": 7}] * count
    )
    assert [t.get_text() for t in texts] == [f"method_{i}" for i in range(count)]
    boxes = [t.get_window_extent() for t in texts]
    for a, b in itertools.combinations(boxes, 2):
        width, height = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert width <= 1 or height <= 1
    frame = axes.get_window_extent()
    for box in boxes:
        assert frame.x0 <= box.x0
        assert box.x1 <= frame.x1
    for x, y in axes.transData.transform(points):
        assert not any(b.x0 < x < b.x1 and b.y0 < y < b.y1 for b in boxes)


def bar(name: str, value: float, **changed: Any) -> DifferenceBar:
    about = {"low": value - 0.01, "high": value + 0.01, "significant": value > 0.01, **changed}
    return DifferenceBar(name, about.pop("family", "ablation"), value, **about)


def test_differences_are_points_with_their_interval(drawn: list[Figure]) -> None:
    panels = {"a": [bar("x", 0.02), bar("y", -0.005)], "b": [bar("y", 0.03)], "empty": []}
    difference_figure(panels, Path("unused.png"), label="lost")
    first, second = drawn[0].axes
    assert [t.get_text() for t in first.get_yticklabels()] == ["x", "y"]
    zero, interval, value, *_ = first.get_lines()
    assert list(zero.get_xdata()) == [0, 0]
    assert list(interval.get_xdata()) == pytest.approx([1.0, 3.0])
    assert list(value.get_xdata()) == pytest.approx([2.0])
    # Filled where it is significant, hollow where not.
    markers = [line for line in first.get_lines() if line.get_marker() == "o"]
    assert [m.get_markerfacecolor() for m in markers] == [FAMILY_STYLES["ablation"].colour, "white"]
    # The same method on the same line, the first at the top, and one scale for both panels.
    assert list(second.get_lines()[2].get_ydata()) == [1]
    assert first.get_ylim()[0] > first.get_ylim()[1]
    assert first.get_xlim() == second.get_xlim()
    assert "lost" in drawn[0].get_supxlabel()
    assert drawn[0].legends == []


def test_differences_of_several_families_have_a_legend(drawn: list[Figure]) -> None:
    bars = [bar("unet", 0.1, family="net"), bar("cps", 0.1, family="semi")]
    difference_figure({"a": bars}, Path("unused.png"), label="")
    (legend,) = drawn[0].legends
    assert [t.get_text() for t in legend.get_texts()] == [
        "other nets",
        "semi-supervised, same student",
    ]


def test_label_curve(drawn: list[Figure]) -> None:
    lines = [
        LabelLine("VpbSD", (1, 4, 16), (0.7, 0.8, 0.85), (0.01, None, 0.02), ours=True),
        LabelLine("supervised_only", (1, 16), (0.6, 0.79), (None, None)),
    ]
    label_figure(lines, Path("unused.png"), target=("supervised at 16", 0.79), needed=4)
    (axes,) = drawn[0].axes
    assert [t.get_text() for t in axes.get_xticklabels()] == ["1", "4", "16"]
    dotted = [line for line in axes.get_lines() if line.get_linestyle() == ":"]
    assert list(dotted[0].get_ydata()) == [0.79, 0.79]
    assert list(dotted[1].get_xdata()) == [4, 4]
    assert "supervised at 16" in [t.get_text() for t in axes.texts]
    legend = axes.get_legend()
    assert legend is not None
    assert [t.get_text() for t in legend.get_texts()] == ["VpbSD", "supervised_only"]


def test_nothing_to_draw(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    with pytest.raises(DataError, match="a measured speed above 0 voxels/s: 0 were given"):
        speed_figure([], path)
    with pytest.raises(DataError, match="a measured speed above 0"):
        speed_figure([SpeedPoint("a", "net", 0.5, None, 0.0)], path)
    with pytest.raises(DataError, match="no difference was given to draw"):
        difference_figure({"a": []}, path, label="")
    for lines in ([], [LabelLine("a", (), (), ())]):
        with pytest.raises(DataError, match="at least one method with a score"):
            label_figure(lines, path)
    with pytest.raises(OutputError, match="cannot write the figure"):
        speed_figure(POINTS, tmp_path / "no" / "a.png")
    assert list(tmp_path.iterdir()) == []
