"""The graph: its numbers, an interactive view in three dimensions, histograms."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vpbsd.report.page.graph_file import DrawnGraph, GraphFolder
from vpbsd.report.page.numbers import MISSING, column_of, in_plot, number, packed, percent, shown
from vpbsd.report.page.page import Facts, Item, Picture, Plot, Section, Text, Tile
from vpbsd.report.page.pictures import figure_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["graph_section", "graph_tiles", "histograms_section"]

# Blue, green, amber, red: seen on a light and on a dark ground.
_SCALE = ("#3a78d6", "#22a39a", "#d99a1c", "#d6452b")
_MOST_TICKS = 7
_TITLES = {
    "radius_um": "Radius, weighted by length",
    "length_um": "Length of a segment",
    "tortuosity": "Tortuosity",
    "extravascular_distance_um": "Distance from tissue to the nearest vessel",
}


def graph_section(folder: Path, graph: GraphFolder, number_of: int) -> Section:
    """Return numbers and the view of one graph.

    Parameters
    ----------
    folder
        Where it lies, for the reader who looks for the files.
    graph
        What was read of it.
    number_of
        Which graph of the page it is, from 0.
    """
    items: list[Item] = [Facts(_facts(graph)), *_cleaning(graph.summary)]
    if graph.drawn is not None:
        items.append(_view(graph.numbers.name, graph.drawn))
    items.append(
        Text(
            f"The whole graph is in {folder.name}: nodes.parquet and edges.parquet for pandas, R "
            "and Julia, graph.vtp for ParaView."
        )
    )
    return Section(f"graph-{number_of}", f"Graph: {graph.numbers.name}", items)


def graph_tiles(graph: GraphFolder, whole: Mapping[str, Any] | None) -> list[Tile]:
    """Return the key numbers, from the row of the whole volume where there is one."""
    numbers = graph.numbers
    tiles = [Tile("Length of vessels", number(numbers.length_um / 1000), "mm")]
    for name in (
        "length_density_mm_per_mm3",
        "vessel_volume_fraction",
        "branch_points_per_mm3",
        "capillary_length_share",
        "extravascular_distance_mean_um",
    ):
        if whole is not None and whole.get(name) is not None:
            column = column_of(name)
            tiles.append(Tile(column.label, shown(name, whole[name]), column.unit))
    if whole is None:
        tiles.append(Tile("Branch points", shown("nodes", numbers.branch_points)))
    tiles.append(Tile("Mean radius", number(numbers.radius_mean_um), "µm", "weighted by length"))
    return tiles


def histograms_section(graph: GraphFolder, number_of: int) -> Section | None:
    """Return the histograms of a graph: those it brought, and those that its edges give."""
    bins = {**graph.counted, **graph.histograms}
    plots = [plot for name, counted in bins.items() if (plot := _histogram(name, counted))]
    if not plots:
        return None
    return Section(f"histograms-{number_of}", f"Distributions: {graph.numbers.name}", plots)


def _facts(graph: GraphFolder) -> list[tuple[str, str]]:
    numbers = graph.numbers
    largest = numbers.largest_component_share
    rows = [
        ("Nodes", shown("nodes", numbers.nodes)),
        ("Vessel segments", shown("edges", numbers.edges)),
        ("Branch points", shown("nodes", numbers.branch_points)),
        ("Free ends inside", shown("nodes", numbers.free_ends)),
        ("Ends at the border", shown("nodes", numbers.border_ends)),
        ("Spurs", shown("edges", numbers.spurs)),
        ("Connected pieces", shown("edges", numbers.components)),
        ("Largest piece, of the length", f"{percent(largest)} %" if largest else MISSING),
        ("Length of vessels", f"{number(numbers.length_um / 1000)} mm"),
        ("Mean radius, by length", f"{number(numbers.radius_mean_um)} µm"),
        ("Largest radius", f"{number(numbers.radius_max_um)} µm"),
    ]
    known = {label for label, _ in rows}
    for part in ("measures", "skeleton"):
        measures = graph.summary.get(part)
        for name, value in (measures if isinstance(measures, dict) else {}).items():
            column = column_of(str(name))
            if column.label not in known and isinstance(value, int | float | None):
                rows.append((column.label, f"{shown(str(name), value)} {column.unit}".strip()))
                known.add(column.label)
    return rows


def _cleaning(summary: Mapping[str, Any]) -> list[Item]:
    steps = summary.get("cleaning")
    if not isinstance(steps, list) or not steps:
        return []
    told = []
    for step in (step for step in steps if isinstance(step, dict)):
        # Settings and single changes stay in summary.json.
        numbers = {
            k: v for k, v in step.items() if isinstance(v, int | float) and v and k != "rounds"
        }
        words = [f"{_words(name)} {number(value, 4)}" for name, value in numbers.items()]
        told.append(f"{step.get('step', 'a step')} ({', '.join(words) or 'nothing to do'})")
    return [Text("Cleaned, in this order: " + "; ".join(told) + ".")]


def _words(name: str) -> str:
    column = column_of(name)
    label = column.label[:1].lower() + column.label[1:]
    return f"{label} in {column.unit}:" if column.unit else f"{label}:"


# ------------------------------------------------------------------------------ in three dimensions


def _view(name: str, drawn: DrawnGraph) -> Plot:
    low, high = _range(drawn.radius_um)
    ticks = _ticks(low, high)
    z, y, x = (packed(drawn.points_um[:, axis]) for axis in range(3))
    trace = {
        "type": "scatter3d",
        "mode": "lines",
        "x": x,
        "y": y,
        "z": z,
        "connectgaps": False,
        "hovertemplate": "x %{x:.0f}, y %{y:.0f}, z %{z:.0f} µm<extra></extra>",
        "line": {
            "width": 4,
            "color": packed(np.log10(np.maximum(drawn.radius_um, 1e-3))),
            "colorscale": [[i / (len(_SCALE) - 1), c] for i, c in enumerate(_SCALE)],
            "cmin": float(np.log10(low)),
            "cmax": float(np.log10(high)),
            "showscale": True,
            "colorbar": {
                "title": {"text": "radius (µm)"},
                "tickvals": [float(np.log10(r)) for r in ticks],
                "ticktext": [number(r) for r in ticks],
                "thickness": 14,
                "len": 0.7,
            },
        },
    }
    layout = {
        "scene": _scene(drawn.points_um),
        "margin": {"l": 0, "r": 0, "t": 0, "b": 0},
        "showlegend": False,
    }
    told = _drawn_text(drawn)
    alt = f"The graph {name} in three dimensions, coloured by radius. {told}"
    still = Picture(
        _projection(drawn, (low, high)), f"The graph {name}, projected along z.", "projected"
    )
    caption = f"Drag to turn, scroll to come nearer. Axes in µm, in true proportion. {told}"
    return Plot([trace], layout, alt, caption, height_px=620, wide=True, still=still)


def _scene(points_um: NDArray[np.float32]) -> dict[str, Any]:
    """Return axes of one scale, the longest of length 1: a flat volume is no nearer than a cube."""
    low, high = np.nanmin(points_um, axis=0), np.nanmax(points_um, axis=0)
    # A network in one plane has a thickness too, or there would be no box to draw it in.
    thick = np.maximum(high - low, 0.02 * float((high - low).max()))
    middle = (low + high) / 2
    ranges = {
        axis: [float(m - t / 2), float(m + t / 2)]
        for axis, m, t in zip("zyx", middle, thick, strict=True)
    }
    return {
        **{f"{a}axis": {"title": {"text": f"{a} (µm)"}, "range": ranges[a]} for a in "xyz"},
        "aspectmode": "manual",
        "aspectratio": {axis: float(t / thick.max()) for axis, t in zip("zyx", thick, strict=True)},
        # As on a slice: x to the right, y down, z away from the reader.
        "camera": {
            "eye": {"x": 0.82, "y": -0.73, "z": -1.37},
            "up": {"x": 0, "y": -1, "z": 0},
            "center": {"x": 0, "y": 0.08, "z": 0},
        },
    }


def _range(radius_um: NDArray[np.float32]) -> tuple[float, float]:
    low, high = np.nanpercentile(radius_um.astype(np.float64), (1, 99))
    low = max(float(low), 1e-3)
    return (low, float(high)) if high > 1.05 * low else (0.95 * low, 1.05 * low)


def _ticks(low: float, high: float) -> list[float]:
    """Return round numbers between two radii, as many as a bar of colours has room for."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 1.5, 2, 3, 4, 5, 6, 8), (1, 2, 3, 5), (1, 2, 5), (1,)):
        ticks = [s * 10.0**p for p in powers for s in steps if low <= s * 10.0**p <= high]
        if len(ticks) <= _MOST_TICKS:
            break
    return ticks or [low, high]


def _drawn_text(drawn: DrawnGraph) -> str:
    edges = shown("edges", drawn.edges)
    points = f"every {drawn.step}th point along each" if drawn.step > 1 else "every point"
    if drawn.thinnest_um is None:
        return f"All {edges} segments are drawn, {points}."
    return (
        f"Of {edges} segments the {shown('edges', drawn.edges_drawn)} thickest are drawn (mean "
        f"radius from {number(drawn.thinnest_um)} µm), {points}: more would not turn smoothly."
    )


def _projection(drawn: DrawnGraph, limits: tuple[float, float]) -> bytes:
    """Return the graph seen along z, for print and for browsers without WebGL."""
    from matplotlib.collections import LineCollection
    from matplotlib.colors import LinearSegmentedColormap, LogNorm
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 6.0), layout="constrained")
    axes: Axes = figure.add_subplot()
    lines = _segments(drawn.points_um[:, [2, 1]])
    radius = (drawn.radius_um[:-1] + drawn.radius_um[1:]) / 2
    collection = LineCollection(
        list(lines[np.isfinite(radius)]),
        array=radius[np.isfinite(radius)],
        cmap=LinearSegmentedColormap.from_list("radius", list(_SCALE)),
        norm=LogNorm(*limits),
        linewidths=1.0,
    )
    axes.add_collection(collection)
    axes.autoscale_view()
    axes.set(aspect="equal", xlabel="x (µm)", ylabel="y (µm)")
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    bar = figure.colorbar(collection, label="radius (µm)", shrink=0.7)
    ticks = _ticks(*limits)
    bar.set_ticks(ticks, labels=[number(r) for r in ticks])
    bar.ax.minorticks_off()
    return figure_png(figure)


def _segments(points: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.stack([points[:-1], points[1:]], axis=1)


# ----------------------------------------------------------------------------------- distributions


def _histogram(name: str, bins: Any) -> Plot | None:
    if not isinstance(bins, dict) or "edges" not in bins or "counts" not in bins:
        return None
    edges = np.asarray(bins["edges"], np.float64)
    counts = np.asarray(bins["counts"], np.float64)
    total = counts.sum()
    if len(edges) != len(counts) + 1 or not total > 0:
        return None
    column = column_of(name)
    title = _TITLES.get(name, column.label)
    axis = f"{column.label} ({column.unit})" if column.unit else column.label
    trace = {
        "type": "bar",
        "x": ((edges[:-1] + edges[1:]) / 2).tolist(),
        "y": (100 * counts / total).tolist(),
        "width": np.diff(edges).tolist(),
        "hovertemplate": "%{x:.3~g}: %{y:.3~g} %<extra></extra>",
    }
    layout = {
        "title": {"text": in_plot(title), "x": 0, "xref": "paper", "font": {"size": 14}},
        "xaxis": {"title": {"text": in_plot(axis)}, "range": _shown_range(edges, counts)},
        "yaxis": {"title": {"text": "share (%)"}},
        "bargap": 0,
        "showlegend": False,
        "margin": {"l": 48, "r": 12, "t": 40, "b": 40},
    }
    peak = int(np.argmax(counts))
    alt = f"{title}: most common between {number(edges[peak])} and {number(edges[peak + 1])}."
    return Plot([trace], layout, alt)


def _shown_range(edges: NDArray[np.float64], counts: NDArray[np.float64]) -> Sequence[float]:
    """Return the axis up to the last bin before the final thousandth, which is a long tail."""
    inside = np.flatnonzero(np.cumsum(counts) <= 0.999 * counts.sum())
    last = min(len(counts) - 1, int(inside[-1]) + 1) if len(inside) else len(counts) - 1
    return [float(edges[0]), float(edges[last + 1])]
