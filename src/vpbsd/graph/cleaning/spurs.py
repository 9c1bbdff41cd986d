"""Prune spurs: short dead ends that thinning grows out of bumps of a vessel's wall.

A spur is an edge from a branch point to a free end that is shorter than::

    length  <  factor · radius at its branch point  +  extra

since a centreline that leads from the middle of a vessel to its wall is about one radius long.

The shortest spur goes first. Where only two edges then meet, they become one, whose length counts
from then on: of three short edges at a branch point the shortest goes and the others stay, as one
vessel. A piece with two free ends and no branch point is never a spur. Lengths that are equal are
told apart by the place of the free end, so that the result does not depend on the order of edges.
"""

from __future__ import annotations

import heapq
import math

import numpy as np
from numpy.typing import NDArray

from vpbsd.errors import ConfigError
from vpbsd.graph.cleaning.rewire import dissolve_chains, in_order, without
from vpbsd.graph.cleaning.step import CleaningStep
from vpbsd.graph.measures.length import edge_lengths_um
from vpbsd.graph.vessel_graph import VesselGraph

__all__ = ["prune_spurs"]


def prune_spurs(
    graph: VesselGraph, factor: float = 1.5, extra_um: float = 0.0, most_rounds: int = 10
) -> tuple[VesselGraph, CleaningStep]:
    """Return the graph without its spurs, and what was done.

    Parameters
    ----------
    graph
        Left as it is.
    factor
        Dead ends shorter than so many radii of their branch point are spurs.
    extra_um
        Added to that limit.
    most_rounds
        Joined edges are measured anew and judged again, at most so often.

    Raises
    ------
    ConfigError
        If the factor or the length is negative or not finite.
    """
    for name, value in (("factor", factor), ("extra length in µm", extra_um)):
        if not (math.isfinite(value) and value >= 0):
            raise ConfigError(
                f"the {name} of spurs must be a number from 0 upwards, got {value}; 0 for both "
                "keeps every dead end"
            )
    nodes, removed, length_um, rounds, stable = graph.nodes, 0, 0.0, 0, False
    graph, dissolved = dissolve_chains(in_order(graph))
    while rounds < most_rounds:
        rounds += 1
        lengths = edge_lengths_um(graph)
        limit = factor * graph.node_radius_um.astype(np.float64) + extra_um
        spurs = _Pruning(graph, lengths, limit).run()
        stable = not spurs.any()
        if stable:
            break
        removed += int(np.count_nonzero(spurs))
        length_um += float(lengths[spurs].sum())
        graph, joined = dissolve_chains(without(graph, spurs))
        dissolved += joined
    return graph, CleaningStep(
        step="spurs",
        settings={"factor": factor, "extra_um": extra_um},
        edges_removed=removed,
        nodes_removed=nodes - graph.nodes - dissolved,
        length_removed_um=length_um,
        nodes_dissolved=dissolved,
        rounds=rounds,
        details=() if stable else ({"stopped_after_rounds": rounds},),
    )


class _Pruning:
    """Takes spurs out of a graph one by one, the shortest first, joining what then meets."""

    def __init__(
        self, graph: VesselGraph, lengths: NDArray[np.float64], limit: NDArray[np.float64]
    ) -> None:
        self._ends = graph.edge_nodes
        self._lengths, self._limit = lengths, limit
        self._degree = graph.node_degree
        self._removed = np.zeros(graph.edges, dtype=np.bool_)
        order = np.argsort(self._ends.ravel(), kind="stable")
        self._edges_at = order >> 1
        self._first_at = np.concatenate([[0], np.cumsum(self._degree)])
        # Edges that were joined: by the number of one of them, which stands for all.
        self._stands_in: dict[int, int] = {}
        self._joined: dict[int, tuple[int, int, float, list[int]]] = {}
        self._queue: list[tuple[float, int, int]] = []

    def run(self) -> NDArray[np.bool_]:
        """Return which edges go, (E,)."""
        for candidate in np.flatnonzero(self._may_be_spur()):
            self._consider(int(candidate))
        while self._queue:
            length, free, edge = heapq.heappop(self._queue)
            a, b, now, members = self._edge(edge)
            if self._standing(edge) != edge or now != length:
                continue  # it has been joined to another since
            branch = b if a == free else a
            if self._degree[branch] < 3:
                continue
            self._removed[members] = True
            self._degree[free] = 0
            self._degree[branch] -= 1
            if self._degree[branch] == 2:
                self._join_at(branch)
        return self._removed

    def _may_be_spur(self) -> NDArray[np.bool_]:
        degree, limit = self._degree[self._ends], self._limit[self._ends]
        forwards = (degree[:, 0] == 1) & (degree[:, 1] > 2) & (self._lengths < limit[:, 1])
        backwards = (degree[:, 1] == 1) & (degree[:, 0] > 2) & (self._lengths < limit[:, 0])
        return np.asarray(forwards | backwards)

    def _consider(self, edge: int) -> None:
        a, b, length, _ = self._edge(edge)
        free, branch = (a, b) if self._degree[a] == 1 else (b, a)
        if self._degree[free] == 1 and self._degree[branch] > 2 and length < self._limit[branch]:
            heapq.heappush(self._queue, (length, free, edge))

    def _edge(self, edge: int) -> tuple[int, int, float, list[int]]:
        """Return the ends, the length and the members of an edge."""
        if edge in self._joined:
            return self._joined[edge]
        a, b = self._ends[edge]
        return int(a), int(b), float(self._lengths[edge]), [edge]

    def _standing(self, edge: int) -> int:
        while edge in self._stands_in:
            edge = self._stands_in[edge]
        return edge

    def _join_at(self, node: int) -> None:
        """Make one edge of the two that are left at a node."""
        there = self._edges_at[self._first_at[node] : self._first_at[node + 1]]
        left = sorted({self._standing(int(e)) for e in there if not self._removed[e]})
        if len(left) == 1:
            return  # a ring, which keeps its node
        first, second = left
        a, b, length_a, members_a = self._edge(first)
        c, d, length_b, members_b = self._edge(second)
        ends = (b if a == node else a, d if c == node else c)
        self._stands_in[second] = first
        self._joined[first] = (*ends, length_a + length_b, members_a + members_b)
        self._consider(first)
