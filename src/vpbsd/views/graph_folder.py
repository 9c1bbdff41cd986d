"""The folder that ``vpbsd graph`` leaves, read for drawing: as many points as a viewer bears.

A brain has more centreline points than a viewer can draw. They are thinned out while they are
read, so that memory stays bounded as well: of each vessel every k-th point and its last; where
there are too many vessels, the thickest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpbsd.errors import DataError

__all__ = ["MOST_POINTS", "Nodes", "Polylines", "is_graph_folder", "read_edges", "read_nodes"]

MOST_POINTS = 200_000
"""Centreline points, and nodes, that are drawn at most; more make viewers slow."""

_EDGES, _NODES = "edges.parquet", "nodes.parquet"
_LISTS = ("points_z_um", "points_y_um", "points_x_um", "points_radius_um")
_PLAIN = ("edge", "component", "radius_mean_um")
_ROWS_AT_ONCE = 65_536


@dataclass(frozen=True, slots=True, eq=False)
class Polylines:
    """Vessels as polylines; edge ``e`` has the points ``offsets[e]`` to ``offsets[e + 1]``.

    Attributes
    ----------
    edge, component
        (E,) int64, as in the table.
    offsets
        (E + 1,) int64.
    position_um
        (P, 3) float32, (z, y, x).
    radius_um
        (P,) float32.
    step
        Of each vessel every ``step``-th point is here, and its last.
    left_out
        Vessels that are not here, the thinnest.
    """

    edge: NDArray[np.int64]
    component: NDArray[np.int64]
    offsets: NDArray[np.int64]
    position_um: NDArray[np.float32]
    radius_um: NDArray[np.float32]
    step: int
    left_out: int

    @property
    def segment_start(self) -> NDArray[np.intp]:
        """(S,) points that are joined to the next point of the same vessel."""
        inner = np.ones(len(self.position_um), np.bool_)
        inner[self.offsets[1:] - 1] = False
        return np.flatnonzero(inner)

    @property
    def point_row(self) -> NDArray[np.int64]:
        """(P,) which of the vessels here each point belongs to."""
        return np.repeat(np.arange(len(self.edge)), np.diff(self.offsets))

    @property
    def note(self) -> str:
        """What was left out, in words; empty if nothing was."""
        parts = [f"one point in {self.step}"] if self.step > 1 else []
        parts += [f"without the {self.left_out} thinnest vessels"] if self.left_out else []
        return ", ".join(parts)


@dataclass(frozen=True, slots=True, eq=False)
class Nodes:
    """Branch points and ends.

    Attributes
    ----------
    node, degree
        (N,) int64.
    position_um
        (N, 3) float64, (z, y, x).
    radius_um
        (N,) float32.
    left_out
        Nodes that are not here, the thinnest.
    """

    node: NDArray[np.int64]
    degree: NDArray[np.int64]
    position_um: NDArray[np.float64]
    radius_um: NDArray[np.float32]
    left_out: int


def is_graph_folder(folder: Path) -> bool:
    """Whether a folder holds the tables that ``vpbsd graph`` writes."""
    return all((folder / name).is_file() for name in (_EDGES, _NODES))


def read_edges(folder: Path, most_points: int = MOST_POINTS) -> Polylines:
    """Read the vessels of a graph, thinned out to at most ``most_points`` points.

    Raises
    ------
    DataError
        If the table is missing, damaged, or another one.
    """
    path = folder / _EDGES
    with _Table(path, (*_PLAIN, *_LISTS)) as table:
        # Half of the points for the first and last of each vessel, half for those between.
        keep = _thickest(table, "radius_mean_um", max(1, most_points // 4))
        points = table.values(_LISTS[0])
        step = 1 if points <= most_points else -(-points // max(1, most_points // 2))
        parts, row = [], 0
        for batch in table.batches((*_PLAIN, *_LISTS)):
            parts.append(_thinned(batch, keep[row : row + batch.num_rows], step, path))
            row += batch.num_rows
    parts = [part for part in parts if part is not None] or [_NOTHING]
    joined = [np.concatenate(column) for column in zip(*parts, strict=True)]
    edge, component, lengths, position, radii = joined
    left_out = len(keep) - int(np.count_nonzero(keep))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Polylines(edge, component, offsets, position, radii, step, left_out)


def read_nodes(folder: Path, most_nodes: int = MOST_POINTS) -> Nodes:
    """Read the nodes of a graph, of more than ``most_nodes`` the thickest.

    Raises
    ------
    DataError
        If the table is missing, damaged, or another one.
    """
    names = ("node", "degree", "z_um", "y_um", "x_um", "radius_um")
    with _Table(folder / _NODES, names) as table:
        keep, row = _thickest(table, "radius_um", most_nodes), 0
        found: list[list[NDArray[Any]]] = []
        for batch in table.batches(names):
            chosen = keep[row : row + batch.num_rows]
            columns = [batch.column(name).to_numpy(zero_copy_only=False) for name in names]
            found.append([column[chosen] for column in columns])
            row += batch.num_rows
    none = [np.zeros(0)] * len(names)
    joined = [np.concatenate(c) for c in zip(*found, strict=True)] if found else none
    return Nodes(
        node=joined[0].astype(np.int64),
        degree=joined[1].astype(np.int64),
        position_um=np.stack(joined[2:5], axis=1).astype(np.float64),
        radius_um=joined[5].astype(np.float32),
        left_out=len(keep) - int(np.count_nonzero(keep)),
    )


_NOTHING: list[NDArray[Any]] = [
    np.zeros(0, np.int64),
    np.zeros(0, np.int64),
    np.zeros(0, np.int64),
    np.zeros((0, 3), np.float32),
    np.zeros(0, np.float32),
]


class _Table:
    """A Parquet file that is read a few rows at a time."""

    def __init__(self, path: Path, columns: tuple[str, ...]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._faults = (OSError, pa.ArrowException)
        try:
            self._file = pq.ParquetFile(path)
        except self._faults as error:
            raise _unreadable(path, error) from error
        self._path = path
        missing = [c for c in columns if c not in self._file.schema_arrow.names]
        if missing:
            self._file.close()
            raise DataError(
                f"'{path}' has no column {', '.join(missing)}, so it is not the table that "
                "`vpbsd graph` writes; name the folder of a graph"
            )

    def __enter__(self) -> _Table:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def values(self, column: str) -> int:
        """Return how many values a column of lists holds, without reading them."""
        total = 0
        for group in range(self._file.metadata.num_row_groups):
            row_group = self._file.metadata.row_group(group)
            for i in range(row_group.num_columns):
                if row_group.column(i).path_in_schema.split(".")[0] == column:
                    total += row_group.column(i).num_values
        return total

    def batches(self, columns: tuple[str, ...]) -> Iterator[Any]:
        """Yield record batches of some columns."""
        try:
            yield from self._file.iter_batches(_ROWS_AT_ONCE, columns=list(columns))
        except self._faults as error:
            raise _unreadable(self._path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(
        f"'{path}' cannot be read ({str(error).splitlines()[0]}); it is missing or damaged: run "
        "`vpbsd graph` again"
    )


def _thickest(table: _Table, column: str, most: int) -> NDArray[np.bool_]:
    """(rows,) which rows are kept: those with the largest radius, at most ``most``."""
    radii = [b.column(column).to_numpy(zero_copy_only=False) for b in table.batches((column,))]
    every = np.nan_to_num(np.concatenate(radii)) if radii else np.zeros(0)
    keep = np.ones(len(every), np.bool_)
    if len(every) > most:
        keep[np.argpartition(every, len(every) - most)[: len(every) - most]] = False
    return keep


def _thinned(
    batch: Any, chosen: NDArray[np.bool_], step: int, path: Path
) -> list[NDArray[Any]] | None:
    """Return edge, component, length in points, positions and radii of the vessels kept."""
    import pyarrow as pa
    import pyarrow.compute as pc

    batch = batch.filter(pa.array(chosen))
    if batch.num_rows == 0:
        return None
    counts = [pc.list_value_length(batch.column(n)).to_numpy(zero_copy_only=False) for n in _LISTS]
    lengths = counts[0].astype(np.int64)
    if any(not np.array_equal(c, counts[0]) for c in counts) or int(lengths.min()) < 2:
        raise DataError(
            f"the point lists of '{path}' differ in length, or a vessel has fewer than two "
            "points; the file is damaged: run `vpbsd graph` again"
        )
    z, y, x, radii = (
        batch.column(n).flatten().to_numpy(zero_copy_only=False).astype(np.float32) for n in _LISTS
    )
    first = np.cumsum(lengths) - lengths
    within = np.arange(len(z)) - np.repeat(first, lengths)
    keep = (within % step == 0) | (within == np.repeat(lengths, lengths) - 1)
    kept = np.add.reduceat(keep.astype(np.int64), first)
    plain = [batch.column(n).to_numpy(zero_copy_only=False) for n in _PLAIN[:2]]
    edge, component = (column.astype(np.int64) for column in plain)
    return [edge, component, kept, np.stack([z, y, x], axis=1)[keep], radii[keep]]
