"""Put right what is no part of a vessel tree: copies of edges, edges of no length, idle nodes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vpbsd.graph.cleaning.rewire import dissolve_chains, in_order, without
from vpbsd.graph.cleaning.step import CleaningStep
from vpbsd.graph.measures.length import edge_lengths_um
from vpbsd.graph.vessel_graph import VesselGraph

__all__ = ["join_chains", "remove_duplicates"]


def remove_duplicates(graph: VesselGraph) -> tuple[VesselGraph, CleaningStep]:
    """Return the graph without copies of edges and without edges of no length.

    A copy has the same nodes and the same points as another edge; vessels that merely join the
    same two nodes are none. An edge of no length joins a node to itself and stays there.
    """
    graph = in_order(graph)
    empty = (graph.edge_nodes[:, 0] == graph.edge_nodes[:, 1]) & _stays_in_place(graph)
    copies = _copies(graph) & ~empty
    gone = empty | copies
    kept, length_um = graph, 0.0
    if gone.any():
        kept, length_um = without(graph, gone), float(edge_lengths_um(graph)[gone].sum())
    return kept, CleaningStep(
        step="duplicates",
        edges_removed=int(np.count_nonzero(gone)),
        nodes_removed=graph.nodes - kept.nodes,
        length_removed_um=length_um,
        details=(
            {
                "copies": int(np.count_nonzero(copies)),
                "without_length": int(np.count_nonzero(empty)),
            },
        ),
    )


def join_chains(graph: VesselGraph) -> tuple[VesselGraph, CleaningStep]:
    """Return the graph without nodes of degree 2: the edges that meet there become one."""
    joined, nodes = dissolve_chains(in_order(graph))
    return joined, CleaningStep(step="chains", nodes_dissolved=nodes)


def _stays_in_place(graph: VesselGraph) -> NDArray[np.bool_]:
    """Whether all points of an edge are one place, (E,)."""
    still = np.zeros(graph.edges, dtype=np.bool_)
    for edge in np.flatnonzero(graph.edge_nodes[:, 0] == graph.edge_nodes[:, 1]):
        points = graph.point_position_um[graph.points(int(edge))]
        still[edge] = bool((points == points[0]).all())
    return still


def _copies(graph: VesselGraph) -> NDArray[np.bool_]:
    """Whether an edge equals one that comes before it, (E,); edges are in order."""
    ends, counts = graph.edge_nodes, np.diff(graph.edge_offsets)
    copies = np.zeros(graph.edges, dtype=np.bool_)
    # In order, copies follow each other: same nodes, same number of points.
    alike = (ends[1:] == ends[:-1]).all(axis=1) & (counts[1:] == counts[:-1])
    original = 0
    for edge in np.flatnonzero(alike) + 1:
        if not copies[edge - 1]:
            original = int(edge) - 1
        same = np.array_equal(
            graph.point_position_um[graph.points(original)],
            graph.point_position_um[graph.points(int(edge))],
        )
        copies[edge] = same
    return copies
