"""Spurs: which dead ends go, which stay, and what is left in their place."""

from __future__ import annotations

from dataclasses import replace

import networkx as nx
import numpy as np
import pytest
from drawn_graphs import drawn, same, shuffled, straight
from hypothesis import given, settings
from hypothesis import strategies as st

from vpbsd.errors import ConfigError
from vpbsd.graph import VesselGraph
from vpbsd.graph.cleaning.rewire import in_order
from vpbsd.graph.cleaning.spurs import prune_spurs
from vpbsd.graph.measures.length import edge_lengths_um

BRANCH = (5, 5, 20)
TRUNK = [straight((5, 5, 0), BRANCH), straight(BRANCH, (5, 5, 40))]


def _with_spur(length: int, radius_um: float = 4.0) -> VesselGraph:
    return drawn([*TRUNK, straight(BRANCH, (5, 5 + length, 20))], radius_um)


def test_a_spur_goes_and_the_trunk_is_one_vessel_again() -> None:
    cleaned, step = prune_spurs(_with_spur(5))
    assert same(cleaned, drawn([straight((5, 5, 0), (5, 5, 40))], 4.0))
    assert (step.edges_removed, step.nodes_removed, step.nodes_dissolved) == (1, 1, 1)
    assert step.length_removed_um == pytest.approx(5)
    assert step.settings == {"factor": 1.5, "extra_um": 0.0}


@pytest.mark.parametrize(
    ("length", "factor", "extra_um", "edges"),
    [
        (5, 1.5, 0, 1),
        (6, 1.5, 0, 3),
        (5, 1.0, 0, 3),
        (5, 1.0, 2, 1),
        (19, 0, 19.5, 1),
        (3, 0, 0, 3),
    ],
)
def test_the_limit_is_radii_and_micrometres(length, factor, extra_um, edges) -> None:
    cleaned, _ = prune_spurs(_with_spur(length), factor, extra_um)
    assert cleaned.edges == edges


def test_a_limit_of_rounds_is_told() -> None:
    cleaned, step = prune_spurs(_with_spur(5), most_rounds=1)
    assert cleaned.edges == 1
    assert step.details == ({"stopped_after_rounds": 1},)
    assert prune_spurs(_with_spur(5))[1].details == ()


def test_a_graph_without_spurs_is_left_as_it_is() -> None:
    graph = in_order(_with_spur(9))
    cleaned, step = prune_spurs(graph)
    assert cleaned is graph
    assert not step.changed


def test_a_short_vessel_with_two_free_ends_stays() -> None:
    graph = drawn([straight((0, 0, 0), (0, 0, 2))], 9.0)
    assert prune_spurs(graph)[0].edges == 1


def test_of_three_short_arms_the_shortest_goes() -> None:
    arms = [straight((9, 9, 9), p) for p in ((9, 9, 13), (9, 9, 6), (9, 14, 9))]
    cleaned, step = prune_spurs(drawn(arms, 9.0))
    assert step.length_removed_um == pytest.approx(3)
    assert cleaned.node_position_um.tolist() == [[9, 9, 13], [9, 14, 9]]
    points = cleaned.point_position_um.tolist()
    assert points == [[9, 9, x] for x in (13, 12, 11, 10, 9)] + [
        [9, y, 9] for y in (10, 11, 12, 13, 14)
    ]


def test_a_joined_edge_is_judged_by_its_whole_length() -> None:
    # A bush of two twigs on a twig: once one twig is gone, the other reaches 3 + 4 = 7 µm and,
    # with a limit of 6 µm, is a vessel.
    twig = straight((5, 5, 20), (5, 8, 20))
    twigs = [straight((5, 8, 20), (5, 12, 20)), straight((5, 8, 20), (7, 8, 20))]
    cleaned, step = prune_spurs(drawn([*TRUNK, twig, *twigs], 4.0))
    assert step.length_removed_um == pytest.approx(2)
    assert sorted(edge_lengths_um(cleaned)) == pytest.approx([7, 20, 20])


def test_a_joined_edge_that_is_still_short_goes_too() -> None:
    twig = straight((5, 5, 20), (5, 6, 20))
    twigs = [straight((5, 6, 20), (5, 9, 20)), straight((5, 6, 20), (7, 6, 20))]
    cleaned, step = prune_spurs(drawn([*TRUNK, twig, *twigs], 4.0))
    assert step.length_removed_um == pytest.approx(6)
    assert same(cleaned, drawn([straight((5, 5, 0), (5, 5, 40))], 4.0))


def test_a_ring_without_its_spur_keeps_one_node() -> None:
    ring = [*straight((0, 0, 0), (0, 0, 9)), *straight((0, 1, 9), (0, 9, 9))]
    ring += [*straight((0, 8, 8), (0, 0, 0))]
    cleaned, _ = prune_spurs(drawn([ring, straight((0, 0, 0), (2, 0, 0))], 4.0))
    assert cleaned.edge_nodes.tolist() == [[0, 0]]
    assert cleaned.node_position_um.tolist() == [[0, 0, 0]]
    assert len(cleaned.point_radius_um) == len(ring)


def test_a_ring_of_two_former_branch_points_keeps_the_first() -> None:
    halves = [
        [(0, 0, 0), (0, 1, 1), (0, 1, 2), (0, 0, 3)],
        [(0, 0, 0), (0, -1, 1), (0, -1, 2), (0, 0, 3)],
    ]
    tails = [straight((0, 0, 0), (2, 0, 0)), straight((0, 0, 3), (2, 0, 3))]
    cleaned, step = prune_spurs(drawn([*halves, *tails], 4.0))
    assert cleaned.node_position_um.tolist() == [[0, 0, 0]]
    assert cleaned.edge_nodes.tolist() == [[0, 0]]
    assert len(cleaned.point_radius_um) == 7
    assert step.nodes_dissolved == 1


@pytest.mark.parametrize("setting", [{"factor": -1.0}, {"extra_um": float("nan")}])
def test_a_limit_that_is_none_is_refused(setting) -> None:
    with pytest.raises(ConfigError, match="from 0 upwards"):
        prune_spurs(_with_spur(3), **setting)


@st.composite
def trees_and_loops(draw) -> VesselGraph:
    """Random multigraphs on a few places, edges bent at random, each voxel in one edge only."""
    coordinate = st.integers(0, 7)
    places = draw(st.lists(st.tuples(*[coordinate] * 3), min_size=2, max_size=8, unique=True))
    lines, taken = [], set()
    for a, b in draw(st.lists(st.tuples(*[st.sampled_from(places)] * 2), max_size=14)):
        via = draw(st.lists(st.tuples(*[st.integers(10, 17)] * 3), max_size=3, unique=True))
        lines.append([a, *(voxel for voxel in via if voxel not in taken), b])
        taken.update(via)
    return drawn(lines, draw(st.floats(0.5, 9)))


def _loops(graph: VesselGraph) -> int:
    pieces = nx.MultiGraph(graph.edge_nodes.tolist())
    pieces.add_nodes_from(range(graph.nodes))
    return graph.edges - graph.nodes + nx.number_connected_components(pieces)


def _steps_um(graph: VesselGraph) -> float:
    edges = (graph.point_position_um[graph.points(e)] for e in range(graph.edges))
    return float(sum(np.linalg.norm(np.diff(p.astype(float), axis=0), axis=1).sum() for p in edges))


@settings(max_examples=150)
@given(graph=trees_and_loops(), seed=st.integers(0, 99))
def test_laws_of_pruning(graph: VesselGraph, seed: int) -> None:
    cleaned, step = prune_spurs(graph)
    assert _loops(cleaned) == _loops(graph)
    assert same(prune_spurs(shuffled(graph, seed))[0], cleaned), "the order of edges matters"
    again, nothing = prune_spurs(cleaned)
    assert same(again, cleaned)
    assert not nothing.changed
    assert same(in_order(cleaned), cleaned)
    # No step of a line is lost without a spur, and none is made up.
    before, after = _steps_um(graph), _steps_um(cleaned)
    assert after < before if step.edges_removed else after == pytest.approx(before)
    degree = cleaned.node_degree
    rings = cleaned.edge_nodes[:, 0][cleaned.edge_nodes[:, 0] == cleaned.edge_nodes[:, 1]]
    assert set(np.flatnonzero(degree == 2)) <= set(rings)


def test_memory_mapped_points_can_be_pruned(tmp_path) -> None:
    graph = _with_spur(5)
    np.save(tmp_path / "r.npy", graph.point_radius_um)
    mapped = replace(graph, point_radius_um=np.load(tmp_path / "r.npy", mmap_mode="r"))
    assert same(prune_spurs(mapped)[0], prune_spurs(graph)[0])
