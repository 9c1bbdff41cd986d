"""Measures of small graphs, worked out by hand."""

from __future__ import annotations

import math
import tracemalloc
from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pytest
from drawn_graphs import drawn, straight

from vpbsd.graph.measures.edges import measure_edges, node_components
from vpbsd.graph.measures.length import edge_chunks


def test_a_straight_tube_is_a_cylinder() -> None:
    found = measure_edges(drawn([straight((0, 0, 0), (0, 0, 10))], 2.0))
    assert found.length_um == pytest.approx([10])
    assert found.chord_um == pytest.approx([10])
    assert found.tortuosity == pytest.approx([1])
    assert found.volume_um3 == pytest.approx([40 * math.pi])
    assert found.surface_um2 == pytest.approx([40 * math.pi])
    assert found.direction.tolist() == [[0, 0, 1]]
    assert [found.radius_mean_um[0], found.radius_min_um[0], found.radius_max_um[0]] == [2, 2, 2]


def test_a_widening_tube_is_a_cone_cut_short() -> None:
    # Radius 1 to 4 over a height of 4: volume π·4·(1 + 4 + 16)/3, side π·(1 + 4)·5.
    line, radii = straight((0, 0, 0), (0, 4, 0)), [1, 1.75, 2.5, 3.25, 4]
    found = measure_edges(drawn([line], [radii]))
    assert found.volume_um3 == pytest.approx([28 * math.pi])
    assert found.surface_um2 == pytest.approx([25 * math.pi])
    assert found.radius_mean_um == pytest.approx([2.5])
    assert [found.radius_min_um[0], found.radius_max_um[0]] == [1, 4]


def test_the_mean_radius_is_weighted_by_length() -> None:
    # In planes 9 µm apart: radius 1 to 3 along 9 µm, then 3 along 1 µm.
    line = [(0, 0, 0), (1, 0, 0), (1, 0, 1)]
    graph = drawn([line[:2], line[1:]], [[1, 3], [3, 3]], voxel_size_um=(9, 1, 1))
    found = measure_edges(graph)
    assert found.length_um == pytest.approx([9, 1])
    assert found.radius_mean_um == pytest.approx([2, 3])


def test_a_y_in_thick_planes() -> None:
    arms = [(0, 0, 0), (20, 0, 0), (20, 0, 30), (20, 40, 0)]
    graph = drawn(
        [straight(arms[1], a) for a in (arms[0], arms[2], arms[3])], voxel_size_um=(5, 1, 2)
    )
    found = measure_edges(graph)
    assert found.length_um == pytest.approx([100, 60, 40])
    assert found.direction.tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 0]]
    assert found.node_degree.tolist() == [1, 3, 1, 1]
    assert found.component.tolist() == [0, 0, 0]


def test_a_ring_has_neither_chord_nor_direction() -> None:
    side = [(0, 0, 0), (0, 0, 20), (0, 20, 20), (0, 20, 0), (0, 0, 0)]
    ring = [p for a, b in pairwise(side) for p in straight(a, b)[:-1]]
    found = measure_edges(drawn([[*ring, side[0]]]))
    assert found.chord_um.tolist() == [0]
    assert np.isnan(found.tortuosity).all()
    assert np.isnan(found.direction).all()
    assert found.node_degree.tolist() == [2]
    assert 0.96 * 80 < found.length_um[0] <= 80


@pytest.mark.parametrize(
    ("stop", "direction"),
    [
        ((3, 4, 0), (0.6, 0.8, 0)),
        ((-3, 4, 0), (0.6, -0.8, 0)),
        ((0, -4, 3), (0, 0.8, -0.6)),
        ((0, 0, -5), (0, 0, 1)),
    ],
)
def test_directions_have_no_sense(stop, direction) -> None:
    found = measure_edges(drawn([[(0, 0, 0), stop]]))
    assert found.direction[0] == pytest.approx(direction)
    assert not np.signbit(found.direction[found.direction == 0]).any()


def test_components_are_numbered_by_their_first_node() -> None:
    graph = drawn(
        [straight((0, 0, 9), (0, 9, 9)), straight((0, 0, 0), (5, 0, 0))], alone=[(0, 0, 4)]
    )
    # Nodes by position: (0,0,0) (0,0,4) (0,0,9) (0,9,9) (5,0,0).
    assert node_components(graph).tolist() == [0, 1, 2, 2, 0]
    assert measure_edges(graph).component.tolist() == [2, 0]


def test_a_graph_without_edges_has_no_measures() -> None:
    found = measure_edges(drawn([], alone=[(1, 2, 3)]))
    assert found.length_um.shape == (0,)
    assert found.direction.shape == (0, 3)
    assert found.node_degree.tolist() == [0]


def _bent(rng: np.random.Generator, count: int) -> list[list[tuple[float, float, float]]]:
    walks = [
        np.cumsum(rng.integers(-1, 2, size=(rng.integers(2, 60), 3)), axis=0) for _ in range(count)
    ]
    return [[tuple(p) for p in w.tolist()] for w in walks]


def test_mapped_points_are_never_in_memory_as_a_whole(tmp_path, monkeypatch) -> None:
    points, edges = 2_000_000, 20_000
    position, radius = np.zeros((points, 3), np.float32), np.ones(points, np.float32)
    position[:, 2] = np.tile(np.arange(100), edges)
    np.save(tmp_path / "p.npy", position)
    np.save(tmp_path / "r.npy", radius)
    graph = replace(
        drawn([straight((0, 0, 0), (0, 0, 99))]),
        edge_nodes=np.tile(np.array([[0, 1]]), (edges, 1)),
        edge_offsets=np.arange(0, points + 1, 100),
        point_position_um=np.load(tmp_path / "p.npy", mmap_mode="r"),
        point_radius_um=np.load(tmp_path / "r.npy", mmap_mode="r"),
    )
    del position, radius
    monkeypatch.setattr("vpbsd.graph.measures.edges.edge_chunks", lambda g: edge_chunks(g, 20_000))
    measure_edges(drawn([straight((0, 0, 0), (0, 0, 9))]))  # compiles
    tracemalloc.start()
    try:
        found = measure_edges(graph)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.length_um.tolist() == pytest.approx([99] * edges)
    # The points take 32 MB; the measures themselves, and what is made of them, some hundred bytes
    # an edge.
    assert peak_bytes < 12_000_000


def test_larger_voxels_scale_every_measure() -> None:
    lines = _bent(np.random.default_rng(1), 20)
    small = drawn(lines, voxel_size_um=(1, 0.5, 0.25))
    large = replace(
        drawn(lines, voxel_size_um=(4, 2, 1)), point_radius_um=4 * small.point_radius_um
    )
    a, b = measure_edges(small), measure_edges(large)
    powers = {"length_um": 4, "chord_um": 4, "radius_mean_um": 4, "volume_um3": 64}
    powers |= {"surface_um2": 16, "tortuosity": 1, "direction": 1}
    for name, factor in powers.items():
        assert getattr(b, name) == pytest.approx(factor * getattr(a, name), rel=1e-5, nan_ok=True)


def test_permuted_axes_permute_directions_alone() -> None:
    lines = _bent(np.random.default_rng(2), 20)
    turned = [[(p[2], p[0], p[1]) for p in line] for line in lines]
    a = measure_edges(drawn(lines, voxel_size_um=(3, 1, 2)))
    b = measure_edges(drawn(turned, voxel_size_um=(2, 3, 1)))
    for name in ("length_um", "chord_um", "volume_um3", "surface_um2"):
        assert getattr(b, name) == pytest.approx(getattr(a, name))
    moved = a.direction[:, [2, 0, 1]]
    assert np.abs(b.direction) == pytest.approx(np.abs(moved), nan_ok=True)


def test_a_reversed_edge_measures_the_same() -> None:
    lines = _bent(np.random.default_rng(3), 20)
    a = measure_edges(drawn(lines))
    b = measure_edges(drawn([line[::-1] for line in lines]))
    for field in fields(a):
        assert getattr(b, field.name) == pytest.approx(getattr(a, field.name), nan_ok=True)
