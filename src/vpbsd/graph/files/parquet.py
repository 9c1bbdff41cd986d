"""A vessel graph as two Parquet tables, ``nodes.parquet`` and ``edges.parquet``.

Units stand in the names of columns; each edge carries its points as lists. Parquet is read by
pandas, polars, R, Julia, DuckDB and many more; the graph is read back exactly.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vpbsd.errors import VolumeFormatError
from vpbsd.geometry import Triplet, VoxelSize, as_triplet
from vpbsd.graph.files.whole import written_whole
from vpbsd.graph.measures.edges import EdgeMeasures, measure_edges
from vpbsd.graph.measures.length import edge_chunks
from vpbsd.graph.pages import Pages, put_out
from vpbsd.graph.vessel_graph import VesselGraph

__all__ = ["FORMAT", "read_frame", "read_graph", "write_graph"]

FORMAT = 1
"""Version of the two tables; a file of another version is refused."""

_KEY = b"vpbsd"
_ROWS = 100_000
_NODES_AT_ONCE = 1 << 20
# 16 bytes a point, and as much again while they are compressed.
_POINTS = 4_000_000
_POINT_COLUMNS = ("points_z_um", "points_y_um", "points_x_um", "points_radius_um")
_NULL_WITHOUT_CHORD = ("tortuosity", "direction_z", "direction_y", "direction_x")

_LIST = pa.list_(pa.float32())
_NODES = pa.schema(
    [
        pa.field("node", pa.int64(), nullable=False),
        *(pa.field(f"{axis}_um", pa.float64(), nullable=False) for axis in "zyx"),
        pa.field("radius_um", pa.float32(), nullable=False),
        pa.field("degree", pa.int64(), nullable=False),
        pa.field("component", pa.int64(), nullable=False),
    ]
)
_EDGES = pa.schema(
    [
        *(pa.field(name, pa.int64(), nullable=False) for name in ("edge", "node_a", "node_b")),
        *(pa.field(f"{name}_um", pa.float64(), nullable=False) for name in ("length", "chord")),
        pa.field("tortuosity", pa.float64()),
        *(
            pa.field(f"radius_{name}_um", pa.float64(), nullable=False)
            for name in ("mean", "min", "max")
        ),
        pa.field("volume_um3", pa.float64(), nullable=False),
        pa.field("surface_um2", pa.float64(), nullable=False),
        *(pa.field(f"direction_{axis}", pa.float64()) for axis in "zyx"),
        pa.field("component", pa.int64(), nullable=False),
        *(pa.field(name, _LIST, nullable=False) for name in _POINT_COLUMNS),
    ]
)


def write_graph(
    graph: VesselGraph,
    folder: Path,
    measures: EdgeMeasures | None = None,
    *,
    rows_per_group: int = _ROWS,
) -> None:
    """Write ``nodes.parquet`` and ``edges.parquet``, zstd-compressed.

    Edges are written some at a time, so that memory-mapped points stay on disk.

    Parameters
    ----------
    graph
        What to write.
    folder
        Made if it is not there; tables of the same name are replaced.
    measures
        Of this graph; computed if not given.
    rows_per_group
        Edges written at a time, at most; fewer if they have many points.

    Raises
    ------
    OutputError
        If the folder cannot be written to; earlier tables stay as they were then.
    """
    measures = measures or measure_edges(graph)
    with (
        written_whole(folder / "nodes.parquet") as nodes,
        written_whole(folder / "edges.parquet") as edges,
    ):
        with _writer(nodes, _NODES, graph) as writer:
            for first in range(0, max(graph.nodes, 1), _NODES_AT_ONCE):
                rows = slice(first, min(first + _NODES_AT_ONCE, graph.nodes))
                writer.write_table(_node_table(graph, measures, rows))
        with _writer(edges, _EDGES, graph) as writer:
            for rows in _row_groups(graph, rows_per_group):
                writer.write_table(
                    _edge_table(graph, measures, rows), row_group_size=rows_per_group
                )


def read_graph(folder: Path | str, pages: Pages | None = None) -> VesselGraph:
    """Read the graph that `write_graph` wrote, exactly.

    Parameters
    ----------
    folder
        That holds ``nodes.parquet`` and ``edges.parquet``.
    pages
        Where its arrays go; in memory if not given.

    Raises
    ------
    VolumeFormatError
        If a table is missing, cut short, of another version, or not of the same graph as the other.
    """
    folder, pages = Path(folder), pages or Pages()
    nodes, edges = _opened(folder / "nodes.parquet"), _opened(folder / "edges.parquet")
    noted, graph_of_edges = _noted(nodes, folder), _noted(edges, folder)
    if noted != graph_of_edges:
        raise _foreign(folder)
    try:
        columns = [name for name in _NODES.names if name not in ("node", "component")]
        rows = (nodes.read_row_group(i, columns=columns) for i in range(nodes.num_row_groups))
        node = pages.columns(
            {name: table[name].to_numpy() for name in columns}
            for table in chain([_NODES.empty_table().select(columns)], rows)
        )
        ends, offsets, position, radius = _read_edges(edges, pages)
    except (pa.ArrowException, OSError, KeyError) as error:
        raise _damaged(folder, error) from error
    graph = VesselGraph(
        voxel_size=VoxelSize.of(noted["voxel_size_um"]),
        shape_voxels=as_triplet(noted["shape_voxels"]),
        node_position_um=pages.kept(np.stack([node[f"{a}_um"] for a in "zyx"], axis=1)),
        node_radius_um=node["radius_um"],
        edge_nodes=ends,
        edge_offsets=offsets,
        point_position_um=position,
        point_radius_um=radius,
        pages=pages,
    )
    if not np.array_equal(graph.node_degree, node["degree"]):
        raise _foreign(folder)
    return graph


def read_frame(folder: Path) -> tuple[VoxelSize, Triplet]:
    """Return voxel size and shape (z, y, x) of the mask of a graph, without reading the graph.

    Raises
    ------
    VolumeFormatError
        As :func:`read_graph`.
    """
    noted = _noted(_opened(folder / "edges.parquet"), folder)
    return VoxelSize.of(noted["voxel_size_um"]), as_triplet(noted["shape_voxels"])


def _writer(path: Path, schema: pa.Schema, graph: VesselGraph) -> pq.ParquetWriter:
    about = {
        "voxel_size_um": list(graph.voxel_size.zyx_um),
        "shape_voxels": list(graph.shape_voxels),
        "format": FORMAT,
    }
    schema = schema.with_metadata({_KEY: json.dumps(about).encode()})
    return pq.ParquetWriter(path, schema, compression="zstd")


def _node_table(graph: VesselGraph, measures: EdgeMeasures, rows: slice) -> pa.Table:
    columns = [
        np.arange(rows.start, rows.stop),
        *graph.node_position_um[rows].T,
        graph.node_radius_um[rows],
        measures.node_degree[rows],
        measures.node_component[rows],
    ]
    return pa.table([_column(c) for c in columns], schema=_NODES)


def _row_groups(graph: VesselGraph, rows: int) -> Iterator[slice]:
    for chunk in edge_chunks(graph, _POINTS):
        for first in range(chunk.start, chunk.stop, rows):
            yield slice(first, min(first + rows, chunk.stop))


def _edge_table(graph: VesselGraph, measures: EdgeMeasures, rows: slice) -> pa.Table:
    columns: dict[str, Any] = {
        "edge": np.arange(rows.start, rows.stop),
        "node_a": graph.edge_nodes[rows, 0],
        "node_b": graph.edge_nodes[rows, 1],
        "component": measures.component[rows],
    }
    for i, axis in enumerate("zyx"):
        columns[f"direction_{axis}"] = measures.direction[rows, i]
    for name in _EDGES.names:
        if name not in columns and name not in _POINT_COLUMNS:
            columns[name] = getattr(measures, name)[rows]
    arrays = {
        name: _column(values, null_for_nan=name in _NULL_WITHOUT_CHORD)
        for name, values in columns.items()
    }
    offsets = graph.edge_offsets[rows.start : rows.stop + 1]
    points = slice(offsets[0], offsets[-1])
    starts = pa.array((offsets - offsets[0]).astype(np.int32))
    lists = [*graph.point_position_um[points].T, graph.point_radius_um[points]]
    for name, values in zip(_POINT_COLUMNS, lists, strict=True):
        arrays[name] = pa.ListArray.from_arrays(starts, _column(values), type=_LIST)
    return pa.table([arrays[name] for name in _EDGES.names], schema=_EDGES)


def _column(values: NDArray[Any], *, null_for_nan: bool = False) -> pa.Array:
    return pa.array(np.ascontiguousarray(values), mask=np.isnan(values) if null_for_nan else None)


def _opened(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except FileNotFoundError as error:
        raise VolumeFormatError(
            f"there is no {path.name} in {path.parent}: a vessel graph is a folder that `vpbsd "
            "graph` wrote, with nodes.parquet and edges.parquet"
        ) from error
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


def _noted(file: pq.ParquetFile, folder: Path) -> dict[str, Any]:
    """Return what a table says about its graph, if it is of the version that is read here."""
    noted = (file.schema_arrow.metadata or {}).get(_KEY)
    if noted is None:
        raise VolumeFormatError(
            f"the tables in {folder} are Parquet, but no vessel graph: they carry no voxel size; "
            "name a folder that `vpbsd graph` wrote"
        )
    try:
        about: dict[str, Any] = json.loads(noted)
    except ValueError as error:
        raise _damaged(folder, error) from error
    if about.get("format") != FORMAT:
        raise VolumeFormatError(
            f"the graph in {folder} has format {about.get('format')}, and this vpbsd reads format "
            f"{FORMAT}: read it with the vpbsd that wrote it, or build it again"
        )
    return about


def _read_edges(
    file: pq.ParquetFile, pages: Pages
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """Return nodes, offsets, positions and radii, one row group in memory at a time."""
    groups = range(file.num_row_groups)
    total = sum(_points_in(file, group) for group in groups)
    ends = pages.empty((file.metadata.num_rows, 2), np.int64)
    offsets = pages.full(len(ends) + 1, 0, np.int64)
    position = pages.empty((total, 3), np.float32)
    radius = pages.empty(total, np.float32)
    row = point = 0
    for group in groups:
        table = file.read_row_group(group, columns=["node_a", "node_b", *_POINT_COLUMNS])
        rows = slice(row, row + len(table))
        ends[rows, 0], ends[rows, 1] = table["node_a"].to_numpy(), table["node_b"].to_numpy()
        *axes, radii = (table[name].combine_chunks() for name in _POINT_COLUMNS)
        counts = radii.value_lengths().to_numpy()
        offsets[row + 1 : rows.stop + 1] = point + np.cumsum(counts)
        points = slice(point, int(offsets[rows.stop]))
        radius[points] = radii.flatten().to_numpy()
        for i, values in enumerate(axes):
            position[points, i] = values.flatten().to_numpy()
        row, point = rows.stop, points.stop
        put_out(position, radius)
    return ends, offsets, position, radius


def _points_in(file: pq.ParquetFile, group: int) -> int:
    """Return how many points a row group holds, from the file's footer alone."""
    about = file.metadata.row_group(group)
    columns = (about.column(i) for i in range(about.num_columns))
    (found,) = (c for c in columns if c.path_in_schema.split(".")[0] == _POINT_COLUMNS[-1])
    return int(found.num_values)


def _damaged(path: Path, error: Exception) -> VolumeFormatError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return VolumeFormatError(
        f"{path} is damaged or no vessel graph ({reason}): it may have been cut short while it was "
        "copied; copy it again, or build the graph again"
    )


def _foreign(folder: Path) -> VolumeFormatError:
    return VolumeFormatError(
        f"nodes.parquet and edges.parquet in {folder} are of different graphs: one of them was "
        "replaced; build the graph again"
    )
