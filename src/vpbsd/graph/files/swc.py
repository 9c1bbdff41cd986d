"""A vessel graph as SWC, the line-by-line format of neuron tracings.

Every line is a point: ``number type x y z radius parent``, in µm, the parent before its children
and -1 for a root (Cannon et al., *An on-line archive of reconstructed hippocampal neurons*, Journal
of Neuroscience Methods 84, 1998). A point has one parent, so that the file holds a forest, and
loops must be cut: of each loop the thinnest vessel is let go at one end, where its last point
lies on its node without being joined to it. No length is lost; what is lost is counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from vpbsd.graph.files.whole import written_whole
from vpbsd.graph.measures.edges import EdgeMeasures, measure_edges
from vpbsd.graph.measures.length import smoothed_points_um
from vpbsd.graph.vessel_graph import VesselGraph

__all__ = ["write_swc"]

_UNDEFINED = 0  # the type: no part of a neuron


def write_swc(
    graph: VesselGraph,
    path: Path,
    measures: EdgeMeasures | None = None,
    *,
    smooth: bool = True,
) -> int:
    """Write a forest of all vessels, and return how many edges had to be cut for it.

    The first node of each component is its root. An isolated point is a root without children.

    Parameters
    ----------
    graph
        What to write.
    path
        Named ``.swc``; replaced if it is there.
    measures
        Of this graph; computed if not given.
    smooth
        Write the smoothed centrelines, whose lengths are the measured ones, not the staircases of
        voxel centres.

    Raises
    ------
    OutputError
        If the file cannot be written; an earlier one stays as it was then.
    """
    measures = measures or measure_edges(graph)
    in_forest = _forest(graph, measures.radius_mean_um)
    cut = np.flatnonzero(~in_forest)
    with written_whole(path) as partial, partial.open("w", encoding="ascii") as file:
        file.write(_header(graph, measures, len(cut)))
        lines = _Lines(graph, file, smooth)
        for edge, start in _from_roots(graph, in_forest):
            lines.write_edge(edge, start)
        for edge in cut.tolist():
            lines.write_edge(edge, int(graph.edge_nodes[edge, 0]), joined=False)
    return len(cut)


def _header(graph: VesselGraph, measures: EdgeMeasures, cut: int) -> str:
    z, y, x = graph.voxel_size.zyx_um
    components = int(measures.node_component.max(initial=-1)) + 1
    return (
        "# vessels as a forest; coordinates and radii in micrometres\n"
        f"# voxel size (x y z): {x:g} {y:g} {z:g} um\n"
        f"# components: {components}\n"
        f"# edges: {graph.edges}\n"
        f"# edges cut to open loops: {cut}\n"
        "# id type x y z radius parent\n"
    )


def _forest(graph: VesselGraph, radius_um: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which edges make up the spanning forest of the widest vessels, (E,).

    Kruskal (1956): the widest edge first, left out where it would close a loop.
    """
    leader = list(range(graph.nodes))

    def led_by(node: int) -> int:
        while leader[node] != node:
            leader[node] = leader[leader[node]]
            node = leader[node]
        return node

    ends = graph.edge_nodes.tolist()
    kept = np.zeros(graph.edges, dtype=np.bool_)
    for edge in np.argsort(-radius_um, kind="stable").tolist():
        a, b = (led_by(node) for node in ends[edge])
        if a != b:
            leader[max(a, b)] = min(a, b)
            kept[edge] = True
    return kept


def _from_roots(graph: VesselGraph, in_forest: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Yield pairs of an edge and the node to start from, each node's way before its branches.

    A root comes as the edge -1 and itself.
    """
    ends = graph.edge_nodes
    halves = np.flatnonzero(np.repeat(in_forest, 2))
    order = halves[np.argsort(ends.ravel()[halves], kind="stable")]
    first = np.searchsorted(ends.ravel()[order], np.arange(graph.nodes + 1)).tolist()
    edges_at, others = (order >> 1).tolist(), ends.ravel()[order ^ 1].tolist()
    seen = np.zeros(graph.nodes, dtype=np.bool_)
    for root in range(graph.nodes):
        if seen[root]:
            continue
        seen[root] = True
        yield -1, root
        waiting = [root]
        while waiting:
            node = waiting.pop()
            for i in range(first[node], first[node + 1]):
                if not seen[others[i]]:
                    seen[others[i]] = True
                    yield edges_at[i], node
                    waiting.append(others[i])


@dataclass(slots=True)
class _Lines:
    """Writes points one after the other and knows the number of each node."""

    graph: VesselGraph
    file: TextIO
    smooth: bool
    written: int = 0
    number_of: dict[int, int] = field(default_factory=dict)

    def write_edge(self, edge: int, start: int, joined: bool = True) -> None:
        """Write an edge from its node ``start`` on; a root if the edge is -1."""
        graph = self.graph
        if edge < 0:
            radius = float(graph.node_radius_um[start])
            self._write(graph.node_position_um[start][None], [radius], -1)
            self.number_of[start] = self.written
            return
        a, b = graph.edge_nodes[edge].tolist()
        at = graph.points(edge)
        one = slice(edge, edge + 1)
        points = smoothed_points_um(graph, one) if self.smooth else graph.point_position_um[at]
        radii = graph.point_radius_um[at]
        if start != a:
            points, radii = points[::-1], radii[::-1]
        self._write(points[1:], radii[1:].tolist(), self.number_of[start])
        if joined:
            self.number_of[a if start != a else b] = self.written

    def _write(self, points: NDArray[np.floating], radii: list[float], parent: int) -> None:
        lines = []
        for (z, y, x), radius in zip(points.tolist(), radii, strict=True):
            self.written += 1
            lines.append(
                f"{self.written} {_UNDEFINED} {x:.8g} {y:.8g} {z:.8g} {radius:.6g} {parent}\n"
            )
            parent = self.written
        self.file.write("".join(lines))
