"""Remove small pieces: components of little length, and isolated points."""

from __future__ import annotations

import math

import numpy as np

from vpbsd.errors import ConfigError
from vpbsd.graph.cleaning.rewire import without
from vpbsd.graph.cleaning.step import CleaningStep
from vpbsd.graph.measures.edges import node_components
from vpbsd.graph.measures.length import edge_lengths_um
from vpbsd.graph.vessel_graph import VesselGraph

__all__ = ["remove_small_components"]


def remove_small_components(
    graph: VesselGraph, shortest_um: float = 0.0, isolated_points: bool = False
) -> tuple[VesselGraph, CleaningStep]:
    """Return the graph without its small components, and what was done.

    Parameters
    ----------
    graph
        Left as it is.
    shortest_um
        Components with at least one edge stay if their edges are together at least so long.
    isolated_points
        Also remove nodes without an edge.

    Raises
    ------
    ConfigError
        If the length is negative or not finite.
    """
    if not (math.isfinite(shortest_um) and shortest_um >= 0):
        raise ConfigError(
            "the length below which components are removed must be a number of µm from 0 upwards, "
            f"got {shortest_um}; 0 keeps them all"
        )
    lengths = edge_lengths_um(graph)
    component = node_components(graph)
    of_edge = component[graph.edge_nodes[:, 0]]
    total = np.bincount(of_edge, weights=lengths, minlength=int(component.max(initial=-1)) + 1)
    edges = total[of_edge] < shortest_um
    alone = (graph.node_degree == 0) & isolated_points
    small = int(np.count_nonzero(np.bincount(of_edge[edges])))
    # Without any change the graph keeps its arrays, which may lie on disk.
    kept = without(graph, edges, alone) if edges.any() or alone.any() else graph
    return kept, CleaningStep(
        step="components",
        settings={"shortest_um": shortest_um, "isolated_points": isolated_points},
        edges_removed=int(np.count_nonzero(edges)),
        nodes_removed=graph.nodes - kept.nodes,
        length_removed_um=float(lengths[edges].sum()),
        details=({"components": small, "isolated_points": int(np.count_nonzero(alone))},),
    )
