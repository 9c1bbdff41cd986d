"""The capillary mesh: edges of a Voronoi tessellation, thinned and curved.

Borders of cells around random points fill space with loops at an even spacing, as capillaries
do. A Poisson-Voronoi tessellation of density n has an edge length of 5.83 n^(2/3) per volume
(Okabe et al., Spatial Tessellations, 2000, table 5.5.2); thinning from 4 edges a node to about 3
leaves 4.4 n^(2/3). One vessel crosses an area of spacing² on average if that length is
1 / spacing², so the points lie about 2.1 spacings apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree
from scipy.spatial import Voronoi

__all__ = ["Mesh", "Tubes", "capillary_mesh", "curve_edges"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_POINT_SPACING = 1.8


@dataclass(frozen=True, eq=False)
class Mesh:
    """Straight graph: (N, 3) nodes in µm and (E, 2) node indices."""

    nodes_um: Floats
    edges: Ints


@dataclass(frozen=True, eq=False)
class Tubes:
    """Curves of E edges one after the other: (E + 1,) offsets, (P, 3) points and (P,) radii."""

    offsets: Ints
    points_um: Floats
    radii_um: Floats


def capillary_mesh(
    extent_um: Floats,
    rng: np.random.Generator,
    *,
    spacing_um: float,
    stretch: Floats,
    mean_degree: float = 3.0,
) -> Mesh:
    """Return one connected mesh that fills the box from 0 to ``extent_um`` and a little more.

    Parameters
    ----------
    extent_um
        (3,) size of the box, (z, y, x).
    rng
        Source of randomness.
    spacing_um
        Mean distance between neighbouring capillaries.
    stretch
        (3,) factors; vessels run mainly along axes with a factor above 1.
    mean_degree
        Edges per node to thin to; dead ends inside the box are removed.
    """
    margin = spacing_um
    low, high = np.full(3, -margin), extent_um + margin
    far = 2.5 * spacing_um * stretch
    size = (high - low + 2 * far) / stretch
    count = max(12, round(float(np.prod(size)) / (_POINT_SPACING * spacing_um) ** 3))
    seeds = rng.uniform(0.0, size, (count, 3))
    cells = Voronoi(seeds)
    nodes = cells.vertices * stretch + low - far
    edges = _ridge_edges(cells.ridge_vertices)
    inside = ((nodes >= low) & (nodes <= high)).all(axis=1)
    edges = edges[inside[edges].all(axis=1)]
    nodes, edges = _contract(nodes, edges, 0.2 * spacing_um)
    if len(edges) == 0:
        return Mesh(np.zeros((0, 3)), np.zeros((0, 2), np.int64))
    edges = _thin(len(nodes), edges, mean_degree, rng)
    edges = _prune_dead_ends(nodes, edges, extent_um)
    nodes, edges = _largest_part(nodes, edges)
    return Mesh(_relax(nodes, edges), edges)


def _ridge_edges(ridges: list[list[int]]) -> Ints:
    pairs = [pair for ridge in ridges for pair in zip(ridge, ridge[1:] + ridge[:1], strict=True)]
    edges = np.sort(np.array(pairs, np.int64).reshape(-1, 2), axis=1)
    return np.unique(edges[edges[:, 0] >= 0], axis=0)


def _contract(nodes: Floats, edges: Ints, shortest_um: float) -> tuple[Floats, Ints]:
    """Merge the ends of short edges, so that no vessel is shorter than it is wide."""
    length = np.linalg.norm(nodes[edges[:, 0]] - nodes[edges[:, 1]], axis=1)
    short = edges[length < shortest_um]
    count, label = _parts(len(nodes), short)
    size = np.bincount(label, minlength=count)
    middle = np.stack([np.bincount(label, axis, minlength=count) / size for axis in nodes.T], 1)
    merged = np.sort(label[edges].astype(np.int64), axis=1)
    return middle, np.unique(merged[merged[:, 0] != merged[:, 1]], axis=0)


def _thin(count: int, edges: Ints, mean_degree: float, rng: np.random.Generator) -> Ints:
    """Drop random edges until the mean degree is reached; leave no dead end, break nothing off."""
    weight = rng.uniform(1.0, 2.0, len(edges))
    graph = coo_array((weight, (edges[:, 0], edges[:, 1])), shape=(count, count)).tocsr()
    tree = minimum_spanning_tree(graph).tocoo()
    key = np.minimum(tree.row, tree.col) * count + np.maximum(tree.row, tree.col)
    spare = np.flatnonzero(~np.isin(edges[:, 0] * count + edges[:, 1], key))
    degree = np.bincount(edges.ravel(), minlength=count).tolist()
    surplus = len(edges) - mean_degree * len(np.unique(edges)) / 2
    ends = edges.tolist()
    dropped: list[int] = []
    for edge in rng.permutation(spare).tolist():
        if len(dropped) >= surplus:
            break
        a, b = ends[edge]
        if degree[a] > 2 and degree[b] > 2:
            degree[a] -= 1
            degree[b] -= 1
            dropped.append(edge)
    return np.delete(edges, dropped, axis=0)


def _relax(nodes: Floats, edges: Ints, rounds: int = 2) -> Floats:
    """Move nodes half way to the middle of their neighbours: straightens, and flattens forks."""
    degree = np.maximum(np.bincount(edges.ravel(), minlength=len(nodes)), 1)[:, None]
    movable = degree[:, 0] > 1
    for _ in range(rounds):
        total = np.zeros_like(nodes)
        np.add.at(total, edges[:, 0], nodes[edges[:, 1]])
        np.add.at(total, edges[:, 1], nodes[edges[:, 0]])
        nodes = np.where(movable[:, None], 0.5 * nodes + 0.5 * total / degree, nodes)
    return nodes


def _prune_dead_ends(nodes: Floats, edges: Ints, extent_um: Floats) -> Ints:
    inside = ((nodes >= 0) & (nodes <= extent_um)).all(axis=1)
    while len(edges):
        degree = np.bincount(edges.ravel(), minlength=len(nodes))
        tips = (degree == 1) & inside
        dead = tips[edges[:, 0]] | tips[edges[:, 1]]
        if not dead.any():
            break
        edges = edges[~dead]
    return edges


def _largest_part(nodes: Floats, edges: Ints) -> tuple[Floats, Ints]:
    if len(edges) == 0:
        return np.zeros((0, 3)), np.zeros((0, 2), np.int64)
    _, label = _parts(len(nodes), edges)
    best = np.bincount(label[edges[:, 0]]).argmax()
    edges = edges[label[edges[:, 0]] == best]
    kept, renamed = np.unique(edges, return_inverse=True)
    return nodes[kept], renamed.reshape(-1, 2).astype(np.int64)


def _parts(count: int, edges: Ints) -> tuple[int, NDArray[np.int32]]:
    ones = np.ones(len(edges), np.int8)
    graph = coo_array((ones, (edges[:, 0], edges[:, 1])), shape=(count, count))
    parts, label = connected_components(graph, directed=False)
    return int(parts), label


def curve_edges(
    mesh: Mesh,
    end_radii_um: Floats,
    middle_radius_um: Floats,
    rng: np.random.Generator,
    *,
    tortuosity: float,
    bulge: float,
    step_um: float,
) -> Tubes:
    """Bend every edge by a few sine waves across it, and let its radius vary smoothly.

    Parameters
    ----------
    mesh
        Straight edges.
    end_radii_um
        (E, 2) radius at both ends.
    middle_radius_um
        (E,) radius half way.
    rng
        Source of randomness.
    tortuosity
        Height of the waves, as a share of the edge's length.
    bulge
        Relative variation of the radius along an edge.
    step_um
        Distance between points.
    """
    start, stop = mesh.nodes_um[mesh.edges[:, 0]], mesh.nodes_um[mesh.edges[:, 1]]
    along = stop - start
    length = np.linalg.norm(along, axis=1)
    pieces = np.maximum(np.ceil(length * (1 + tortuosity) / step_um), 3).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(pieces + 1)])
    edge = np.repeat(np.arange(len(length)), pieces + 1)
    t = (np.arange(offsets[-1]) - offsets[edge]) / pieces[edge]
    points = start[edge] + t[:, None] * along[edge]
    unit = along / np.maximum(length, 1e-9)[:, None]
    wobble = np.zeros(offsets[-1])
    for wave in (1, 2, 3, 5):
        swing = rng.normal(0.0, tortuosity / wave, (len(length), 3)) * length[:, None]
        swing -= (swing * unit).sum(axis=1, keepdims=True) * unit
        points += np.sin(np.pi * wave * t)[:, None] * swing[edge]
        swell = rng.normal(0.0, bulge / wave**0.5, len(length))
        wobble += swell[edge] * np.sin(np.pi * wave * t)
    blend = np.sin(np.pi * t) ** 2
    ends = end_radii_um[edge, 0] * (1 - t) + end_radii_um[edge, 1] * t
    radii = (ends * (1 - blend) + middle_radius_um[edge] * blend) * np.exp(wobble)
    return Tubes(offsets.astype(np.int64), points, radii)
