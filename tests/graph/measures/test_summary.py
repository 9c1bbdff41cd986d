"""Summaries of small graphs, worked out by hand."""

from __future__ import annotations

import json
import math

import networkx as nx
import numpy as np
import pytest
from drawn_graphs import drawn, shuffled, straight
from hypothesis import given, settings
from hypothesis import strategies as st

from vpbsd.errors import ConfigError
from vpbsd.graph import VesselGraph
from vpbsd.graph.measures.histogram import histogram
from vpbsd.graph.measures.summary import fractional_anisotropy, summarise


def _ladder(rungs: int) -> VesselGraph:
    """Two rails of 10 µm between rungs of 5 µm: rungs - 1 loops."""
    lines = [straight((0, 0, 10 * i), (0, 5, 10 * i)) for i in range(rungs)]
    for y in (0, 5):
        lines += [straight((0, y, 10 * i), (0, y, 10 * i + 10)) for i in range(rungs - 1)]
    return drawn(lines, 3.0)


def test_a_ladder() -> None:
    found = summarise(_ladder(4), volume_um3=1e6)
    assert (found.nodes, found.edges, found.components, found.loops) == (8, 10, 1, 3)
    assert found.nodes_by_degree == {2: 4, 3: 4}
    assert (found.branch_points, found.free_ends, found.isolated_points) == (4, 0, 0)
    assert found.length_mm == pytest.approx(0.08)  # 4 · 5 + 6 · 10 µm
    # A millionth of a cubic millimetre is 1000 µm³.
    assert found.length_density_mm_per_mm3 == pytest.approx(80)
    assert found.branch_points_per_mm3 == pytest.approx(4000)
    assert found.edge_length_mean_um == pytest.approx(8)
    assert found.tortuosity_mean == pytest.approx(1)
    assert found.cone_volume_um3 == pytest.approx(80 * 9 * math.pi)
    # Three quarters of the length along x, one quarter along y: eigenvalues 0.75, 0.25, 0.
    assert found.anisotropy == pytest.approx(math.sqrt(0.7))
    assert found.principal_direction == pytest.approx((0, 0, 1))


def test_loops_pieces_and_points() -> None:
    ring = [*straight((9, 0, 0), (9, 0, 4)), *straight((9, 1, 4), (9, 4, 4)), (9, 0, 0)]
    twins = [[(0, 0, 0), (0, 1, 1), (0, 0, 2)], [(0, 0, 0), (0, -1, 1), (0, 0, 2)]]
    found = summarise(drawn([ring, *twins], alone=[(30, 30, 30), (31, 0, 0)]))
    assert (found.components, found.loops) == (4, 2)
    assert found.isolated_points == 2
    assert found.length_density_mm_per_mm3 is None


def test_radii_count_by_their_length() -> None:
    # 60 µm of radius 2, 30 µm of radius 4, 10 µm of radius 8.
    lines = [straight((0, 0, 0), (0, 0, 60)), straight((5, 0, 0), (5, 30, 0))]
    lines.append(straight((9, 0, 0), (19, 0, 0)))
    found = summarise(drawn(lines, [[2.0] * 61, [4.0] * 31, [8.0] * 11]), capillary_radius_um=4)
    assert found.radius_mean_um == pytest.approx(3.2)
    assert (found.radius_p10_um, found.radius_p50_um, found.radius_p90_um) == (2, 2, 4)
    assert found.capillary_length_share == pytest.approx(0.6)
    assert sum(found.histograms["radius_um"].counts) == pytest.approx(100)
    assert found.histograms["radius_um"].weighted_by == "length_um"


def test_within_an_edge_too() -> None:
    # Three steps of 2 µm: the points stand for 1, 2, 2 and 1 µm.
    line = straight((0, 0, 0), (0, 0, 3))
    graph = drawn([line], [[1.0, 2.0, 3.0, 9.0]], voxel_size_um=(1, 1, 2))
    found = summarise(graph, capillary_radius_um=3)
    assert found.radius_mean_um == pytest.approx((1 + 4 + 6 + 9) / 6)
    assert found.capillary_length_share == pytest.approx(0.5)
    assert (found.radius_p50_um, found.radius_p90_um) == (2, 9)


@pytest.mark.parametrize(
    ("values", "anisotropy"),
    [
        ((1, 1, 1), 0),
        ((1, 0, 0), 1),
        ((0.5, 0.5, 0), math.sqrt(0.5)),
        ((2, 1, 1), math.sqrt(1 / 6)),
    ],
)
def test_fractional_anisotropy(values, anisotropy: float) -> None:
    assert fractional_anisotropy(np.diag(np.array(values, float))) == pytest.approx(anisotropy)


def test_vessels_along_all_axes_have_no_preference() -> None:
    arms = [straight((9, 9, 9), p) for p in ((0, 9, 9), (9, 0, 9), (9, 9, 0))]
    assert summarise(drawn(arms)).anisotropy == pytest.approx(0, abs=1e-6)


def test_thick_planes_do_not_lean() -> None:
    arms = [straight((2, 10, 10), p) for p in ((0, 10, 10), (2, 0, 10), (2, 10, 0))]
    found = summarise(drawn(arms, voxel_size_um=(5, 1, 1)))
    assert found.anisotropy == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("graph", [drawn([]), drawn([], alone=[(1, 2, 3)])])
def test_nothing_to_measure_is_none(graph: VesselGraph) -> None:
    found = summarise(graph, volume_um3=1e9)
    assert found.length_density_mm_per_mm3 == 0
    empty = ("radius_mean_um", "radius_p50_um", "capillary_length_share", "tortuosity_mean")
    assert [getattr(found, name) for name in empty] == [None] * 4
    assert found.anisotropy is None
    assert found.as_measures()["principal_direction_x"] is None
    assert found.histograms["radius_um"].as_json()["counts"] == []


def test_measures_are_plain_json() -> None:
    found = summarise(_ladder(3), volume_um3=1e6)
    noted = json.loads(json.dumps(found.as_measures(), allow_nan=False))
    assert noted["principal_direction_x"] == pytest.approx(1)
    assert noted["loops"] == 2
    for drawn_up in found.histograms.values():
        json.dumps(drawn_up.as_json(), allow_nan=False)


@pytest.mark.parametrize("setting", [{"volume_um3": 0}, {"capillary_radius_um": float("nan")}])
def test_settings_that_are_none_are_refused(setting) -> None:
    with pytest.raises(ConfigError, match="must be a positive number"):
        summarise(drawn([]), **setting)


@settings(max_examples=50)
@given(
    lines=st.lists(
        st.lists(st.tuples(*[st.integers(0, 5)] * 3), min_size=2, max_size=4), max_size=12
    ),
    seed=st.integers(0, 99),
)
def test_networkx_counts_the_same(lines, seed: int) -> None:
    graph = drawn(lines, alone=[(9, 9, 9)])
    oracle = nx.MultiGraph(graph.edge_nodes.tolist())
    oracle.add_nodes_from(range(graph.nodes))
    found = summarise(graph)
    assert found.components == nx.number_connected_components(oracle)
    assert found.branch_points == sum(d >= 3 for _, d in oracle.degree())
    # Loops: what is left of the edges once a spanning forest is taken out.
    assert found.loops == graph.edges - nx.minimum_spanning_tree(nx.Graph(oracle)).size()
    again, numbers = summarise(shuffled(graph, seed)).as_measures(), found.as_measures()
    # Where two directions are equally strong, the principal one is either.
    for name in ("principal_direction_z", "principal_direction_y", "principal_direction_x"):
        del again[name], numbers[name]
    assert again == pytest.approx(numbers)


def test_larger_voxels_scale_every_number() -> None:
    arms = [straight((4, 4, 4), p) for p in ((0, 4, 4), (4, 0, 4), (9, 9, 4), (4, 6, 9))]
    small = summarise(drawn(arms, 1.0), volume_um3=1000).as_measures()
    large = summarise(
        drawn(arms, 3.0, voxel_size_um=(3, 3, 3)), volume_um3=27_000, capillary_radius_um=15
    ).as_measures()
    powers = {"length_mm": 1, "length_density_mm_per_mm3": -2, "branch_points_per_mm3": -3}
    powers |= {"radius_mean_um": 1, "radius_p50_um": 1, "cone_volume_um3": 3, "anisotropy": 0}
    powers |= {"cone_surface_um2": 2, "capillary_length_share": 0, "tortuosity_mean": 0}
    for name, power in powers.items():
        assert large[name] == pytest.approx(small[name] * 3.0**power, rel=1e-5), name


# -------------------------------------------------------------------------------------- histograms


def test_bins_are_round_and_far_values_share_one() -> None:
    values = np.append(np.linspace(0, 10, 999), 5000)
    found = histogram(values)
    assert found.edges[:3] == pytest.approx((0, 0.2, 0.4))
    assert found.edges[-2:] == (10, 5000)
    assert sum(found.counts) == 1000
    assert found.counts[-1] == 2  # 10 itself opens the last bin


def test_values_that_are_all_the_same() -> None:
    found = histogram(np.array([1.0, 1.0]), start=1.0)
    assert found.edges == (1, 2)
    assert found.counts == (2,)
