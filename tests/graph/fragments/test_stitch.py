"""Skeletons drawn by hand to graphs written out by hand; any cut gives the same bytes."""

from __future__ import annotations

from itertools import pairwise, product

import networkx as nx
import numpy as np
import pytest

from vpbsd.errors import VpbsdError
from vpbsd.geometry import VoxelSize
from vpbsd.graph.cleaning.clean import clean
from vpbsd.graph.fragments.fragment import Fragment
from vpbsd.graph.fragments.stitch import stitch
from vpbsd.graph.measures.edges import EdgeMeasures, measure_edges
from vpbsd.graph.pages import Pages

from ..skeletons import (
    UNIT,
    arrays_of,
    drawn,
    everything,
    fragments_of,
    graph_of,
    in_a_file,
    points_of,
)

LINE = drawn(".....", ".....", "#####", ".....", ".....")
FORK = drawn("#...#", ".#.#.", "..#..", "..#..", "..#..")
CROSS = drawn("#...#", ".#.#.", "..#..", ".#.#.", "#...#")
PLUS = drawn("..#..", "..#..", "#####", "..#..", "..#..")
RING = drawn("..#..", ".#.#.", "#...#", ".#.#.", "..#..")
TAIL = drawn("..#....", ".#.#...", "#...###", ".#.#...", "..#....")
TWO_RINGS = drawn(".#.#.", "#.#.#", ".#.#.")
PARALLEL = drawn("....#....", "...#.#...", "###...###", "...#.#...", "....#....")
DOT = drawn("...", ".#.", "...")
PAIR = drawn("....", ".##.", "....")
NOTHING = drawn("...", "...")

# Nodes (y, x) in their order, and the points (y, x) of each edge in its order; z is 0.
EXPECTED = {
    "line": (LINE, [(2, 0), (2, 4)], [[(2, 0), (2, 1), (2, 2), (2, 3), (2, 4)]]),
    "fork": (
        FORK,
        [(0, 0), (0, 4), (2, 2), (4, 2)],
        [[(0, 0), (1, 1), (2, 2)], [(0, 4), (1, 3), (2, 2)], [(2, 2), (3, 2), (4, 2)]],
    ),
    "cross": (
        CROSS,
        [(0, 0), (0, 4), (2, 2), (4, 0), (4, 4)],
        [
            [(0, 0), (1, 1), (2, 2)],
            [(0, 4), (1, 3), (2, 2)],
            [(2, 2), (3, 1), (4, 0)],
            [(2, 2), (3, 3), (4, 4)],
        ],
    ),
    # The four voxels beside the middle have four neighbours each: one cluster of five.
    "plus": (
        PLUS,
        [(0, 2), (2, 2), (2, 0), (2, 4), (4, 2)],
        [[(0, 2), (2, 2)], [(2, 2), (2, 0)], [(2, 2), (2, 4)], [(2, 2), (4, 2)]],
    ),
    "ring": (
        RING,
        [(0, 2)],
        [[(0, 2), (1, 1), (2, 0), (3, 1), (4, 2), (3, 3), (2, 4), (1, 3), (0, 2)]],
    ),
    "ring with a tail": (
        TAIL,
        [(2, 4), (2, 6)],
        [
            [(2, 4), (1, 3), (0, 2), (1, 1), (2, 0), (3, 1), (4, 2), (3, 3), (2, 4)],
            [(2, 4), (2, 5), (2, 6)],
        ],
    ),
    "two rings that touch": (
        TWO_RINGS,
        [(1, 2)],
        [[(1, 2), (0, 1), (1, 0), (2, 1), (1, 2)], [(1, 2), (0, 3), (1, 4), (2, 3), (1, 2)]],
    ),
    "parallel edges": (
        PARALLEL,
        [(2, 0), (2, 2), (2, 6), (2, 8)],
        [
            [(2, 0), (2, 1), (2, 2)],
            [(2, 2), (1, 3), (0, 4), (1, 5), (2, 6)],
            [(2, 2), (3, 3), (4, 4), (3, 5), (2, 6)],
            [(2, 6), (2, 7), (2, 8)],
        ],
    ),
    "one voxel": (DOT, [(1, 1)], []),
    "two voxels": (PAIR, [(1, 1), (1, 2)], [[(1, 1), (1, 2)]]),
    "nothing": (NOTHING, [], []),
}


@pytest.mark.parametrize("block", [1000, 1, 2, (1, 3, 2)])
@pytest.mark.parametrize("name", EXPECTED)
def test_a_drawing_becomes_the_graph_that_was_written_down(name: str, block) -> None:
    skeleton, nodes, edges = EXPECTED[name]
    graph = graph_of(skeleton, block)
    assert graph.node_position_um.tolist() == [[0.0, y, x] for y, x in nodes]
    assert points_of(graph) == [[(0.0, y, x) for y, x in points] for points in edges]
    ends = [(nodes.index(points[0]), nodes.index(points[-1])) for points in edges]
    assert graph.edge_nodes.tolist() == [list(pair) for pair in ends]


def cube_ring() -> tuple[np.ndarray, list[tuple[int, int, int]]]:
    """Return a ring along eight edges of a cube, corners cut, and its voxels in their order."""
    corners = [
        (0, 0, 0),
        (0, 0, 1),
        (0, 1, 1),
        (0, 1, 0),
        (1, 1, 0),
        (1, 1, 1),
        (1, 0, 1),
        (1, 0, 0),
    ]
    path = []
    for a, b in pairwise([*corners, corners[0]]):
        path += [
            tuple(4 * p + step * (q - p) for p, q in zip(a, b, strict=True)) for step in (1, 2, 3)
        ]
    skeleton = np.zeros((5, 5, 5), bool)
    for voxel in path:
        skeleton[voxel] = True
    return skeleton, path


@pytest.mark.parametrize("block", [3, 1, 2, 4])
def test_a_ring_through_eight_blocks_is_one_edge(block: int) -> None:
    skeleton, path = cube_ring()
    graph = graph_of(skeleton, block)
    assert graph.node_position_um.tolist() == [[0.0, 0.0, 1.0]]
    assert points_of(graph) == [[*path, path[0]]]
    assert everything(graph) == everything(graph_of(skeleton))


def test_positions_are_in_micrometres_and_radii_are_those_of_the_voxels() -> None:
    radius = np.zeros(PLUS.shape, np.float32)
    radius[0, 2] = [1, 5, 2, 3, 1]  # along x, through the middle
    radius[0, :, 2] = [4, 4, 2, 7, 6]
    graph = graph_of(PLUS, 2, VoxelSize(3.0, 0.5, 2.0), radius)
    assert graph.node_position_um.tolist() == [
        [0, 0, 4],
        [0, 1, 4],
        [0, 1, 0],
        [0, 1, 8],
        [0, 2, 4],
    ]
    # Of the cluster, the largest.
    assert graph.node_radius_um.tolist() == [4, 7, 1, 1, 6]
    assert graph.point_radius_um.tolist() == [4, 7, 7, 1, 7, 1, 7, 6]


def random_skeleton(seed: int, share: float) -> np.ndarray:
    """Voxels strewn about: more junctions, rings and contacts than any thinned mask has."""
    return np.random.default_rng(seed).random((9, 11, 10)) < share


@pytest.mark.parametrize(("seed", "share"), [(0, 0.05), (1, 0.1), (2, 0.15)])
def test_any_cut_gives_the_same_bytes(seed: int, share: float) -> None:
    skeleton = random_skeleton(seed, share)
    radius = np.random.default_rng(seed).random(skeleton.shape, np.float32)
    whole = everything(graph_of(skeleton, 1000, radius_um=radius))
    for block in (1, 2, 3, (4, 5, 7), (9, 1, 10)):
        assert everything(graph_of(skeleton, block, radius_um=radius)) == whole


def adjacency(skeleton: np.ndarray) -> nx.Graph:
    """Return the graph of all skeleton voxels, neighbours joined."""
    voxels = {tuple(int(i) for i in v) for v in np.argwhere(skeleton)}
    joined = nx.Graph()
    joined.add_nodes_from(voxels)
    for voxel in voxels:
        for step in product((-1, 0, 1), repeat=3):
            other = tuple(a + b for a, b in zip(voxel, step, strict=True))
            if other != voxel and other in voxels:
                joined.add_edge(voxel, other)
    return joined


@pytest.mark.parametrize(("seed", "share"), [(0, 0.05), (3, 0.08), (4, 0.12)])
def test_nodes_and_edges_are_those_that_networkx_counts(seed: int, share: float) -> None:
    skeleton = random_skeleton(seed, share)
    graph, voxels = graph_of(skeleton, 4), adjacency(skeleton)
    links = voxels.subgraph([v for v, degree in voxels.degree if degree == 2])
    branches = voxels.subgraph([v for v, degree in voxels.degree if degree > 2])
    few = [v for v, degree in voxels.degree if degree < 2]
    chains = list(nx.connected_components(links))
    rings = [c for c in chains if all(voxels.degree(v) == links.degree(v) for v in c)]
    direct = [
        (a, b)
        for a, b in voxels.edges
        if a not in links and b not in links and not (a in branches and b in branches)
    ]
    clusters = nx.number_connected_components(branches)
    assert graph.nodes == clusters + len(few) + len(rings)
    assert graph.edges == len(chains) + len(direct)
    # Each link is a point once, beside two nodes an edge; a ring's node is one of its links.
    assert len(graph.point_radius_um) == len(links) + 2 * graph.edges - len(rings)
    ours = nx.MultiGraph()
    ours.add_nodes_from(range(graph.nodes))
    ours.add_edges_from(graph.edge_nodes.tolist())
    assert nx.number_connected_components(ours) == nx.number_connected_components(voxels)


def test_a_graph_in_files_is_that_in_memory(tmp_path) -> None:
    skeleton = random_skeleton(5, 0.1)
    in_files, in_memory = graph_of(skeleton, 4, pages=Pages(tmp_path)), graph_of(skeleton)
    assert everything(in_files) == everything(in_memory)
    cleaned, steps = clean(in_files)
    assert everything(cleaned) == everything(clean(in_memory)[0])
    assert sum(step.edges_removed + step.nodes_dissolved for step in steps) > 0
    ours, theirs = measure_edges(cleaned), measure_edges(clean(in_memory)[0])
    for name in EdgeMeasures.__slots__:
        assert getattr(ours, name).tobytes() == getattr(theirs, name).tobytes()
        assert in_a_file(getattr(ours, name))
    # What grows with the graph is not held in memory, on the way to the end.
    for graph in (in_files, cleaned):
        assert all(in_a_file(array) for array in arrays_of(graph))
    assert not list(tmp_path.iterdir())


def test_fragments_that_contradict_each_other_are_refused() -> None:
    left, nothing = fragments_of(LINE, (1, 5, 3))[0], Fragment.empty()
    with pytest.raises(VpbsdError, match="goes on nowhere"):
        stitch(lambda: iter([left, nothing]), LINE.shape, UNIT)
