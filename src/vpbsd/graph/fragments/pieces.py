"""The chains of all blocks in one table, and how they continue one another across faces.

A chain that leaves its block ends at a voxel ``e`` and goes on at ``n``, which is another block's:
there some chain ends at ``n`` and goes on at ``e``. Each chain has two such terminals, number
``2 c`` before its first voxel and ``2 c + 1`` after its last. The table, in mapped files, holds
about a hundred bytes for each chain; the voxels stay in the fragments.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpbsd.errors import VpbsdError
from vpbsd.graph.fragments.fragment import Fragment
from vpbsd.graph.pages import Pages, put_out
from vpbsd.graph.skeleton.simple_points import compiled

__all__ = ["NONE", "Pieces", "Routes", "find", "gather", "join"]

Ids = NDArray[np.int64]

NONE = -1
"""No voxel, no partner, no edge."""


@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """What stitching needs to know of all fragments.

    Attributes
    ----------
    node_voxel, node_branches, node_radius_um
        Of all node voxels, ascending by voxel.
    pairs
        As in the fragments.
    end_voxel, next_voxel
        (2 C,) per terminal: the chain's own last voxel there, and the one beyond.
    length
        (C,) voxels of each chain.
    ring_piece, ring_first, ring_at, ring_before, ring_after, ring_radius_um
        Of the chains that may be parts of a ring (no node at either end within their block): the
        chain, its first voxel (in the volume's order), where in the chain it stands, the chain's
        voxels before and after it (beyond the chain's ends as in ``next_voxel``), its radius.
    """

    node_voxel: Ids
    node_branches: NDArray[np.bool_]
    node_radius_um: NDArray[np.float32]
    pairs: Ids
    end_voxel: Ids
    next_voxel: Ids
    length: Ids
    ring_piece: Ids
    ring_first: Ids
    ring_at: Ids
    ring_before: Ids
    ring_after: Ids
    ring_radius_um: NDArray[np.float32]


def gather(fragments: Iterable[Fragment], pages: Pages) -> Pieces:
    """Return the table of all fragments, which are looked at once, in order.

    Raises
    ------
    OutputError
        If it does not fit on the disk.
    """
    joined = pages.columns(_each(fragments))
    order = np.argsort(joined["node_voxel"], kind="stable")
    for name in ("node_voxel", "node_branches", "node_radius_um"):
        joined[name] = pages.kept(joined[name][order])
    put_out(*joined.values())
    return Pieces(**joined)


def _each(fragments: Iterable[Fragment]) -> Iterator[dict[str, NDArray[Any]]]:
    # So that there are columns, with their types, even if there is no fragment.
    yield _rows(Fragment.empty(), 0)
    chains = 0
    for fragment in fragments:
        yield _rows(fragment, chains)
        chains += len(fragment.chain_outside)


def _rows(fragment: Fragment, chains: int) -> dict[str, NDArray[Any]]:
    """Return what one fragment adds; ``chains`` have been counted before it."""
    starts, stops = fragment.chain_offsets[:-1], fragment.chain_offsets[1:]
    voxels, outside = fragment.chain_voxel, fragment.chain_outside
    ends = np.empty((len(starts), 2), np.int64)
    if len(starts):
        ends[:, 0], ends[:, 1] = voxels[starts], voxels[stops - 1]
    return {
        "node_voxel": fragment.node_voxel,
        "node_branches": fragment.node_branches,
        "node_radius_um": fragment.node_radius_um,
        "pairs": fragment.pairs,
        "end_voxel": ends.ravel(),
        "next_voxel": outside.ravel(),
        "length": stops - starts,
        **_ring_rows(fragment, chains),
    }


def _ring_rows(fragment: Fragment, chains: int) -> dict[str, NDArray[Any]]:
    voxels, outside = fragment.chain_voxel, fragment.chain_outside
    starts, stops = fragment.chain_offsets[:-1], fragment.chain_offsets[1:]
    passing = np.flatnonzero((find(fragment.node_voxel, outside) == NONE).all(axis=1))
    first = np.minimum.reduceat(voxels, starts)[passing] if len(starts) else np.empty(0, np.int64)
    # A voxel is in one chain only, so that looking the first ones up finds each once.
    order = np.argsort(voxels, kind="stable")
    place = order[np.searchsorted(voxels, first, sorter=order)]
    at, last = place - starts[passing], stops[passing] - 1
    before = np.where(at == 0, outside[passing, 0], voxels[np.maximum(place - 1, 0)])
    after = np.where(place == last, outside[passing, 1], voxels[np.minimum(place + 1, last)])
    return {
        "ring_piece": passing + chains,
        "ring_first": first,
        "ring_at": at,
        "ring_before": before,
        "ring_after": after,
        "ring_radius_um": fragment.chain_radius_um[place],
    }


def find(ascending: Ids, wanted: Ids) -> Ids:
    """Return where ``wanted`` values stand in an ascending array, ``NONE`` where they do not."""
    if not len(ascending):
        return np.full(wanted.shape, NONE, np.int64)
    at = np.minimum(np.searchsorted(ascending, wanted), len(ascending) - 1)
    return np.where(ascending[at] == wanted, at, NONE)


@dataclass(frozen=True, slots=True, eq=False)
class Routes:
    """Edges as runs of chains.

    The voxel ``i`` of chain ``c`` is voxel ``start[c] + sign[c] * i`` of edge ``edge[c]``, counted
    from 0 at the edge's first chain voxel; in a ring modulo the ring's length, with its node at 0.

    Attributes
    ----------
    edge, start, sign
        (C,) per chain.
    ends
        (E, 2) indices of the node voxels at both ends; ``NONE`` for rings.
    first, last
        (E,) the first and the last chain voxel.
    voxels
        (E,) chain voxels; of rings, the node's voxel included.
    ring_node, ring_radius_um
        (E,) the voxel that becomes a ring's node, and its radius; ``NONE`` and 0 for others.
    """

    edge: Ids
    start: Ids
    sign: NDArray[np.int8]
    ends: Ids
    first: Ids
    last: Ids
    voxels: Ids
    ring_node: Ids
    ring_radius_um: NDArray[np.float32]


def join(pieces: Pieces, pages: Pages) -> Routes:
    """Follow the chains from node to node, and around rings.

    Raises
    ------
    VpbsdError
        If a chain that leaves its block goes on nowhere: the fragments contradict each other.
    OutputError
        If the routes do not fit on the disk.
    """
    at_node = pages.kept(find(pieces.node_voxel, pieces.next_voxel))
    partner = _partners(pieces, at_node, pages)
    chains = len(pieces.length)
    edge, start = (pages.full(chains, value, np.int64) for value in (NONE, 0))
    sign = np.zeros(chains, np.int8)
    terminals, voxels = pages.empty((chains, 2), np.int64), pages.empty(chains, np.int64)
    edges = _follow(at_node, partner, pieces.length, (edge, start, sign), (terminals, voxels))
    del partner
    terminals, voxels = terminals[:edges], voxels[:edges]
    routes = Routes(
        edge=edge,
        start=start,
        sign=sign,
        ends=pages.kept(np.where(terminals == NONE, NONE, at_node[terminals])),
        first=pages.kept(pieces.end_voxel[terminals[:, 0]]),
        last=pages.kept(pieces.end_voxel[terminals[:, 1]]),
        voxels=voxels,
        ring_node=pages.full(edges, NONE, np.int64),
        ring_radius_um=pages.full(edges, 0, np.float32),
    )
    _open_rings(pieces, routes)
    return routes


def _partners(pieces: Pieces, at_node: Ids, pages: Pages) -> Ids:
    """Return for each terminal that is not at a node the terminal of the chain that goes on."""
    partner = pages.full(len(at_node), NONE, np.int64)
    free = np.flatnonzero(at_node == NONE)
    if not free.size:
        return partner
    own, beyond = pieces.end_voxel[free], pieces.next_voxel[free]
    low, high = np.minimum(own, beyond), np.maximum(own, beyond)
    order = np.lexsort((own, high, low))
    free, low, high = free[order], low[order], high[order]
    same = free.size % 2 == 0 and (low[::2] == low[1::2]).all() and (high[::2] == high[1::2]).all()
    if not same:
        raise VpbsdError(
            "the fragments of the skeleton contradict each other: a chain leaves its block and "
            "goes on nowhere; remove the work folder and run again"
        )
    partner[free[::2]], partner[free[1::2]] = free[1::2], free[::2]
    return partner


@compiled
def _follow(
    at_node: Ids,
    partner: Ids,
    length: Ids,
    of_chain: tuple[Ids, Ids, NDArray[np.int8]],
    of_edge: tuple[Ids, Ids],
) -> int:
    """Fill edge, start and sign of each chain, terminals and voxels of each edge; return how many.

    Edges that have not been found yet are ``NONE``. Rings have no terminals.
    """
    edge, start, sign = of_chain
    terminals, voxels = of_edge
    edges = 0
    for rings in (False, True):
        for first in range(at_node.size):
            if edge[first >> 1] != -1 or (not rings and at_node[first] == -1):
                continue
            at, position = first, 0
            while True:
                chain = at >> 1
                forward = at & 1 == 0
                edge[chain] = edges
                sign[chain] = 1 if forward else -1
                start[chain] = position if forward else position + length[chain] - 1
                position += length[chain]
                leaving = at ^ 1
                at = partner[leaving]
                if at == -1 or edge[at >> 1] != -1:
                    break
            terminals[edges, 0], terminals[edges, 1] = (-1, -1) if rings else (first, leaving)
            voxels[edges] = position
            edges += 1
    return edges


def _open_rings(pieces: Pieces, routes: Routes) -> None:
    """Give each ring its first voxel as node, and count its chains from there, in place.

    Of the two ways around, the one whose first chain voxel comes first is taken.
    """
    is_ring = (routes.ends == NONE).any(axis=1)
    edges = routes.edge[pieces.ring_piece]
    rows = np.flatnonzero(is_ring[edges])
    rows = rows[np.lexsort((pieces.ring_first[rows], edges[rows]))]
    if not rows.size:
        return
    edges = edges[rows]
    rows = rows[np.concatenate([[True], edges[1:] != edges[:-1]])]
    chain = pieces.ring_piece[rows]
    edge = routes.edge[chain]
    routes.ring_node[edge] = pieces.ring_first[rows]
    routes.ring_radius_um[edge] = pieces.ring_radius_um[rows]
    forward = routes.sign[chain] > 0
    before, after = pieces.ring_before[rows], pieces.ring_after[rows]
    ahead, behind = np.where(forward, after, before), np.where(forward, before, after)
    turn = ahead > behind
    routes.first[edge], routes.last[edge] = np.minimum(ahead, behind), np.maximum(ahead, behind)

    zero = np.zeros(len(routes.voxels), np.int64)
    zero[edge] = routes.start[chain] + routes.sign[chain] * pieces.ring_at[rows]
    turned = np.zeros(len(routes.voxels), bool)
    turned[edge] = turn
    parts = np.flatnonzero(is_ring[routes.edge])
    of = routes.edge[parts]
    flip = np.where(turned[of], -1, 1)
    routes.start[parts] = (flip * (routes.start[parts] - zero[of])) % routes.voxels[of]
    routes.sign[parts] *= flip.astype(np.int8)
