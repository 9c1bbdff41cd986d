"""Take edges out of a graph, put edges end to end, and bring the rest into its order.

The order of a graph is that of the positions of its nodes, (z, y, x). An edge runs from the end
with the smaller pair (node, point next to it) to the other, and edges are sorted by these pairs.
Nodes that stay keep the order they had, so that a cleaned graph does not depend on the order in
which things were done to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from vpbsd.graph.measures.length import edge_chunks, point_chunks
from vpbsd.graph.pages import put_out
from vpbsd.graph.vessel_graph import VesselGraph

__all__ = ["dissolve_chains", "in_order", "with_lines", "without"]


def without(
    graph: VesselGraph,
    edges: NDArray[np.bool_],
    nodes: NDArray[np.bool_] | None = None,
) -> VesselGraph:
    """Return the graph without some edges, and without the nodes that only these reached.

    Parameters
    ----------
    graph
        Left as it is.
    edges
        (E,) True for each edge to take out.
    nodes
        (N,) True for each further node to take out; no edge that stays may reach it.
    """
    kept = graph.edge_nodes[~edges]
    degree = np.bincount(kept.ravel(), minlength=graph.nodes)
    gone = (degree == 0) & (graph.node_degree > 0)
    if nodes is not None:
        gone |= nodes
    halves = 2 * np.flatnonzero(~edges)
    return _assembled(graph, halves, np.arange(len(halves) + 1), gone)


def with_lines(
    graph: VesselGraph, ends: NDArray[np.int64], lines: Sequence[NDArray[np.floating[Any]]]
) -> VesselGraph:
    """Return the graph with further edges, in order.

    Parameters
    ----------
    graph
        Left as it is.
    ends
        (n, 2) nodes that each new edge joins.
    lines
        For each new edge its points (p, 4): position (z, y, x) and radius in µm; the first and the
        last lie at its nodes.
    """
    if not lines:
        return graph
    points = np.concatenate(lines).astype(np.float32)
    offsets = graph.edge_offsets[-1] + np.cumsum([len(line) for line in lines])
    return in_order(
        replace(
            graph,
            edge_nodes=np.concatenate([graph.edge_nodes, ends.astype(np.int64)]),
            edge_offsets=np.concatenate([graph.edge_offsets, offsets.astype(np.int64)]),
            point_position_um=np.concatenate([graph.point_position_um, points[:, :3]]),
            point_radius_um=np.concatenate([graph.point_radius_um, points[:, 3]]),
        )
    )


def dissolve_chains(graph: VesselGraph) -> tuple[VesselGraph, int]:
    """Join the two edges that meet at a node of degree 2 to one; return how many nodes went.

    A ring keeps the first of its nodes.
    """
    paths = _through_nodes_of_degree_2(graph)
    if paths is None:
        return graph, 0
    joined = _assembled(graph, *paths)
    del paths
    return in_order(joined), graph.nodes - joined.nodes


def in_order(graph: VesselGraph) -> VesselGraph:
    """Return the graph with edges directed and sorted by (node, next point) at both ends."""
    keys, flip = _keys(graph)
    order = np.lexsort(keys)
    del keys
    if not flip.any() and bool((np.diff(order) == 1).all()):
        return graph
    halves = 2 * order + flip[order]
    del order
    return _assembled(
        graph, halves, np.arange(len(halves) + 1), np.zeros(graph.nodes, dtype=np.bool_)
    )


def _keys(graph: VesselGraph) -> tuple[list[NDArray[Any]], NDArray[np.bool_]]:
    """Return what edges are sorted by, the last first, and which run the other way then."""
    kinds = (np.int64, np.float32, np.float32, np.float32)
    begin, end = ([graph.pages.empty(graph.edges, kind) for kind in kinds] for _ in range(2))
    flip = np.empty(graph.edges, dtype=np.bool_)
    for edges in edge_chunks(graph):
        first, last = graph.edge_offsets[:-1][edges], graph.edge_offsets[1:][edges] - 1
        here = [graph.edge_nodes[edges, 0], *graph.point_position_um[first + 1].T]
        there = [graph.edge_nodes[edges, 1], *graph.point_position_um[last - 1].T]
        flip[edges] = turn = _later(here, there)
        for at, (h, t) in enumerate(zip(here, there, strict=True)):
            begin[at][edges], end[at][edges] = np.where(turn, t, h), np.where(turn, h, t)
    put_out(graph.point_position_um, *begin, *end)
    return [np.diff(graph.edge_offsets), *end[::-1], *begin[::-1]], flip


def _later(a: list[NDArray[Any]], b: list[NDArray[Any]]) -> NDArray[np.bool_]:
    """Whether rows of ``a`` come after rows of ``b`` in lexicographic order."""
    after, same = np.zeros(len(a[0]), dtype=np.bool_), np.ones(len(a[0]), dtype=np.bool_)
    for u, v in zip(a, b, strict=True):
        after |= same & np.asarray(u > v)
        same &= np.asarray(u == v)
    return after


def _through_nodes_of_degree_2(
    graph: VesselGraph,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]] | None:
    """Return paths of edge ends, where each begins, and the nodes within; None if there are none.

    The first node of a ring counts as one that its path begins and ends at.
    """
    inner = graph.node_degree == 2
    loops = graph.edge_nodes[:, 0] == graph.edge_nodes[:, 1]
    inner[graph.edge_nodes[loops, 0]] = False
    if not inner.any():
        return None
    one, both = (graph.pages.full(graph.nodes, 0, np.int64) for _ in range(2))
    ends = np.arange(graph.edge_nodes.size)
    one[graph.edge_nodes.ravel()] = ends
    np.add.at(both, graph.edge_nodes.ravel(), ends)
    return *_walk(graph.edge_nodes, inner, one, both), inner


@numba.njit(cache=True)
def _walk(
    edge_nodes: NDArray[np.int64],
    inner: NDArray[np.bool_],
    one: NDArray[np.int64],
    both: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Follow edges through inner nodes; return paths of edge ends, each by the end it starts with.

    ``one`` is an end (2 · edge + side) at each node, ``both`` the sum of all: at an inner node the
    other end is the difference. The first node of a ring of inner nodes is taken out of ``inner``.
    """
    ends = 2 * len(edge_nodes)
    walked = np.zeros(len(edge_nodes), dtype=np.bool_)
    halves = np.empty(len(edge_nodes), dtype=np.int64)
    starts = np.zeros(len(edge_nodes) + 1, dtype=np.int64)
    paths, count = 0, 0
    for start in range(ends + len(inner)):
        if start < ends:
            half = start
            if inner[edge_nodes[half >> 1, half & 1]] or walked[half >> 1]:
                continue
        else:
            # Whatever has not been walked by now lies on rings of inner nodes.
            node = start - ends
            half = min(one[node], both[node] - one[node])
            if not inner[node] or walked[half >> 1]:
                continue
            inner[node] = False
        while True:
            walked[half >> 1] = True
            halves[count] = half
            count += 1
            arrival = half ^ 1
            node = edge_nodes[arrival >> 1, arrival & 1]
            if not inner[node]:
                break
            half = both[node] - arrival
        paths += 1
        starts[paths] = count
    return halves, starts[: paths + 1]


def _assembled(
    graph: VesselGraph,
    halves: NDArray[np.int64],
    starts: NDArray[np.int64],
    gone: NDArray[np.bool_],
) -> VesselGraph:
    """Return the graph whose edges are the paths of edge ends ``halves[starts[i]:starts[i + 1]]``.

    Nodes in ``gone`` are left out; no path may begin or end there.
    """
    number = np.cumsum(~gone) - 1
    begin, end = halves[starts[:-1]], halves[starts[1:] - 1] ^ 1
    ends = graph.edge_nodes.ravel()
    # Where two edges meet, they share a point.
    points = np.add.reduceat(np.diff(graph.edge_offsets)[halves >> 1] - 1, starts[:-1]) + 1
    offsets = np.concatenate([[0], np.cumsum(points if len(begin) else [])]).astype(np.int64)
    position = graph.pages.empty((int(offsets[-1]), 3), np.float32)
    radius = graph.pages.empty(int(offsets[-1]), np.float32)
    given, filled = (graph.point_position_um, graph.point_radius_um), (position, radius)
    for paths in point_chunks(offsets):
        bounds = starts[paths.start : paths.stop + 1]
        _gather(halves, bounds, graph.edge_offsets, given, int(offsets[paths.start]), filled)
        put_out(*given, *filled)
    kept = graph.pages.kept
    return replace(
        graph,
        node_position_um=kept(graph.node_position_um[~gone]),
        node_radius_um=kept(graph.node_radius_um[~gone]),
        edge_nodes=kept(number[np.stack([ends[begin], ends[end]], axis=1)]),
        edge_offsets=kept(offsets),
        point_position_um=position,
        point_radius_um=radius,
    )


@numba.njit(cache=True)
def _gather(
    halves: NDArray[np.int64],
    starts: NDArray[np.int64],
    offsets: NDArray[np.int64],
    given: tuple[NDArray[np.float32], NDArray[np.float32]],
    at: int,
    filled: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> None:
    """Copy the points of paths to ``at``, each edge forwards or backwards, shared points once."""
    position, radius = given
    new_position, new_radius = filled
    for path in range(len(starts) - 1):
        for i in range(starts[path], starts[path + 1]):
            edge, backwards = halves[i] >> 1, halves[i] & 1
            first, count = offsets[edge], offsets[edge + 1] - offsets[edge]
            for j in range(0 if i == starts[path] else 1, count):
                source = first + (count - 1 - j if backwards else j)
                for axis in range(3):
                    new_position[at, axis] = position[source, axis]
                new_radius[at] = radius[source]
                at += 1
