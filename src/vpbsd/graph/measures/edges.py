"""What each vessel measures: length, tortuosity, radius, volume, surface, direction.

Along the smoothed centreline of an edge (`vpbsd.graph.measures.length`), with steps of length
``l_i`` between points of radius ``r_i`` and ``r_{i+1}``::

    length       L = Σ l_i
    tortuosity   L / chord                                  chord: distance between its two nodes
    radius mean  Σ l_i (r_i + r_{i+1}) / 2 / L              weighted by length
    volume       Σ π l_i (r_i² + r_i r_{i+1} + r_{i+1}²) / 3         truncated cones
    surface      Σ π (r_i + r_{i+1}) √(l_i² + (r_i − r_{i+1})²)      their sides, without the ends
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from vpbsd.graph.measures.length import (
    edge_chunks,
    first_steps,
    smoothed_points_um,
    step_lengths_um,
)
from vpbsd.graph.pages import put_out
from vpbsd.graph.vessel_graph import VesselGraph

__all__ = ["EdgeMeasures", "canonical", "measure_edges", "node_components"]

_PER_EDGE = (
    "length_um",
    "chord_um",
    "tortuosity",
    "radius_mean_um",
    "radius_min_um",
    "radius_max_um",
    "volume_um3",
    "surface_um2",
)


@dataclass(frozen=True, slots=True, eq=False)
class EdgeMeasures:
    """Measures of E edges and N nodes, in micrometres.

    Where both ends of an edge are one place there is no chord: tortuosity and direction are NaN,
    which tables show as null.

    Attributes
    ----------
    length_um, chord_um, tortuosity
        (E,) float64.
    radius_mean_um, radius_min_um, radius_max_um
        (E,) float64; the mean is weighted by length.
    volume_um3, surface_um2
        (E,) float64.
    direction
        (E, 3) float64: the chord as a unit vector (z, y, x) whose first component that is not
        zero is positive.
    component
        (E,) int64: components are numbered by their first node.
    node_degree, node_component
        (N,) int64.
    """

    length_um: NDArray[np.float64]
    chord_um: NDArray[np.float64]
    tortuosity: NDArray[np.float64]
    radius_mean_um: NDArray[np.float64]
    radius_min_um: NDArray[np.float64]
    radius_max_um: NDArray[np.float64]
    volume_um3: NDArray[np.float64]
    surface_um2: NDArray[np.float64]
    direction: NDArray[np.float64]
    component: NDArray[np.int64]
    node_degree: NDArray[np.int64]
    node_component: NDArray[np.int64]


def measure_edges(graph: VesselGraph) -> EdgeMeasures:
    """Measure every edge; the points are read a few edges at a time.

    Raises
    ------
    OutputError
        If the graph keeps its arrays in files and the disk is full.
    """
    pages = graph.pages
    measured = {name: pages.empty(graph.edges, np.float64) for name in _PER_EDGE}
    direction = pages.empty((graph.edges, 3), np.float64)
    for edges in edge_chunks(graph):
        found = _along(graph, edges)
        chord, direction[edges] = _chords(graph, edges)
        # Smoothing keeps the ends, so that only rounding can make a length fall below its chord.
        length = found["length_um"] = np.maximum(found["length_um"], chord)
        with np.errstate(invalid="ignore", divide="ignore"):
            tortuosity = np.where(chord > 0, length / chord, np.nan)
        found |= {"chord_um": chord, "tortuosity": tortuosity}
        for name, values in found.items():
            measured[name][edges] = values
    component = pages.kept(node_components(graph))
    put_out(graph.point_position_um, graph.point_radius_um, direction, *measured.values())
    return EdgeMeasures(
        direction=direction,
        component=pages.kept(component[graph.edge_nodes[:, 0]]),
        node_degree=pages.kept(graph.node_degree),
        node_component=component,
        **measured,
    )


def node_components(graph: VesselGraph) -> NDArray[np.int64]:
    """Return the connected component of each node, (N,), numbered in the order of first nodes."""
    a, b = graph.edge_nodes.T
    joined = coo_array((np.ones(graph.edges, dtype=np.int8), (a, b)), shape=(graph.nodes,) * 2)
    _, labels = connected_components(joined.tocsr(), directed=False)
    _, first, which = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[which]


def _along(graph: VesselGraph, edges: slice) -> dict[str, NDArray[np.float64]]:
    """Measure a run of edges by the steps along them."""
    offsets = graph.edge_offsets[edges.start : edges.stop + 1]
    radius = np.asarray(graph.point_radius_um[offsets[0] : offsets[-1]], dtype=np.float64)
    step = step_lengths_um(smoothed_points_um(graph, edges), offsets)
    # A step ends at every point but the first of its edge, and begins at every one but the last.
    begins, ends = (np.ones(len(radius), dtype=np.bool_) for _ in range(2))
    begins[offsets[1:] - offsets[0] - 1] = False
    ends[offsets[:-1] - offsets[0]] = False
    r, s = radius[begins], radius[ends]
    where = first_steps(offsets)

    def total(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.add.reduceat(values, where), dtype=np.float64)

    points = offsets[:-1] - offsets[0]
    length, weighted = total(step), total(step * (r + s) / 2)
    plain = np.add.reduceat(radius, points) / np.diff(offsets)
    low, high = np.minimum.reduceat(radius, points), np.maximum.reduceat(radius, points)
    with np.errstate(invalid="ignore"):
        mean = np.where(length > 0, weighted / length, plain)
    return {
        "length_um": length,
        "radius_mean_um": np.clip(mean, low, high),
        "radius_min_um": low,
        "radius_max_um": high,
        "volume_um3": total(np.pi / 3 * step * (r * r + r * s + s * s)),
        "surface_um2": total(np.pi * (r + s) * np.hypot(step, r - s)),
    }


def _chords(graph: VesselGraph, edges: slice) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the distance between the ends of each edge of a run, and its direction."""
    first, last = graph.edge_offsets[:-1][edges], graph.edge_offsets[1:][edges] - 1
    points = graph.point_position_um
    across = points[last].astype(np.float64) - points[first].astype(np.float64)
    chord = np.sqrt(np.square(across).sum(axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        direction = canonical(across / chord[:, None])
    direction[chord == 0] = np.nan
    return chord, direction


def canonical(directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return directions (n, 3) turned so that the first component that is not zero is positive."""
    z, y, x = directions.T
    leading = np.where(z != 0, z, np.where(y != 0, y, x))
    return np.asarray(directions * np.sign(leading)[:, None] + 0.0)  # + 0.0: no negative zeros
