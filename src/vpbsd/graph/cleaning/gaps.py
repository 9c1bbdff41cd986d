"""Close gaps: free ends that face each other across a short distance become one vessel.

Two free ends A and B, whose vessels leave them in the directions ``u_A`` and ``u_B``, are joined
where::

    |B − A| ≤ longest      ∠(u_A, B − A) ≤ largest angle      ∠(u_B, A − B) ≤ largest angle

The direction at an end is the chord of the last stretch of the smoothed centreline. The nearest
pair is joined first, and each end once, so that the result depends neither on the order of edges
nor on which of two ends is looked at. The two ends of one edge are never joined to each other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from vpbsd.errors import ConfigError
from vpbsd.graph.cleaning.rewire import dissolve_chains, in_order, with_lines
from vpbsd.graph.cleaning.step import CleaningStep
from vpbsd.graph.measures.length import edge_chunks, smoothed_points_um
from vpbsd.graph.vessel_graph import VesselGraph

__all__ = ["close_gaps"]

_STRETCH_VOXELS = 5
"""The direction at an end is taken over so many voxels of the coarsest axis, plus the radius."""


def close_gaps(
    graph: VesselGraph, longest_um: float, largest_angle_degrees: float = 30.0
) -> tuple[VesselGraph, CleaningStep]:
    """Return the graph with bridges between free ends that face each other, and what was done.

    A bridge is straight, its radius goes evenly from that of one end to that of the other, and it
    becomes one edge with the two that it joins. Each is listed in the details of the step.

    Parameters
    ----------
    graph
        Left as it is.
    longest_um
        Ends that are further apart stay free.
    largest_angle_degrees
        Between a bridge and the directions in which the two vessels end.

    Raises
    ------
    ConfigError
        If the length is not positive and finite, or the angle not between 0 and 90 degrees.
    """
    if not (math.isfinite(longest_um) and longest_um > 0):
        raise ConfigError(
            f"the longest gap to close must be a positive number of µm, got {longest_um}; leave it "
            "out to close none"
        )
    if not 0 <= largest_angle_degrees <= 90:
        raise ConfigError(
            "the largest angle of a bridge must lie between 0 and 90 degrees, got "
            f"{largest_angle_degrees}; ends that face away from each other are not joined"
        )
    graph = in_order(graph)
    pairs, distance, angle = _facing(graph, longest_um, math.radians(largest_angle_degrees))
    chosen = _each_once(pairs, distance)
    pairs, distance, angle = pairs[chosen], distance[chosen], angle[chosen]
    lines = [_bridge(graph, a, b) for a, b in pairs.tolist()]
    details = [
        _detail(graph, pair, d, a) for pair, d, a in zip(pairs, distance, angle, strict=True)
    ]
    joined, dissolved = dissolve_chains(with_lines(graph, pairs, lines))
    return joined, CleaningStep(
        step="gaps",
        settings={"longest_um": longest_um, "largest_angle_degrees": largest_angle_degrees},
        edges_added=len(lines),
        length_added_um=float(distance.sum()),
        nodes_dissolved=dissolved,
        details=tuple(details),
    )


def _facing(
    graph: VesselGraph, longest_um: float, largest_angle: float
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return pairs of nodes that may be joined, (n, 2), their distances, and the larger angles."""
    ends, edges, out = _free_ends(graph)
    where = graph.node_position_um[ends]
    near = cKDTree(where).query_pairs(longest_um, output_type="ndarray") if len(ends) else []
    near = np.asarray(near, dtype=np.int64).reshape(-1, 2)
    near = near[edges[near[:, 0]] != edges[near[:, 1]]]
    across = where[near[:, 1]] - where[near[:, 0]]
    distance = np.sqrt(np.square(across).sum(axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        along = across / distance[:, None]
    forth = np.arccos(np.clip((out[near[:, 0]] * along).sum(axis=1), -1, 1))
    back = np.arccos(np.clip(-(out[near[:, 1]] * along).sum(axis=1), -1, 1))
    angle = np.maximum(forth, back)
    # Rounding must not tell apart ends that lie on one line. Where there is no angle, there is no
    # direction to face.
    facing = angle <= largest_angle + 1e-6
    return ends[near[facing]], distance[facing], angle[facing]


def _free_ends(
    graph: VesselGraph,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return free ends in the order of nodes, the edge of each, and its direction outwards."""
    free = graph.node_degree == 1
    edge_of = np.full(graph.nodes, -1, dtype=np.int64)
    out = np.zeros((graph.nodes, 3))
    coarsest = max(graph.voxel_size.zyx_um)
    for run in edge_chunks(graph):
        points = smoothed_points_um(graph, run)
        begin = int(graph.edge_offsets[run.start])
        for side in range(2):
            nodes = graph.edge_nodes[run, side]
            for i in np.flatnonzero(free[nodes]).tolist():
                edge, node = run.start + i, int(nodes[i])
                own = graph.points(edge)
                line = points[own.start - begin : own.stop - begin][:: 1 if side == 0 else -1]
                stretch = _STRETCH_VOXELS * coarsest + float(graph.node_radius_um[node])
                edge_of[node], out[node] = edge, _outwards(line, stretch)
    ends = np.flatnonzero(free)
    return ends, edge_of[ends], out[ends]


def _outwards(line: NDArray[np.float64], stretch_um: float) -> NDArray[np.float64]:
    """Return the unit vector in which a line ends at its first point; NaN for a line in place."""
    arc = np.cumsum(np.sqrt(np.square(np.diff(line, axis=0)).sum(axis=1)))
    inner = min(int(np.searchsorted(arc, stretch_um)) + 1, len(line) - 1)
    chord = line[0] - line[inner]
    length = float(np.sqrt(np.square(chord).sum()))
    return np.asarray(chord / length if length else np.full(3, np.nan))


def _each_once(pairs: NDArray[np.int64], distance: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return which pairs to join: the nearest first, each end once, ties in the order of nodes."""
    low, high = pairs.min(axis=1, initial=1 << 62), pairs.max(axis=1, initial=-1)
    taken: set[int] = set()
    chosen = []
    for i in np.lexsort([high, low, distance]).tolist():
        a, b = pairs[i].tolist()
        if a not in taken and b not in taken:
            taken.update((a, b))
            chosen.append(i)
    return np.array(chosen, dtype=np.int64)


def _bridge(graph: VesselGraph, a: int, b: int) -> NDArray[np.float64]:
    """Return a straight line between two nodes, its steps no longer than the finest voxel."""
    start, stop = (
        np.array([*graph.node_position_um[n], graph.node_radius_um[n]], dtype=np.float64)
        for n in (a, b)
    )
    length = float(np.sqrt(np.square((stop - start)[:3]).sum()))
    steps = max(1, math.ceil(length / min(graph.voxel_size.zyx_um)))
    return np.asarray(np.linspace(start, stop, steps + 1), dtype=np.float64)


def _detail(
    graph: VesselGraph, pair: NDArray[np.int64], distance: float, angle: float
) -> Mapping[str, Any]:
    a, b = sorted(pair.tolist())
    return {
        "from_um": graph.node_position_um[a].tolist(),
        "to_um": graph.node_position_um[b].tolist(),
        "length_um": float(distance),
        "angle_degrees": math.degrees(angle),
    }
