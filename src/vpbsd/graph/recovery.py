"""How much of an exact vessel network a graph has found.

::

    branch points   precision and recall of a one-to-one matching within the tolerance
    edges, by way   an exact edge is recovered if at least 80 % of its length lies within the
                    tolerance of the found centreline; a found one is right by the same rule
    edges, by ends  recovered by way, and a found edge joins the nodes matched to its two ends
    length          (found - exact) / exact, of all vessels together
    radius          found - exact, at points of the found centreline within the tolerance
    loops           edges - nodes + components (Euler), of both

Nodes are matched so that as many as possible have a partner, and then so that distances are least
(the assignment problem; Crouse, IEEE Trans. Aerosp. Electron. Syst. 52, 2016). Branch points are
matched among branch points; for the ends of edges, all nodes among all. Where several edges join
the same two nodes, each found one stands for one exact one.

Nodes of the exact network at which just two edges meet are no nodes of a graph: their edges are
taken as one. Centrelines are compared at points no farther apart than a quarter of the tolerance.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from vpbsd.data.simulate.network import VesselNetwork
from vpbsd.errors import ConfigError
from vpbsd.graph.cleaning.chains import join_chains
from vpbsd.graph.measures.edges import node_components
from vpbsd.graph.measures.length import smoothed_points_um
from vpbsd.graph.vessel_graph import VesselGraph

__all__ = ["RECOVERED_SHARE", "Recovery", "recovery"]

RECOVERED_SHARE = 0.8
"""Share of an edge's length that must be found for the edge to count as recovered."""

_STEPS_PER_TOLERANCE = 4

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """What was found of an exact network; shares are None where there is nothing to share.

    Attributes
    ----------
    tolerance_um
        Of all matches.
    exact_branch_points, found_branch_points, matched_branch_points
        Numbers of nodes of three or more edges, and of their matched pairs.
    exact_edges, found_edges
        Numbers, without nodes of two edges.
    exact_edges_by_way, exact_edges_by_ends, found_edges_by_way
        Exact edges recovered by way, and also by ends; found edges that are right.
    exact_length_um, found_length_um
        Of all centrelines.
    radius_error_um, radius_absolute_error_um, radius_relative_error
        Means of found - exact, of its size, and of its size over the exact radius, weighted by
        length.
    exact_loops, found_loops
        Independent loops.
    """

    tolerance_um: float
    exact_branch_points: int
    found_branch_points: int
    matched_branch_points: int
    exact_edges: int
    found_edges: int
    exact_edges_by_way: int
    exact_edges_by_ends: int
    found_edges_by_way: int
    exact_length_um: float
    found_length_um: float
    radius_error_um: float | None
    radius_absolute_error_um: float | None
    radius_relative_error: float | None
    exact_loops: int
    found_loops: int

    @property
    def branch_point_recall(self) -> float | None:
        """Share of the exact branch points that have a partner."""
        return _share(self.matched_branch_points, self.exact_branch_points)

    @property
    def branch_point_precision(self) -> float | None:
        """Share of the found branch points that have a partner."""
        return _share(self.matched_branch_points, self.found_branch_points)

    @property
    def edge_recall_by_way(self) -> float | None:
        """Share of the exact edges whose way is found."""
        return _share(self.exact_edges_by_way, self.exact_edges)

    @property
    def edge_recall_by_ends(self) -> float | None:
        """Share of the exact edges whose way is found and whose ends are joined."""
        return _share(self.exact_edges_by_ends, self.exact_edges)

    @property
    def edge_precision_by_way(self) -> float | None:
        """Share of the found edges that follow an exact one."""
        return _share(self.found_edges_by_way, self.found_edges)

    @property
    def length_error(self) -> float | None:
        """Length found too much, as a share of the exact one; negative where some is missing."""
        return _share(self.found_length_um - self.exact_length_um, self.exact_length_um)


def recovery(exact: VesselNetwork, found: VesselGraph, tolerance_um: float) -> Recovery:
    """Compare a found graph with the exact network of the same volume.

    Parameters
    ----------
    exact
        Positions from the centre of voxel (0, 0, 0), as simulated volumes have them.
    found
        Its graph.
    tolerance_um
        Nodes and centrelines no farther apart are the same.

    Raises
    ------
    ConfigError
        If the tolerance is not a positive number.
    """
    if not 0 < tolerance_um < math.inf:
        raise ConfigError(f"the tolerance is a positive number of µm, got {tolerance_um:g}")
    truth, graph = _simplified(_as_graph(exact, found)), _simplified(found)
    step_um = tolerance_um / _STEPS_PER_TOLERANCE
    lines = _Line.of(truth, truth.point_position_um.astype(np.float64), step_um)
    traced = _Line.of(graph, smoothed_points_um(graph, slice(0, graph.edges)), step_um)
    by_way = lines.followed(traced, tolerance_um) >= RECOVERED_SHARE
    right = traced.followed(lines, tolerance_um) >= RECOVERED_SHARE
    radius = _radius_errors(lines, traced, tolerance_um)
    partner = _partners(truth.node_position_um, graph.node_position_um, tolerance_um)
    branches, found_branches = truth.node_degree >= 3, graph.node_degree >= 3
    matched = _partners(
        truth.node_position_um[branches], graph.node_position_um[found_branches], tolerance_um
    )
    return Recovery(
        tolerance_um=tolerance_um,
        exact_branch_points=int(branches.sum()),
        found_branch_points=int(found_branches.sum()),
        matched_branch_points=int((matched >= 0).sum()),
        exact_edges=truth.edges,
        found_edges=graph.edges,
        exact_edges_by_way=int(by_way.sum()),
        exact_edges_by_ends=_joined(truth.edge_nodes[by_way], graph.edge_nodes, partner),
        found_edges_by_way=int(right.sum()),
        exact_length_um=float(lines.length_um.sum()),
        found_length_um=float(traced.length_um.sum()),
        radius_error_um=radius[0],
        radius_absolute_error_um=radius[1],
        radius_relative_error=radius[2],
        exact_loops=_loops(truth),
        found_loops=_loops(graph),
    )


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _as_graph(network: VesselNetwork, like: VesselGraph) -> VesselGraph:
    return VesselGraph(
        voxel_size=like.voxel_size,
        shape_voxels=like.shape_voxels,
        node_position_um=network.nodes_um.astype(np.float64),
        node_radius_um=np.zeros(len(network.nodes_um), np.float32),
        edge_nodes=network.edges.astype(np.int64),
        edge_offsets=network.offsets.astype(np.int64),
        point_position_um=network.points_um.astype(np.float32),
        point_radius_um=network.radii_um.astype(np.float32),
    )


def _simplified(graph: VesselGraph) -> VesselGraph:
    return join_chains(graph)[0]


def _loops(graph: VesselGraph) -> int:
    if not graph.nodes:
        return 0
    return graph.edges - graph.nodes + int(node_components(graph).max()) + 1


@dataclass(frozen=True, slots=True, eq=False)
class _Line:
    """Centrelines as points at equal steps along each edge: (S, 3) positions, (S,) the rest.

    Each point stands for ``weight_um`` of the length of its edge.
    """

    position_um: Floats
    radius_um: Floats
    edge: Ints
    weight_um: Floats
    length_um: Floats

    @classmethod
    def of(cls, graph: VesselGraph, points_um: Floats, step_um: float) -> _Line:
        """Return points in the middle of pieces that are no longer than ``step_um``."""
        edges = np.repeat(np.arange(graph.edges), np.diff(graph.edge_offsets))
        steps = np.linalg.norm(np.diff(points_um, axis=0), axis=1)
        steps[edges[1:] != edges[:-1]] = 0.0
        along = np.concatenate([[0.0], np.cumsum(steps)])[: len(points_um)]
        start, stop = along[graph.edge_offsets[:-1]], along[graph.edge_offsets[1:] - 1]
        pieces = np.maximum(1, np.ceil((stop - start) / step_um)).astype(np.int64)
        edge = np.repeat(np.arange(graph.edges), pieces)
        place = np.arange(len(edge)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        weight = ((stop - start) / pieces)[edge]
        at = start[edge] + (place + 0.5) * weight
        columns = [*points_um.T, graph.point_radius_um.astype(np.float64)]
        if len(edge):
            columns = [np.interp(at, along, c) for c in columns]
        return cls(np.stack(columns[:3], axis=1), columns[3], edge, weight, stop - start)

    def followed(self, other: _Line, tolerance_um: float) -> Floats:
        """Return the share of each edge's length that lies within the tolerance of ``other``."""
        near = _nearest(self.position_um, other.position_um, tolerance_um) >= 0
        counts = np.bincount(self.edge, minlength=len(self.length_um))
        return np.bincount(self.edge, near, minlength=len(self.length_um)) / np.maximum(counts, 1)


def _nearest(position_um: Floats, others_um: Floats, tolerance_um: float) -> Ints:
    """Return the nearest of the others within the tolerance of each position, -1 for none."""
    if not len(position_um) or not len(others_um):
        return np.full(len(position_um), -1, np.int64)
    distance, which = cKDTree(others_um).query(position_um, distance_upper_bound=tolerance_um)
    return np.where(np.isfinite(distance), which, -1).astype(np.int64)


def _radius_errors(
    exact: _Line, found: _Line, tolerance_um: float
) -> tuple[float | None, float | None, float | None]:
    """Return the mean error of the radius, of its size, and of its size over the radius."""
    nearest = _nearest(found.position_um, exact.position_um, tolerance_um)
    kept = nearest >= 0
    weight = found.weight_um[kept]
    if not weight.sum():
        return None, None, None
    true = exact.radius_um[nearest[kept]]
    error = found.radius_um[kept] - true
    means = [np.average(e, weights=weight) for e in (error, np.abs(error), np.abs(error) / true)]
    return float(means[0]), float(means[1]), float(means[2])


def _partners(first_um: Floats, second_um: Floats, tolerance_um: float) -> Ints:
    """Return the partner of each first position among the second, -1 for none.

    Positions farther apart than the tolerance have nothing to do with each other, so that the
    assignment is solved for each cluster of near ones by itself.
    """
    partner = np.full(len(first_um), -1, np.int64)
    if not len(first_um) or not len(second_um):
        return partner
    near = cKDTree(first_um).sparse_distance_matrix(
        cKDTree(second_um), tolerance_um, output_type="coo_matrix"
    )
    count = len(first_um) + len(second_um)
    links = coo_array(
        (np.ones(near.nnz, np.int8), (near.row, near.col + len(first_um))), shape=(count, count)
    )
    _, cluster = connected_components(links, directed=False)
    order = np.argsort(cluster[near.row], kind="stable")
    borders = np.flatnonzero(np.diff(cluster[near.row][order])) + 1
    for pairs in np.split(order, borders):
        if not len(pairs):
            continue
        rows, row = np.unique(near.row[pairs], return_inverse=True)
        columns, column = np.unique(near.col[pairs], return_inverse=True)
        # A missing pair costs more than all others together: none is left out to save distance.
        missing = tolerance_um * (min(len(rows), len(columns)) + 1)
        cost = np.full((len(rows), len(columns)), missing)
        cost[row, column] = near.data[pairs]
        a, b = linear_sum_assignment(cost)
        real = cost[a, b] < missing
        partner[rows[a[real]]] = columns[b[real]]
    return partner


def _joined(exact_ends: Ints, found_ends: Ints, partner: Ints) -> int:
    """Count exact edges whose partner nodes are joined, each found edge for one exact edge."""
    wanted = np.sort(partner[exact_ends], axis=1)
    wanted = wanted[wanted[:, 0] >= 0]
    exact = Counter(map(tuple, wanted.tolist()))
    found = Counter(map(tuple, np.sort(found_ends, axis=1).tolist()))
    return sum((exact & found).values())
