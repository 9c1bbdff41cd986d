"""A found graph against the exact network: networks made by hand, and what must hold for any."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vpbsd.data.simulate.network import VesselNetwork
from vpbsd.errors import ConfigError
from vpbsd.geometry import VoxelSize
from vpbsd.graph import VesselGraph
from vpbsd.graph.recovery import recovery

SIZE = VoxelSize(1.0, 1.0, 1.0)
SHAPE = (100, 100, 100)


def line(a, b, points: int = 41) -> np.ndarray:
    return np.linspace(np.asarray(a, float), np.asarray(b, float), points)


def network(nodes, edges, radius: float = 4.0) -> VesselNetwork:
    curves = [line(nodes[a], nodes[b]) for a, b in edges]
    return VesselNetwork.from_curves(nodes, edges, curves, [radius] * len(edges))


def found_of(nodes, edges, radius: float = 4.0, shift=(0, 0, 0)) -> VesselGraph:
    made = network((np.asarray(nodes, float) + shift).tolist(), edges, radius)
    return VesselGraph(
        voxel_size=SIZE,
        shape_voxels=SHAPE,
        node_position_um=made.nodes_um,
        node_radius_um=np.ones(len(made.nodes_um), np.float32),
        edge_nodes=made.edges,
        edge_offsets=made.offsets,
        point_position_um=made.points_um.astype(np.float32),
        point_radius_um=made.radii_um.astype(np.float32),
    )


# Two branch points at x = 30 and x = 70 joined by a vessel, two ends at each.
NODES = [(50, 50, 30), (50, 50, 70), (50, 20, 10), (50, 80, 10), (50, 20, 90), (50, 80, 90)]
EDGES = [(0, 1), (0, 2), (0, 3), (1, 4), (1, 5)]
LENGTH = 40 + 4 * math.hypot(20, 30)


def test_perfect_graph() -> None:
    found = recovery(network(NODES, EDGES), found_of(NODES, EDGES), 3.0)
    assert (found.branch_point_recall, found.branch_point_precision) == (1.0, 1.0)
    assert (found.edge_recall_by_way, found.edge_recall_by_ends) == (1.0, 1.0)
    assert found.edge_precision_by_way == 1.0
    assert found.exact_length_um == pytest.approx(LENGTH, rel=1e-6)
    assert found.length_error == pytest.approx(0, abs=1e-6)
    assert found.radius_error_um == pytest.approx(0, abs=1e-6)
    assert (found.exact_loops, found.found_loops) == (0, 0)


def test_shift_within_and_beyond_the_tolerance() -> None:
    near = recovery(network(NODES, EDGES), found_of(NODES, EDGES, shift=(2, 0, 0)), 3.0)
    assert (near.branch_point_recall, near.edge_recall_by_ends) == (1.0, 1.0)
    far = recovery(network(NODES, EDGES), found_of(NODES, EDGES, shift=(4, 0, 0)), 3.0)
    assert (far.branch_point_recall, far.branch_point_precision) == (0.0, 0.0)
    assert (far.edge_recall_by_way, far.edge_recall_by_ends) == (0.0, 0.0)
    assert far.radius_error_um is None


def test_a_missing_edge_takes_its_branch_point_with_it() -> None:
    # Without edge (0, 2) node 0 has two edges: (3-0) and (0-1) are one edge from 3 to 1.
    edges = [e for e in EDGES if e != (0, 2)]
    found = recovery(network(NODES, EDGES), found_of(NODES, edges), 3.0)
    assert (found.exact_branch_points, found.found_branch_points) == (2, 1)
    assert (found.branch_point_recall, found.branch_point_precision) == (0.5, 1.0)
    assert (found.exact_edges, found.found_edges) == (5, 3)
    # By way all but the missing one; by ends only (1, 4) and (1, 5): (0, 1) and (0, 3) are fused.
    assert (found.exact_edges_by_way, found.exact_edges_by_ends) == (4, 2)
    assert found.found_edges_by_way == 3
    # Smoothing cuts the corner where they are fused by a third of a micrometre.
    assert found.length_error == pytest.approx(-math.hypot(20, 30) / LENGTH, abs=0.3 / LENGTH)


def test_a_spur_costs_precision() -> None:
    nodes = [*NODES, (50, 50, 50), (50, 70, 50)]
    edges = [(0, 6), (6, 1), (6, 7), *EDGES[1:]]
    found = recovery(network(NODES, EDGES), found_of(nodes, edges), 3.0)
    assert (found.branch_point_recall, found.branch_point_precision) == (1.0, pytest.approx(2 / 3))
    # (0, 1) is there by its way, but cut in two.
    assert (found.exact_edges_by_way, found.exact_edges_by_ends) == (5, 4)
    assert (found.found_edges, found.found_edges_by_way) == (7, 6)


def test_eighty_percent_of_an_edge_is_enough() -> None:
    exact = network([(0, 0, 0), (0, 0, 100)], [(0, 1)])
    for reached, recovered in ((76.0, 0), (79.0, 1)):  # and 3 µm more by the tolerance
        part = found_of([(0, 0, 0), (0, 0, reached)], [(0, 1)])
        assert recovery(exact, part, 3.0).exact_edges_by_way == recovered


def test_nodes_of_two_edges_are_no_nodes() -> None:
    nodes = [(0, 0, 0), (0, 0, 40), (0, 0, 80)]
    found = recovery(
        network(nodes, [(0, 1), (1, 2)]), found_of([nodes[0], nodes[2]], [(0, 1)]), 2.0
    )
    assert (found.exact_edges, found.exact_edges_by_ends) == (1, 1)


def test_loops_and_parallel_edges() -> None:
    nodes = [(0, 0, 0), (0, 0, 50), (0, 0, 20), (0, 0, 30)]
    straight = line(nodes[0], nodes[1])
    bent = straight + np.sin(np.linspace(0, math.pi, 41))[:, None] * (0, 20, 0)
    curves = [straight, bent, line(nodes[0], (0, 0, -20)), line(nodes[1], (0, 0, 70))]
    ends = [(0, 1), (0, 1), (0, 2), (1, 3)]
    nodes[2:] = [(0, 0, -20), (0, 0, 70)]
    exact = VesselNetwork.from_curves(nodes, ends, curves, [3.0] * 4)
    # The found graph has one of the two parallel edges, so that only the ends' chain is left.
    whole = VesselGraph(
        SIZE, SHAPE, exact.nodes_um, np.ones(4, np.float32), exact.edges, exact.offsets,
        exact.points_um.astype(np.float32), exact.radii_um.astype(np.float32),
    )  # fmt: skip
    found = recovery(exact, whole, 2.0)
    assert (found.exact_loops, found.found_loops, found.exact_edges_by_ends) == (1, 1, 4)
    part = recovery(exact, found_of([nodes[2], nodes[3]], [(0, 1)]), 2.0)
    assert (part.exact_loops, part.found_loops) == (1, 0)
    assert (part.exact_edges_by_way, part.exact_edges_by_ends) == (3, 0)


def test_matching_gives_as_many_as_possible_a_partner() -> None:
    """Nearest first would take the middle one, and leave an outer one without."""
    from vpbsd.graph.recovery import _partners

    exact = np.array([[0.0, 0, 0], [0, 0, 5]])
    found = np.array([[0.0, 0, 4], [0, 0, 8]])
    # 5 is nearest to 4, but then 0 (which can reach only 4) would have none.
    assert _partners(exact, found, 4.5).tolist() == [0, 1]
    assert _partners(exact, found, 3.5).tolist() == [-1, 0]
    assert _partners(exact, np.zeros((0, 3)), 3.0).tolist() == [-1, -1]


def test_radius_error() -> None:
    found = recovery(network(NODES, EDGES, 4.0), found_of(NODES, EDGES, 5.0), 3.0)
    assert found.radius_error_um == pytest.approx(1.0)
    assert found.radius_absolute_error_um == pytest.approx(1.0)
    assert found.radius_relative_error == pytest.approx(0.25)


def test_empty_graph() -> None:
    nothing = VesselGraph(
        SIZE, SHAPE, np.zeros((0, 3)), np.zeros(0, np.float32), np.zeros((0, 2), np.int64),
        np.zeros(1, np.int64), np.zeros((0, 3), np.float32), np.zeros(0, np.float32),
    )  # fmt: skip
    found = recovery(network(NODES, EDGES), nothing, 3.0)
    assert (found.branch_point_recall, found.branch_point_precision) == (0.0, None)
    assert (found.edge_recall_by_way, found.edge_precision_by_way) == (0.0, None)
    assert found.length_error == -1.0


@pytest.mark.parametrize("tolerance_um", [0.0, -1.0, math.nan, math.inf])
def test_tolerance_must_be_positive(tolerance_um: float) -> None:
    with pytest.raises(ConfigError, match="positive number of µm"):
        recovery(network(NODES, EDGES), found_of(NODES, EDGES), tolerance_um)
