"""The graph of a skeleton against skan's of the same skeleton.

Where several voxels of three and more neighbours touch, skan (0.13) keeps a spanning tree of them,
with junctions and short branches of its own inside. We take all of them for one branch point, and a
branch point with two ways out for none. Both is done here to skan's branches, with networkx.
"""

from __future__ import annotations

import networkx
import numpy as np
import pytest
from phantoms import skeleton_of
from scipy import ndimage
from skeletons import graph_of
from tubes import thicket

from vpbsd.graph.cleaning.chains import join_chains


def lengths(graph) -> np.ndarray:
    """Return the sums of steps of each edge, as skan measures."""
    points = [graph.point_position_um[graph.points(e)] for e in range(graph.edges)]
    return np.array([np.linalg.norm(np.diff(p, axis=0), axis=1).sum() for p in points])


def merged(ends, inside) -> networkx.MultiGraph:
    """Return branches as ours are: ``inside`` marks those within a branch point."""
    points = networkx.MultiGraph()
    points.add_nodes_from(ends.ravel().tolist())
    points.add_edges_from(ends[inside].tolist())
    point_of = {}
    for number, voxels in enumerate(networkx.connected_components(points)):
        point_of |= dict.fromkeys(voxels, number)
    graph = networkx.MultiGraph()
    graph.add_edges_from((point_of[a], point_of[b]) for a, b in ends[~inside].tolist())
    for point in list(graph):
        neighbours = [b for _, b in graph.edges(point)]
        if graph.degree(point) == 2 and point not in neighbours:
            graph.remove_node(point)
            graph.add_edge(*neighbours)
    return graph


@pytest.mark.slow  # skan compiles
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("block", [1000, 16])
def test_same_branches_and_branch_points_as_skan(seed: int, block: int) -> None:
    skan = pytest.importorskip("skan")
    skeleton = skeleton_of(thicket((60, 70, 80), 25, seed) > 0)
    ours, _ = join_chains(graph_of(skeleton, block))
    theirs = skan.Skeleton(skeleton, keep_images=False)
    bounds, voxels = theirs.paths.indptr, theirs.paths.indices
    counts = ndimage.convolve(skeleton.astype(int), np.ones((3, 3, 3)), mode="constant") - 1
    links = counts[tuple(theirs.coordinates[voxels].astype(int).T)] == 2
    inside = np.add.reduceat(links, bounds[:-1]) == 0
    graph = merged(np.stack([voxels[bounds[:-1]], voxels[bounds[1:] - 1]], axis=1), inside)

    assert ours.edges == graph.number_of_edges()
    assert ours.nodes == graph.number_of_nodes()
    degrees = sorted(degree for _, degree in graph.degree())
    assert sorted(ours.node_degree.tolist()) == degrees
    # Edges end in the middle of a branch point: longer than without the steps inside it, shorter
    # than with all of them.
    branches = theirs.path_lengths()
    assert branches[~inside].sum() <= lengths(ours).sum() <= branches.sum()
    assert branches[inside].sum() < 0.1 * branches.sum()
