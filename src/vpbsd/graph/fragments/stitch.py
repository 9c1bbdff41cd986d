"""Fragments to one graph, byte for byte the same however the volume was cut.

::

    fragments ──► table of chains ──► nodes: branch voxels joined to clusters, ends, rings' firsts
        │                        └──► edges: chains joined across faces, sorted, directed
        └── second time ─────────────► points, each written to its place in a mapped file

What a voxel is (end, link, branch) depends on its 26 neighbours alone, and everything is sorted by
voxels of the volume: nodes by their first voxel, edges by (node, chain voxel) at their two ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpbsd.geometry import Triplet, VoxelSize
from vpbsd.graph.fragments.fragment import Fragment
from vpbsd.graph.fragments.pieces import NONE, Ids, Pieces, Routes, find, gather, join
from vpbsd.graph.pages import Pages, put_out
from vpbsd.graph.vessel_graph import VesselGraph

__all__ = ["stitch"]

_VOXELS_AT_ONCE = 1 << 20


def stitch(
    fragments: Callable[[], Iterable[Fragment]],
    shape_voxels: Triplet,
    voxel_size: VoxelSize,
    pages: Pages | None = None,
) -> VesselGraph:
    """Return the graph of all fragments.

    Parameters
    ----------
    fragments
        Called twice; each time yields all fragments, in the same order.
    shape_voxels, voxel_size
        Of the mask.
    pages
        Where arrays go; in memory if not given.

    Raises
    ------
    VpbsdError
        If fragments contradict each other.
    OutputError
        If the arrays do not fit on the disk.
    """
    pages = pages or Pages()
    pieces = gather(fragments(), pages)
    routes = join(pieces, pages)
    nodes, direct = _nodes(pieces, routes, pages)
    del pieces
    edges = _edges(routes, nodes.owner, direct, pages)
    scale = np.asarray(voxel_size.zyx_um)
    position_um = pages.kept(nodes.centre_voxels(shape_voxels) * scale)
    radius_um = nodes.radius_um
    del nodes, direct
    offsets = pages.kept(np.concatenate([[0], np.cumsum(edges.points)]).astype(np.int64))
    points_um = pages.empty((int(offsets[-1]), 3), np.float32)
    point_radius_um = pages.empty(int(offsets[-1]), np.float32)
    for end, place in ((0, offsets[:-1]), (1, offsets[1:] - 1)):
        points_um[place] = position_um[edges.nodes[:, end]]
        point_radius_um[place] = radius_um[edges.nodes[:, end]]
    # A ring's node is also a voxel of its chain; what it writes at its place is the same.
    for fragment, place in edges.places(routes, fragments(), offsets):
        points_um[place] = _zyx(fragment.chain_voxel, shape_voxels) * scale
        point_radius_um[place] = fragment.chain_radius_um
        put_out(points_um, point_radius_um)
    return VesselGraph(
        voxel_size=voxel_size,
        shape_voxels=shape_voxels,
        node_position_um=position_um,
        node_radius_um=radius_um,
        edge_nodes=edges.nodes,
        edge_offsets=offsets,
        point_position_um=points_um,
        point_radius_um=point_radius_um,
        pages=pages,
    )


def _zyx(voxels: Ids, shape_voxels: Triplet) -> Ids:
    """Return (n, 3) indices of voxels along (z, y, x)."""
    return np.stack(np.unravel_index(voxels, shape_voxels), axis=-1)


# ----------------------------------------------------------------------------------------- nodes


@dataclass(frozen=True, slots=True, eq=False)
class _Nodes:
    """Nodes in their order; a node owns the voxels whose ``owner`` it is."""

    voxel: Ids
    owner: Ids
    radius_um: NDArray[np.float32]

    def centre_voxels(self, shape_voxels: Triplet) -> NDArray[np.float64]:
        """Return (N, 3) centroids; the sums are of whole numbers, so that no order matters."""
        count = np.bincount(self.owner, minlength=len(self.radius_um))
        sums = np.zeros((len(count), 3), np.int64)
        for first in range(0, len(self.voxel), _VOXELS_AT_ONCE):
            some = slice(first, first + _VOXELS_AT_ONCE)
            np.add.at(sums, self.owner[some], _zyx(self.voxel[some], shape_voxels))
        return sums / np.maximum(count, 1)[:, np.newaxis]


def _nodes(pieces: Pieces, routes: Routes, pages: Pages) -> tuple[_Nodes, Ids]:
    """Return the nodes, and the pairs of node voxels that are joined by an edge without chain."""
    label, direct = _clusters(pieces)
    count = len(label)
    rings = np.flatnonzero(routes.ring_node != NONE)
    voxel = pages.kept(np.concatenate([pieces.node_voxel, routes.ring_node[rings]]))
    label = np.concatenate([label, label.max(initial=-1) + 1 + np.arange(len(rings))])
    # Numbered by the first voxel of each.
    first = np.full(int(label.max(initial=-1)) + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, label, voxel)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    del first
    owner = pages.kept(rank[label])
    radius = pages.full(len(rank), 0, np.float32)
    np.maximum.at(
        radius, owner, np.concatenate([pieces.node_radius_um, routes.ring_radius_um[rings]])
    )
    routes.ends[rings] = np.arange(count, len(voxel))[:, np.newaxis]
    return _Nodes(voxel, owner, radius), direct


def _clusters(pieces: Pieces) -> tuple[NDArray[np.int32], Ids]:
    """Return the cluster of each node voxel, and the pairs that are in none together.

    Branch voxels that are neighbours are one cluster, every other voxel is one of its own.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    joined = find(pieces.node_voxel, pieces.pairs)
    joined = joined[(joined != NONE).all(axis=1)]
    branches = pieces.node_branches[joined].all(axis=1)
    inside, direct = joined[branches], joined[~branches]
    del joined
    count = len(pieces.node_voxel)
    if not count:
        return np.empty(0, np.int32), direct
    links = coo_array((np.ones(len(inside), np.int8), inside.T), shape=(count, count))
    return connected_components(links, directed=False)[1], direct


# ----------------------------------------------------------------------------------------- edges


@dataclass(frozen=True, slots=True, eq=False)
class _Edges:
    """Edges in their order.

    Attributes
    ----------
    nodes
        (E, 2), directed.
    points
        (E,) points, both nodes included.
    rank
        Place in this order of each edge of the routes.
    reversed
        Whether an edge of the routes runs the other way here.
    """

    nodes: Ids
    points: Ids
    rank: Ids
    reversed: NDArray[np.bool_]

    def places(
        self, routes: Routes, fragments: Iterable[Fragment], offsets: Ids
    ) -> Iterator[tuple[Fragment, Ids]]:
        """Yield each fragment, and where its chain voxels stand among all points."""
        chain = 0
        for fragment in fragments:
            chains = slice(chain, chain + len(fragment.chain_outside))
            yield fragment, self._places(routes, chains, fragment.chain_offsets, offsets)
            chain = chains.stop

    def _places(self, routes: Routes, chains: slice, chain_offsets: Ids, offsets: Ids) -> Ids:
        edge = routes.edge[chains]
        ring = routes.ring_node[edge] != NONE
        voxels, start = routes.voxels[edge], routes.start[chains]
        sign = routes.sign[chains].astype(np.int64)
        turned = self.reversed[edge]
        start = np.where(turned, voxels - 1 - start, start)
        sign = np.where(turned, -sign, sign)
        lengths = np.diff(chain_offsets)

        def each(values: NDArray[Any]) -> NDArray[Any]:
            return np.repeat(values, lengths)

        inside = np.arange(chain_offsets[-1]) - each(chain_offsets[:-1])
        along = each(start) + each(sign) * inside
        along = np.where(each(ring), along % np.maximum(each(voxels), 1), along + 1)
        return np.asarray(each(offsets[self.rank[edge]]) + along, np.int64)


def _edges(routes: Routes, of_voxel: Ids, direct: Ids, pages: Pages) -> _Edges:
    """Return the edges in order; ``direct`` ones follow those of the routes before sorting."""
    kept = pages.kept
    ends = kept(np.concatenate([of_voxel[routes.ends], of_voxel[direct]]))
    none = np.full(len(direct), NONE, np.int64)
    first, last = (kept(np.concatenate([one, none])) for one in (routes.first, routes.last))
    ring = np.concatenate([routes.ring_node != NONE, np.zeros(len(direct), bool)])
    points = kept(np.concatenate([routes.voxels, np.zeros(len(direct), np.int64)]) + 2 - ring)
    low, high = ends[:, 0], ends[:, 1]
    turn = (low > high) | ((low == high) & (first > last))
    low, high = kept(np.where(turn, high, low)), kept(np.where(turn, low, high))
    first, last = kept(np.where(turn, last, first)), kept(np.where(turn, first, last))
    order = np.lexsort((last, high, first, low))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return _Edges(
        nodes=kept(np.stack([low[order], high[order]], axis=-1)),
        points=kept(points[order]),
        rank=kept(rank),
        reversed=turn,
    )
