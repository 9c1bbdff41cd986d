"""Gaps: which free ends are joined, and how."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from drawn_graphs import drawn, same, shuffled, straight
from hypothesis import given, settings
from hypothesis import strategies as st

from vpbsd.errors import ConfigError
from vpbsd.graph.cleaning.gaps import close_gaps


def test_two_ends_of_one_line_become_one_edge() -> None:
    left, right = straight((4, 4, 0), (4, 4, 10)), straight((4, 4, 14), (4, 4, 24))
    graph = drawn([left, right], [[2.0] * 11, [4.0] * 11])
    closed, step = close_gaps(graph, 5)
    assert closed.edge_nodes.tolist() == [[0, 1]]
    assert closed.point_position_um[:, 2].tolist() == list(range(25))
    assert closed.point_radius_um[9:16].tolist() == [2, 2, 2.5, 3, 3.5, 4, 4]
    assert (step.edges_added, step.length_added_um, step.nodes_dissolved) == (1, 4, 2)
    (bridge,) = step.details
    assert bridge["from_um"] == [4, 4, 10]
    assert bridge["to_um"] == [4, 4, 14]
    assert bridge["length_um"] == 4
    assert bridge["angle_degrees"] == pytest.approx(0, abs=1e-4)


def test_distances_are_in_micrometres() -> None:
    graph = drawn(
        [straight((0, 0, 0), (5, 0, 0)), straight((7, 0, 0), (12, 0, 0))], voxel_size_um=(5, 1, 1)
    )
    assert close_gaps(graph, 9.9)[0].edges == 2
    closed, _ = close_gaps(graph, 10)
    assert closed.edges == 1
    # Steps of at most one micrometre across, the finest voxel.
    assert len(closed.point_radius_um) == 6 + 9 + 6


@pytest.mark.parametrize(("angle", "edges"), [(44, 2), (46, 1)])
def test_both_ends_must_face_the_bridge(angle: float, edges: int) -> None:
    # The bridge goes straight on from one end, and meets the other at 45 degrees.
    graph = drawn([straight((0, 0, 0), (0, 0, 20)), straight((0, 0, 24), (0, 20, 44))])
    assert close_gaps(graph, 5, angle)[0].edges == edges


def test_parallel_ends_side_by_side_stay_free() -> None:
    graph = drawn([straight((0, 0, 0), (0, 0, 20)), straight((0, 3, 0), (0, 3, 20))])
    closed, step = close_gaps(graph, 5, 60)
    assert closed.edges == 2
    assert not step.changed


def test_the_nearest_end_wins_and_each_is_joined_once() -> None:
    graph = drawn(
        [
            straight((0, 0, 0), (0, 0, 20)),
            straight((0, 0, 25), (0, 0, 40)),
            straight((0, 1, 24), (0, 1, 40)),
        ]
    )
    closed, step = close_gaps(graph, 10)
    assert step.details[0]["to_um"] == [0, 1, 24]
    assert closed.edges == 2
    assert len(step.details) == 1


def test_an_edge_is_not_bent_into_a_ring() -> None:
    horseshoe = [*straight((0, 0, 9), (0, 0, 0)), *straight((0, 1, 0), (0, 20, 0))]
    horseshoe += [*straight((0, 20, 1), (0, 20, 9)), *straight((0, 19, 9), (0, 4, 9))]
    assert not close_gaps(drawn([horseshoe]), 6, 90)[1].changed


def test_a_graph_without_free_ends_is_left_as_it_is() -> None:
    ring = [(0, 0, 0), (0, 0, 2), (0, 1, 1), (0, 0, 0)]
    for graph in (drawn([ring]), drawn([], alone=[(0, 0, 0), (0, 0, 1)])):
        closed, step = close_gaps(graph, 5)
        assert closed is graph
        assert not step.changed


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"longest_um": 0}, "positive"),
        ({"longest_um": float("inf")}, "positive"),
        ({"longest_um": 3, "largest_angle_degrees": 91}, "between 0 and 90"),
    ],
)
def test_limits_that_are_none_are_refused(setting, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        close_gaps(drawn([]), **setting)


@settings(max_examples=60)
@given(
    lines=st.lists(
        st.lists(st.tuples(*[st.integers(0, 9)] * 3), min_size=2, max_size=4), max_size=9
    ),
    seed=st.integers(0, 99),
)
def test_laws_of_closing(lines, seed: int) -> None:
    graph = drawn(lines)
    closed, step = close_gaps(graph, 4, 60)
    assert same(close_gaps(shuffled(graph, seed), 4, 60)[0], closed), "the order of edges matters"
    free = np.count_nonzero(graph.node_degree == 1)
    assert np.count_nonzero(closed.node_degree == 1) == free - 2 * step.edges_added
    for bridge in step.details:
        apart = np.linalg.norm(np.subtract(bridge["from_um"], bridge["to_um"]))
        assert bridge["length_um"] == pytest.approx(apart)
        assert apart <= 4
    pieces = [nx.MultiGraph(g.edge_nodes.tolist()) for g in (graph, closed)]
    before, after = (nx.number_connected_components(p) for p in pieces)
    assert before - step.edges_added <= after <= before
