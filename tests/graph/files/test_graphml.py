"""Graphs for networkx, and as GraphML read by networkx."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from drawn_graphs import drawn, straight

from vpbsd.errors import OutputError
from vpbsd.graph import VesselGraph
from vpbsd.graph.files import to_networkx, write_graphml


def _some() -> VesselGraph:
    """A ring with a tail, and two vessels between the same nodes."""
    ring = [(0, 0, 0), (0, 0, 4), (0, 4, 4), (0, 0, 0)]
    twins = [[(0, 0, 9), (0, 1, 10), (0, 0, 11)], [(0, 0, 9), (0, -1, 10), (0, 0, 11)]]
    return drawn(
        [ring, straight((0, 0, 0), (3, 0, 0)), *twins],
        1.5,
        alone=[(9, 9, 9)],
        voxel_size_um=(2, 1, 1),
    )


def test_nodes_edges_and_their_numbers() -> None:
    graph = to_networkx(_some())
    assert isinstance(graph, nx.MultiGraph)
    assert (graph.number_of_nodes(), graph.number_of_edges()) == (5, 4)
    assert dict(graph.degree()) == {0: 3, 1: 2, 2: 2, 3: 1, 4: 0}
    assert graph.nodes[3] == {
        "z_um": 6.0,
        "y_um": 0.0,
        "x_um": 0.0,
        "radius_um": 1.5,
        "component": 0,
    }
    tail = graph.edges[0, 3, 1]
    assert tail["length_um"] == pytest.approx(6)
    assert tail["direction_z"] == 1
    assert tail["points_um"].tolist() == [[2.0 * z, 0, 0, 1.5] for z in range(4)]
    assert set(graph[1][2]) == {2, 3}
    assert graph.graph["voxel_size_z_um"] == 2


def test_what_a_ring_does_not_have_is_left_out() -> None:
    ring = to_networkx(_some()).edges[0, 0, 0]
    assert {"tortuosity", "direction_z"} & set(ring) == set()
    assert ring["chord_um"] == 0


def test_points_begin_at_node_a() -> None:
    line = [(0, 0, 9), (0, 1, 5), (0, 0, 0)]
    edge = to_networkx(drawn([line])).edges[0, 1, 0]
    assert edge["node_a"] == 1
    assert edge["points_um"][0].tolist() == [0, 0, 9, 1]


def test_networkx_reads_the_file(tmp_path) -> None:
    write_graphml(_some(), tmp_path / "graph.graphml")
    read = nx.read_graphml(tmp_path / "graph.graphml", node_type=int, force_multigraph=True)
    made = to_networkx(_some(), points=False)
    assert dict(read.nodes(data=True)) == dict(made.nodes(data=True))
    found = sorted(d["edge"] for _, _, d in read.edges(data=True))
    assert found == [0, 1, 2, 3]
    for a, b, values in read.edges(data=True):
        assert values == made.edges[a, b, values["edge"]]


def test_an_empty_graph(tmp_path) -> None:
    write_graphml(drawn([]), tmp_path / "graph.graphml")
    assert len(nx.read_graphml(tmp_path / "graph.graphml")) == 0


def test_a_place_that_cannot_be_written_to(tmp_path) -> None:
    (tmp_path / "file").write_text("here")
    with pytest.raises(OutputError, match="cannot write"):
        write_graphml(_some(), tmp_path / "file" / "graph.graphml")
    assert np.array_equal(sorted(p.name for p in tmp_path.iterdir()), ["file"])
