"""Graphs as SWC, read line by line."""

from __future__ import annotations

from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from drawn_graphs import drawn, straight
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vpbsd.graph import VesselGraph
from vpbsd.graph.files import write_swc


def _read(path: Path) -> tuple[list[str], np.ndarray]:
    lines = path.read_text(encoding="ascii").splitlines()
    said = [line for line in lines if line.startswith("#")]
    rows = [[float(v) for v in line.split()] for line in lines[len(said) :]]
    return said, np.array(rows).reshape(-1, 7)


def _steps_um(rows: np.ndarray) -> float:
    child = rows[rows[:, 6] > 0]
    parent = rows[child[:, 6].astype(int) - 1]
    return float(np.linalg.norm(child[:, 2:5] - parent[:, 2:5], axis=1).sum())


def test_a_y_point_by_point(tmp_path) -> None:
    arms = [straight((2, 0, 0), p) for p in ((0, 0, 0), (2, 0, 2), (2, 2, 0))]
    graph = drawn(arms, [[5, 4, 3], [5, 6, 7], [5, 8, 9]], voxel_size_um=(3, 2, 1))
    assert write_swc(graph, tmp_path / "y.swc") == 0
    said, rows = _read(tmp_path / "y.swc")
    # id type x y z radius parent, from the node that comes first, (0, 0, 0).
    assert rows.tolist() == [
        [1, 0, 0, 0, 0, 3, -1],
        [2, 0, 0, 0, 3, 4, 1],
        [3, 0, 0, 0, 6, 5, 2],
        [4, 0, 1, 0, 6, 6, 3],
        [5, 0, 2, 0, 6, 7, 4],
        [6, 0, 0, 2, 6, 8, 3],
        [7, 0, 0, 4, 6, 9, 6],
    ]
    assert "# voxel size (x y z): 1 2 3 um" in said
    assert "# edges cut to open loops: 0" in said


def test_a_loop_is_cut_where_it_is_thinnest_and_keeps_its_length(tmp_path) -> None:
    wide = [(0, 0, 0), (0, 1, 1), (0, 0, 2)]
    thin = [(0, 0, 0), (0, -1, 1), (0, 0, 2)]
    graph = drawn([thin, wide], [[2, 1, 2], [2, 4, 2]])
    assert write_swc(graph, tmp_path / "loop.swc", smooth=False) == 1
    said, rows = _read(tmp_path / "loop.swc")
    assert "# edges cut to open loops: 1" in said
    assert rows[:, 5:].tolist() == [[2, -1], [4, 1], [2, 2], [1, 1], [2, 4]]
    assert _steps_um(rows) == pytest.approx(4 * np.sqrt(2))


def test_pieces_and_points_are_roots(tmp_path) -> None:
    ring = [(9, 0, 0), (9, 0, 4), (9, 4, 4), (9, 0, 0)]
    graph = drawn([ring, straight((0, 0, 0), (0, 0, 2))], alone=[(5, 5, 5)])
    assert write_swc(graph, tmp_path / "p.swc", smooth=False) == 1
    said, rows = _read(tmp_path / "p.swc")
    assert (rows[:, 6] == -1).sum() == 3
    assert "# components: 3" in said
    assert len(rows) == 1 + 2 + 1 + 1 + 3


@st.composite
def multigraphs(draw) -> VesselGraph:
    places = draw(
        st.lists(st.tuples(*[st.integers(0, 5)] * 3), min_size=1, max_size=6, unique=True)
    )
    pairs = draw(st.lists(st.tuples(*[st.sampled_from(places)] * 2), max_size=10))
    bends = st.lists(st.tuples(*[st.integers(9, 14)] * 3), max_size=2)
    return drawn([[a, *draw(bends), b] for a, b in pairs], alone=places)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(graph=multigraphs())
def test_laws_of_the_forest(tmp_path, graph: VesselGraph) -> None:
    cut = write_swc(graph, tmp_path / "f.swc", smooth=False)
    _, rows = _read(tmp_path / "f.swc")
    assert rows[:, 0].tolist() == list(range(1, len(rows) + 1))
    assert (rows[:, 6] < rows[:, 0]).all(), "a parent comes before its children"
    oracle = nx.MultiGraph(graph.edge_nodes.tolist())
    oracle.add_nodes_from(range(graph.nodes))
    pieces = nx.number_connected_components(oracle)
    assert (rows[:, 6] == -1).sum() == pieces
    assert cut == graph.edges - graph.nodes + pieces
    # Every node once, every point within an edge once, and an end of its own for each cut edge.
    within = int((np.diff(graph.edge_offsets) - 2).sum())
    assert len(rows) == graph.nodes + within + cut
    lines = (graph.point_position_um[graph.points(e)] for e in range(graph.edges))
    length = sum(np.linalg.norm(np.diff(line, axis=0), axis=1).sum() for line in lines)
    assert _steps_um(rows) == pytest.approx(length, rel=1e-4, abs=1e-4)
