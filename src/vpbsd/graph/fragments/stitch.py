"""Fragments to one graph, byte for byte the same however the volume was cut.

::

    fragments ──► table of chains ──► nodes: branch voxels joined to clusters, ends, rings' firsts
        │                        └──► edges: chains joined across faces, sorted, directed
        └── second time ─────────────► points, each written to its place in a mapped file

What a voxel is (end, link, branch) depends on its 26 neighbours alone, and everything is sorted by
voxels of the volume: nodes by their first voxel, edges by (node, chain voxel) at their two ends.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from vpbsd.errors import OutputError
from vpbsd.geometry import Triplet, VoxelSize
from vpbsd.graph.fragments.fragment import Fragment
from vpbsd.graph.fragments.pieces import NONE, Ids, Pieces, Routes, find, gather, join
from vpbsd.graph.vessel_graph import VesselGraph

__all__ = ["stitch"]


def stitch(
    fragments: Callable[[], Iterable[Fragment]],
    shape_voxels: Triplet,
    voxel_size: VoxelSize,
    folder: Path | None = None,
) -> VesselGraph:
    """Return the graph of all fragments.

    Parameters
    ----------
    fragments
        Called twice; each time yields all fragments, in the same order.
    shape_voxels, voxel_size
        Of the mask.
    folder
        Where the points go, in files that are mapped; None = in memory.

    Raises
    ------
    VpbsdError
        If fragments contradict each other.
    OutputError
        If the points do not fit on the disk.
    """
    pieces = gather(fragments())
    routes = join(pieces)
    nodes, of_voxel, direct = _nodes(pieces, routes)
    edges = _edges(routes, nodes, of_voxel, direct)
    scale = np.asarray(voxel_size.zyx_um)
    position_um = nodes.centre_voxels(shape_voxels) * scale
    offsets = np.concatenate([[0], np.cumsum(edges.points)]).astype(np.int64)
    points = _Points.make(folder, int(offsets[-1]))
    for end, place in ((0, offsets[:-1]), (1, offsets[1:] - 1)):
        points.position_um[place] = position_um[edges.nodes[:, end]]
        points.radius_um[place] = nodes.radius_um[edges.nodes[:, end]]
    chain = 0
    for fragment in fragments():
        count = len(fragment.chain_outside)
        place = edges.places(routes, slice(chain, chain + count), fragment, offsets)
        points.position_um[place] = _zyx(fragment.chain_voxel, shape_voxels) * scale
        points.radius_um[place] = fragment.chain_radius_um
        chain += count
    # A ring's node is also a voxel of its chain; what it wrote at its place is the same.
    return VesselGraph(
        voxel_size=voxel_size,
        shape_voxels=shape_voxels,
        node_position_um=position_um,
        node_radius_um=nodes.radius_um,
        edge_nodes=edges.nodes,
        edge_offsets=offsets,
        point_position_um=points.position_um,
        point_radius_um=points.radius_um,
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
        where = _zyx(self.voxel, shape_voxels)
        count = np.bincount(self.owner, minlength=len(self.radius_um))
        sums = np.zeros((len(count), 3), np.int64)
        np.add.at(sums, self.owner, where)
        return sums / np.maximum(count, 1)[:, np.newaxis]


def _nodes(pieces: Pieces, routes: Routes) -> tuple[_Nodes, Ids, Ids]:
    """Return the nodes, the node of each node voxel, and the pairs of voxels joined directly."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    voxels = pieces.node_voxel
    joined = find(voxels, pieces.pairs)
    joined = joined[(joined != NONE).all(axis=1)]
    branches = pieces.node_branches[joined].all(axis=1)
    inside, direct = joined[branches], joined[~branches]
    count = len(voxels)
    ones = np.ones(len(inside), np.int8)
    links = coo_array((ones, (inside[:, 0], inside[:, 1])), shape=(count, count))
    cluster = connected_components(links, directed=False)[1] if count else np.empty(0, np.int64)
    rings = np.flatnonzero(routes.ring_node != NONE)
    every = np.concatenate([voxels, routes.ring_node[rings]])
    label = np.concatenate([cluster, cluster.max(initial=-1) + 1 + np.arange(len(rings))])
    # Numbered by the first voxel of each.
    order = np.argsort(every, kind="stable")
    _, first, inverse = np.unique(label[order], return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    owner = np.empty(len(every), np.int64)
    owner[order] = rank[inverse]
    radius = np.zeros(len(first), np.float32)
    np.maximum.at(
        radius, owner, np.concatenate([pieces.node_radius_um, routes.ring_radius_um[rings]])
    )
    routes.ends[rings] = np.arange(count, len(every))[:, np.newaxis]
    return _Nodes(every, owner, radius), owner, direct


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

    def places(self, routes: Routes, chains: slice, fragment: Fragment, offsets: Ids) -> Ids:
        """Return where the chain voxels of a fragment stand among all points."""
        edge = routes.edge[chains]
        ring = routes.ring_node[edge] != NONE
        voxels, start = routes.voxels[edge], routes.start[chains]
        sign = routes.sign[chains].astype(np.int64)
        turned = self.reversed[edge]
        start = np.where(turned, voxels - 1 - start, start)
        sign = np.where(turned, -sign, sign)
        lengths = np.diff(fragment.chain_offsets)

        def each(values: NDArray[Any]) -> NDArray[Any]:
            return np.repeat(values, lengths)

        inside = np.arange(len(fragment.chain_voxel)) - each(fragment.chain_offsets[:-1])
        along = each(start) + each(sign) * inside
        along = np.where(each(ring), along % np.maximum(each(voxels), 1), along + 1)
        return np.asarray(each(offsets[self.rank[edge]]) + along, np.int64)


def _edges(routes: Routes, nodes: _Nodes, of_voxel: Ids, direct: Ids) -> _Edges:
    """Return the edges in order; ``direct`` ones follow those of the routes before sorting."""
    ends = np.concatenate([of_voxel[routes.ends], of_voxel[direct]])
    none = np.full(len(direct), NONE, np.int64)
    first = np.concatenate([routes.first, none])
    last = np.concatenate([routes.last, none])
    ring = np.concatenate([routes.ring_node != NONE, np.zeros(len(direct), bool)])
    points = np.concatenate([routes.voxels, np.zeros(len(direct), np.int64)]) + 2 - ring
    low, high = ends[:, 0], ends[:, 1]
    turn = (low > high) | ((low == high) & (first > last))
    low, high = np.where(turn, high, low), np.where(turn, low, high)
    first, last = np.where(turn, last, first), np.where(turn, first, last)
    order = np.lexsort((last, high, first, low))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return _Edges(
        nodes=np.stack([low[order], high[order]], axis=-1),
        points=points[order],
        rank=rank,
        reversed=turn,
    )


# ---------------------------------------------------------------------------------------- points


@dataclass(frozen=True, slots=True, eq=False)
class _Points:
    position_um: NDArray[np.float32]
    radius_um: NDArray[np.float32]

    @classmethod
    def make(cls, folder: Path | None, count: int) -> _Points:
        if folder is None or count == 0:  # a file of no bytes cannot be mapped
            return cls(np.empty((count, 3), np.float32), np.empty(count, np.float32))
        return cls(
            _mapped(folder / "points_position_um.npy", (count, 3), np.float32),
            _mapped(folder / "points_radius_um.npy", (count,), np.float32),
        )


def _mapped(path: Path, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        array: NDArray[Any] = np.lib.format.open_memmap(path, "w+", dtype, shape)
        if hasattr(os, "posix_fallocate"):
            # Without this a full disk would end the process, with a signal, when it is written to.
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        raise OutputError(
            f"cannot map '{path}': {error.strerror}; make room or check the permissions, then run "
            "the same command again"
        ) from error
    return array
