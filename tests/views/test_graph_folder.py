from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vpbsd.errors import DataError
from vpbsd.geometry import VoxelSize
from vpbsd.graph import VesselGraph
from vpbsd.graph.files import write_graph
from vpbsd.views.graph_folder import is_graph_folder, read_edges, read_nodes


def test_all_of_a_small_graph(graph_folder: Path) -> None:
    vessels = read_edges(graph_folder)
    assert vessels.edge.tolist() == [0, 1, 2]
    assert vessels.component.tolist() == [7, 7, 3]
    assert vessels.offsets.tolist() == [0, 5, 8, 10]
    assert vessels.position_um[4].tolist() == [0, 0, 8]
    assert vessels.position_um[7].tolist() == [0, 6, 8]
    assert vessels.radius_um.tolist() == [1, 1, 2, 3, 3, 3, 2, 2, 4, 4]
    assert vessels.segment_start.tolist() == [0, 1, 2, 3, 5, 6, 8]
    assert vessels.point_row.tolist() == [0] * 5 + [1] * 3 + [2] * 2
    assert (vessels.step, vessels.left_out, vessels.note) == (1, 0, "")


def test_points_are_thinned_but_ends_stay(graph_folder: Path) -> None:
    # At most 9 points: 2 vessels; of 10 points every third (10 / 4, rounded up).
    vessels = read_edges(graph_folder, most_points=9)
    assert vessels.edge.tolist() == [1, 2]
    assert vessels.position_um.tolist() == [[0, 0, 8], [0, 6, 8], [50, 9, 9], [60, 9, 9]]
    assert vessels.note == "one point in 3, without the 1 thinnest vessels"


@pytest.mark.parametrize("most", range(4, 40))
def test_no_more_points_than_allowed(tmp_path: Path, most: int) -> None:
    lengths = np.array([2, 9, 2, 17, 3, 5, 30, 2])
    along = [np.arange(n, dtype=np.float32) for n in lengths]
    none = [np.zeros(n, np.float32) for n in lengths]
    columns = {"edge": range(8), "component": range(8), "radius_mean_um": [1.0] * 8}
    lists = {"points_z_um": none, "points_y_um": none, "points_x_um": along}
    pq.write_table(
        pa.table(columns | lists | {"points_radius_um": none}), tmp_path / "edges.parquet"
    )
    vessels = read_edges(tmp_path, most)
    assert 2 <= len(vessels.position_um) <= most
    assert len(vessels.edge) + vessels.left_out == 8
    first = vessels.position_um[vessels.offsets[:-1]]
    last = vessels.position_um[vessels.offsets[1:] - 1]
    assert (first[:, 2] == 0).all()
    assert (last[:, 2] == lengths[vessels.edge] - 1).all()


def test_nodes(graph_folder: Path) -> None:
    nodes = read_nodes(graph_folder)
    assert nodes.degree.tolist() == [1, 2, 1, 1, 1]
    assert nodes.position_um[2].tolist() == [0, 6, 8]
    thick = read_nodes(graph_folder, most_nodes=3)
    assert (thick.node.tolist(), thick.left_out) == ([1, 3, 4], 2)


def test_graph_without_vessels(graph_folder: Path) -> None:
    for name in ("edges", "nodes"):
        path = graph_folder / f"{name}.parquet"
        pq.write_table(pq.read_table(path).slice(0, 0), path)
    vessels, nodes = read_edges(graph_folder), read_nodes(graph_folder)
    assert vessels.offsets.tolist() == [0]
    assert vessels.position_um.shape == (0, 3)
    assert nodes.position_um.shape == (0, 3)


def test_what_is_a_graph_folder(graph_folder: Path, tmp_path: Path) -> None:
    assert is_graph_folder(graph_folder)
    assert not is_graph_folder(tmp_path)


def test_other_tables_are_refused(graph_folder: Path) -> None:
    edges = graph_folder / "edges.parquet"
    table = pq.read_table(edges)
    pq.write_table(table.drop_columns(["points_z_um", "edge"]), edges)
    with pytest.raises(DataError, match="no column edge, points_z_um"):
        read_edges(graph_folder)
    edges.write_bytes(edges.read_bytes()[:100])
    with pytest.raises(
        DataError, match=r"edges\.parquet' cannot be read .*run `vpbsd graph` again"
    ):
        read_edges(graph_folder)
    edges.unlink()
    with pytest.raises(DataError, match="missing or damaged"):
        read_edges(graph_folder)


def test_lists_of_unequal_length_are_refused(graph_folder: Path) -> None:
    edges = graph_folder / "edges.parquet"
    table = pq.read_table(edges)
    at = table.column_names.index("points_radius_um")
    pq.write_table(
        table.set_column(at, "points_radius_um", table["points_z_um"].take([1, 0, 2])), edges
    )
    with pytest.raises(DataError, match="differ in length"):
        read_edges(graph_folder)


def test_tables_of_the_graph_writer(tmp_path: Path) -> None:
    # A vessel of 10 µm along x and a ring, of one node, in a part of its own.
    turn = np.linspace(0, 2 * np.pi, 9)
    ring = np.stack([np.full(9, 20), 30 + 5 * np.sin(turn), 30 + 5 * np.cos(turn)], axis=1)
    line = np.array([[0, 0, 0], [0, 0, 5], [0, 0, 10]])
    graph = VesselGraph(
        voxel_size=VoxelSize(1, 1, 1),
        shape_voxels=(40, 40, 40),
        node_position_um=np.array([[0, 0, 0], [0, 0, 10], [20, 30, 35]], np.float64),
        node_radius_um=np.array([1, 2, 3], np.float32),
        edge_nodes=np.array([[0, 1], [2, 2]]),
        edge_offsets=np.array([0, 3, 12]),
        point_position_um=np.concatenate([line, ring]).astype(np.float32),
        point_radius_um=np.array([1, 1, 2] + [3] * 9, np.float32),
    )
    write_graph(graph, tmp_path)
    vessels, nodes = read_edges(tmp_path), read_nodes(tmp_path)
    assert is_graph_folder(tmp_path)
    assert vessels.edge.tolist() == [0, 1]
    assert vessels.offsets.tolist() == [0, 3, 12]
    assert np.array_equal(vessels.position_um, graph.point_position_um)
    assert vessels.radius_um.tolist() == [1, 1, 2] + [3] * 9
    assert len(set(vessels.component)) == 2
    assert nodes.degree.tolist() == [1, 1, 2]
    assert np.array_equal(nodes.position_um, graph.node_position_um)
