"""A graph folder as the page needs it: numbers, and points to draw, in bounded memory.

The point lists of a whole brain's graph do not fit into a page, nor do they have to: they are read
a batch of edges at a time, and thinned while they are read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpbsd.errors import DataError
from vpbsd.report.page.warnings import GraphNumbers

__all__ = ["MOST_POINTS", "DrawnGraph", "GraphFolder", "read_graph_folder"]

MOST_POINTS = 200_000
"""Points that a browser turns smoothly, gaps between edges included."""

_COARSEST_STEP = 16  # along an edge: beyond it whole edges are left out instead
_BATCH_EDGES = 65_536
_POINTS = ("points_z_um", "points_y_um", "points_x_um", "points_radius_um")
_SCALARS = (
    *("node_a", "node_b", "length_um", "radius_mean_um", "radius_max_um", "tortuosity"),
    "component",
)
_NODES = ("degree", "radius_um", "z_um", "y_um", "x_um")
_BINS = 40


@dataclass(frozen=True, eq=False)
class DrawnGraph:
    """Polylines in one array, NaN between them.

    Attributes
    ----------
    points_um
        (P, 3) float32, (z, y, x).
    radius_um
        (P,) float32.
    edges_drawn, edges
        Of how many edges.
    step
        Every so manieth point along an edge is drawn, and its ends.
    thinnest_um
        Where edges were left out, the least mean radius of those drawn; None if all are drawn.
    """

    points_um: NDArray[np.float32]
    radius_um: NDArray[np.float32]
    edges_drawn: int
    edges: int
    step: int
    thinnest_um: float | None


@dataclass(frozen=True, eq=False)
class GraphFolder:
    """What a graph folder says.

    Attributes
    ----------
    numbers
        For the rules and the tiles.
    drawn
        To draw; None where there is no edge.
    summary
        Of ``summary.json``; empty where there is none.
    histograms
        Of ``histograms.json``; empty where there is none.
    counted
        The same of radius, length and tortuosity, counted from the edges.
    """

    numbers: GraphNumbers
    drawn: DrawnGraph | None
    summary: Mapping[str, Any]
    histograms: Mapping[str, Any]
    counted: Mapping[str, Any] = field(default_factory=dict)


def read_graph_folder(folder: Path, name: str, most_points: int = MOST_POINTS) -> GraphFolder:
    """Read what ``vpbsd graph`` left.

    Parameters
    ----------
    folder
        With ``nodes.parquet`` and ``edges.parquet``.
    name
        What the graph is called on the page.
    most_points
        To draw.

    Raises
    ------
    DataError
        If a table is damaged or lacks a column.
    """
    nodes = _columns(folder / "nodes.parquet", _NODES)
    edges = _columns(folder / "edges.parquet", _SCALARS)
    summary = _json(folder / "summary.json")
    free = (nodes["degree"] == 1) & ~_at_border(nodes, folder / "edges.parquet")
    numbers = _numbers(name, nodes["degree"], free, edges, summary)
    drawn = _drawn(folder / "edges.parquet", edges, most_points) if numbers.edges else None
    histograms = _json(folder / "histograms.json")
    return GraphFolder(numbers, drawn, summary, histograms, _counted(edges))


def _columns(path: Path, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    with _opened(path, names) as file:
        table = file.read(columns=list(names))
    return {n: table.column(n).to_numpy(zero_copy_only=False) for n in names}


@contextmanager
def _opened(path: Path, columns: tuple[str, ...]) -> Iterator[Any]:
    """Open a table that has these columns."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            missing = [c for c in columns if c not in file.schema_arrow.names]
            if missing:
                raise DataError(
                    f"'{path}' has no column {', '.join(missing)}: it was not made by vpbsd graph, "
                    "or by another version; make the graph again"
                )
            yield file
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(
            f"'{path}' cannot be read: {error}; it is probably damaged or no Parquet file: make "
            "the graph again"
        ) from error


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"'{path}' is no JSON: {error}; make the graph again") from error
    return found if isinstance(found, dict) else {}


def _at_border(nodes: Mapping[str, NDArray[Any]], edges: Path) -> NDArray[np.bool_]:
    """Whether a node lies where the volume cuts its vessel: by a face, within its radius.

    Two voxels more are allowed, since thinning shortens a line at its end.
    """
    with _opened(edges, ()) as file:
        about = json.loads((file.schema_arrow.metadata or {}).get(b"vpbsd", b"{}"))
    at_border = np.zeros(len(nodes["degree"]), bool)
    if "shape_voxels" not in about or "voxel_size_um" not in about:
        return at_border
    for axis, count, size_um in zip(
        "zyx", about["shape_voxels"], about["voxel_size_um"], strict=True
    ):
        place = nodes[f"{axis}_um"]
        margin = nodes["radius_um"] + 2 * size_um
        at_border |= (place < margin) | (place > (count - 1) * size_um - margin)
    return at_border


def _numbers(
    name: str,
    degree: NDArray[Any],
    free: NDArray[np.bool_],
    edges: Mapping[str, NDArray[Any]],
    summary: Mapping[str, Any],
) -> GraphNumbers:
    length = edges["length_um"].astype(np.float64)
    total = float(length.sum())
    free_a, free_b = (free[edges[n]] for n in ("node_a", "node_b"))
    short = length < 2 * edges["radius_max_um"].astype(np.float64)
    pieces = np.unique(edges["component"], return_inverse=True)[1]
    by_piece = np.bincount(pieces, length) if len(length) else np.zeros(0)
    radius = edges["radius_mean_um"].astype(np.float64)
    options = summary.get("options") or {}
    limit = options.get("largest_radius_um")
    return GraphNumbers(
        name=name,
        nodes=len(degree),
        edges=len(length),
        branch_points=int((degree >= 3).sum()),
        free_ends=int(free.sum()),
        border_ends=int((degree == 1).sum() - free.sum()),
        spurs=int(((free_a ^ free_b) & short).sum()),
        components=len(by_piece),
        largest_component_share=float(by_piece.max() / total) if total else None,
        length_um=total,
        radius_mean_um=float((radius * length).sum() / total) if total else None,
        radius_max_um=float(edges["radius_max_um"].max()) if len(length) else None,
        largest_radius_um=None if limit is None else float(limit),
    )


def _counted(edges: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    length = edges["length_um"].astype(np.float64)
    weights = {"radius_um": length, "length_um": None, "tortuosity": None}
    values = {"radius_um": edges["radius_mean_um"], **{n: edges[n] for n in list(weights)[1:]}}
    found = {}
    for name, weight in weights.items():
        known = values[name].astype(np.float64)
        finite = np.isfinite(known)
        if finite.any():
            # The few largest would make one bin of all others.
            top = float(np.percentile(known[finite], 99.5))
            span = (float(known[finite].min()), max(top, float(known[finite].min()) + 1e-6))
            counts, bounds = np.histogram(
                np.clip(known[finite], *span), _BINS, span,
                weights=None if weight is None else weight[finite],
            )  # fmt: skip
            found[name] = {"edges": bounds.tolist(), "counts": counts.tolist()}
    return found


# ----------------------------------------------------------------------------------- what is drawn


def _drawn(path: Path, edges: Mapping[str, NDArray[Any]], most: int) -> DrawnGraph:
    counts = _point_counts(path)
    step = 1
    while step < _COARSEST_STEP and int(_cost(counts, step).sum()) > most:
        step *= 2
    chosen, thinnest = _thickest(edges["radius_mean_um"], _cost(counts, step), most)
    parts = [np.zeros((0, 4), np.float32)]
    first = 0
    for batch in _batches(path, _POINTS):
        part = chosen[first : first + batch.num_rows]
        first += batch.num_rows
        if part.any():
            parts.append(_thinned(batch, part, step))
    points = np.concatenate(parts)
    return DrawnGraph(
        points_um=points[:, :3],
        radius_um=points[:, 3],
        edges_drawn=int(chosen.sum()),
        edges=len(counts),
        step=step,
        thinnest_um=thinnest,
    )


def _batches(path: Path, columns: tuple[str, ...]) -> Iterator[Any]:
    with _opened(path, columns) as file:
        yield from file.iter_batches(_BATCH_EDGES, columns=list(columns))


def _point_counts(path: Path) -> NDArray[np.int64]:
    import pyarrow.compute

    parts = [np.zeros(0, np.int64)]
    for batch in _batches(path, _POINTS[:1]):
        lengths = pyarrow.compute.list_value_length(batch.column(0))
        parts.append(lengths.to_numpy(zero_copy_only=False).astype(np.int64))
    return np.concatenate(parts)


def _cost(counts: NDArray[np.int64], step: int) -> NDArray[np.int64]:
    """Return points drawn of each edge: every ``step``-th, the last, and the gap after it."""
    return -(-(counts - 1) // step) + 2


def _thickest(
    radius_um: NDArray[Any], cost: NDArray[np.int64], most: int
) -> tuple[NDArray[np.bool_], float | None]:
    """Choose the thickest edges that fit, and return the least radius among them if some do not."""
    if int(cost.sum()) <= most:
        return np.ones(len(cost), bool), None
    order = np.argsort(-radius_um.astype(np.float64), kind="stable")
    fitting = max(1, int(np.searchsorted(np.cumsum(cost[order]), most, side="right")))
    chosen = np.zeros(len(cost), bool)
    chosen[order[:fitting]] = True
    return chosen, float(radius_um[order[fitting - 1]])


def _thinned(batch: Any, chosen: NDArray[np.bool_], step: int) -> NDArray[np.float32]:
    """Return (P, 4) z, y, x and radius of the chosen edges, a row of NaN after each."""
    lists = batch.column(0)
    offsets = lists.offsets.to_numpy().astype(np.int64)
    offsets = offsets - offsets[0]
    counts = np.diff(offsets)
    edge = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(offsets[-1]) - offsets[edge]
    kept = chosen[edge] & ((place % step == 0) | (place == counts[edge] - 1))
    points = np.stack(
        [batch.column(i).flatten().to_numpy(zero_copy_only=False)[kept] for i in range(4)], axis=1
    ).astype(np.float32)
    ends = np.flatnonzero(np.diff(edge[kept], append=-1)) + 1
    return np.insert(points, ends, np.float32(np.nan), axis=0)
