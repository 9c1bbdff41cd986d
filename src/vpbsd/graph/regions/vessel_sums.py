"""Vessels by region: one that crosses a border counts on each side with the part that is there.

Along the smoothed centreline of an edge (`vpbsd.graph.measures.length`) every step from one point
to the next counts to the region of its middle, with its length ``l`` and its direction ``n``; half
of its length has the radius of the point where it begins, half that of the point where it ends::

    length       Σ l                       orientation tensor   Σ l n nᵀ
    radius       Σ l/2 for each radius, of both halves

An edge, as one, counts to the region where half of its length is reached; a node to the region it
lies in. Sums over regions are therefore those of the whole graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vpbsd.graph.measures.edges import canonical
from vpbsd.graph.measures.length import (
    edge_chunks,
    first_steps,
    smoothed_points_um,
    step_vectors_um,
)
from vpbsd.graph.measures.summary import fractional_anisotropy
from vpbsd.graph.regions.volume import RegionVolume
from vpbsd.graph.vessel_graph import VesselGraph

__all__ = ["VesselSum", "VesselSums", "sum_vessels"]

_PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
_NODES_AT_ONCE = 1 << 20

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class VesselSum:
    """What the vessels of one region, or of several together, sum up to.

    Attributes
    ----------
    length_um
        Σ l.
    tensor_um
        (3, 3): Σ l n nᵀ, along (z, y, x).
    radius_um, length_at_radius_um
        (K,) radii that occur, ascending, and the length that has each.
    edges, nodes, branch_points
        Numbers; branch points are nodes where three or more edges meet.
    """

    length_um: float
    tensor_um: Floats
    radius_um: Floats
    length_at_radius_um: Floats
    edges: int
    nodes: int
    branch_points: int

    @property
    def radius_mean_um(self) -> float | None:
        """Mean radius, weighted by length; None without vessels."""
        if not self.length_um:
            return None
        return float(np.average(self.radius_um, weights=self.length_at_radius_um))

    def radius_percentile_um(self, percent: float) -> float | None:
        """Return the smallest radius that ``percent`` of the length do not exceed."""
        if not self.length_um:
            return None
        reached = np.cumsum(self.length_at_radius_um)
        # Sums of lengths carry rounding: what reaches the share but for that, reaches it.
        at = int(np.searchsorted(reached, percent / 100 * reached[-1] * (1 - 1e-12)))
        return float(self.radius_um[at])

    def capillary_length_share(self, capillary_radius_um: float) -> float | None:
        """Return the share of the length with a smaller radius; None without vessels."""
        if not self.length_um:
            return None
        thin = self.radius_um < capillary_radius_um
        return float(np.average(thin, weights=self.length_at_radius_um))

    @property
    def orientation(self) -> tuple[float, Floats] | None:
        """Fractional anisotropy and principal direction, as in `vpbsd.graph.measures.summary`.

        None without vessels.
        """
        if not self.length_um:
            return None
        tensor = self.tensor_um / np.trace(self.tensor_um)
        direction = canonical(np.linalg.eigh(tensor).eigenvectors[:, -1][None])[0]
        return fractional_anisotropy(tensor), direction


@dataclass(frozen=True, slots=True, eq=False)
class VesselSums:
    """Sums by region label.

    Attributes
    ----------
    labels
        (R,) int64, ascending.
    sums
        (R, 7) float64: length, and six components of the tensor.
    counts
        (R, 3) int64: edges, nodes, branch points.
    radius_label
        (K,) int64, ascending: region of a radius.
    radius_um, radius_length_um
        (K,) float64: a radius that occurs there, ascending, and the length that has it.
    """

    labels: Ints
    sums: Floats
    counts: Ints
    radius_label: Ints
    radius_um: Floats
    radius_length_um: Floats

    def of(self, regions: Sequence[int] | None = None) -> VesselSum:
        """Return the sum over some regions; by default over all, with what is in none."""
        chosen = slice(None) if regions is None else np.isin(self.labels, np.asarray(regions))
        within = slice(None) if regions is None else np.isin(self.radius_label, np.asarray(regions))
        length, *parts = self.sums[chosen].sum(axis=0).tolist()
        tensor = np.empty((3, 3))
        for (a, b), part in zip(_PAIRS, parts, strict=True):
            tensor[a, b] = tensor[b, a] = part
        radius, where = np.unique(self.radius_um[within], return_inverse=True)
        edges, nodes, branch_points = self.counts[chosen].sum(axis=0).tolist()
        return VesselSum(
            length_um=length,
            tensor_um=tensor,
            radius_um=radius,
            length_at_radius_um=np.bincount(
                where, self.radius_length_um[within], minlength=len(radius)
            ).astype(np.float64),
            edges=edges,
            nodes=nodes,
            branch_points=branch_points,
        )


def sum_vessels(
    graph: VesselGraph,
    regions: RegionVolume | None = None,
    tissue: RegionVolume | None = None,
) -> VesselSums:
    """Sum the vessels of a graph by region; its points are read a few edges at a time.

    Parameters
    ----------
    graph
        Of the mask that the region volumes belong to.
    regions
        Labels; without, everything has label 0.
    tissue
        Nothing counts where it is 0.

    Raises
    ------
    DataError
        If the region volumes cannot be used as such.
    """
    found = _Sums()
    for edges in edge_chunks(graph):
        _add_edges(found, graph, edges, (regions, tissue))
    degree = graph.node_degree
    for first in range(0, graph.nodes, _NODES_AT_ONCE):
        some = slice(first, first + _NODES_AT_ONCE)
        labels, kept = _labels(graph.node_position_um[some], regions, tissue)
        found.count(labels[kept], 1)
        found.count(labels[kept & (degree[some] >= 3)], 2)
    return found.summed()


def _add_edges(
    found: _Sums,
    graph: VesselGraph,
    edges: slice,
    volumes: tuple[RegionVolume | None, RegionVolume | None],
) -> None:
    offsets = graph.edge_offsets[edges.start : edges.stop + 1]
    points = smoothed_points_um(graph, edges)
    radius = np.asarray(graph.point_radius_um[offsets[0] : offsets[-1]], np.float64)
    steps, first = step_vectors_um(points, offsets), first_steps(offsets)
    length = np.sqrt(np.square(steps).sum(axis=1))
    # A step begins at every point but the last of its edge.
    begin = np.flatnonzero(np.bincount(offsets[1:] - offsets[0] - 1, minlength=len(points)) == 0)
    labels, kept = _labels((points[begin] + points[begin + 1]) / 2, *volumes)
    middle = _middle_steps(length, first)
    found.count(labels[middle][kept[middle]], 0)
    kept &= length > 0
    labels, length, begin, steps = labels[kept], length[kept], begin[kept], steps[kept]
    tensor = [steps[:, a] * steps[:, b] / length for a, b in _PAIRS]
    found.add(labels, [length, *tensor])
    for point in (begin, begin + 1):
        found.add_radii(labels, radius[point], length / 2)


def _middle_steps(length: Floats, first: Ints) -> Ints:
    """Return the step of each edge within which half of its length is reached."""
    before = np.concatenate([[0.0], np.cumsum(length)])
    stop = np.append(first[1:], len(length))
    half = (before[first] + before[stop]) / 2
    step = np.searchsorted(before, half, side="right") - 1
    return np.asarray(np.clip(step, first, stop - 1))


def _labels(
    position_um: NDArray[np.float64], regions: RegionVolume | None, tissue: RegionVolume | None
) -> tuple[Ints, NDArray[np.bool_]]:
    """Return the label of each position, and whether it counts."""
    count = len(position_um)
    labels = np.zeros(count, np.int64) if regions is None else regions.at(position_um)
    kept = np.ones(count, np.bool_) if tissue is None else tissue.at(position_um) > 0
    return labels, kept


class _Sums:
    """Sums that grow; regions are found as they come."""

    def __init__(self) -> None:
        self._sums: dict[int, Floats] = {}
        self._counts: dict[int, Ints] = {}
        self._radii: list[tuple[Ints, Floats, Floats]] = []

    def add(self, labels: Ints, columns: Sequence[Floats]) -> None:
        """Add each column's sums."""
        which, where = np.unique(labels, return_inverse=True)
        sums = np.stack([np.bincount(where, c, minlength=len(which)) for c in columns], axis=1)
        for label, row in zip(which.tolist(), sums, strict=True):
            self._sums[label] = self._sums.get(label, 0.0) + row

    def count(self, labels: Ints, column: int) -> None:
        """Count labels: 0 edges, 1 nodes, 2 branch points."""
        which, times = np.unique(labels, return_counts=True)
        for label, number in zip(which.tolist(), times.tolist(), strict=True):
            self._counts.setdefault(label, np.zeros(3, np.int64))[column] += number

    def add_radii(self, labels: Ints, radius: Floats, length: Floats) -> None:
        """Add the length that has each radius."""
        self._radii.append(_merged(labels, radius, length))
        if len(self._radii) > 64:
            self._radii = [self._all_radii()]

    def _all_radii(self) -> tuple[Ints, Floats, Floats]:
        if not self._radii:
            return np.zeros(0, np.int64), np.zeros(0), np.zeros(0)
        labels, radius, length = (np.concatenate(c) for c in zip(*self._radii, strict=True))
        return _merged(labels, radius, length)

    def summed(self) -> VesselSums:
        """Return what was added."""
        labels = sorted(self._sums.keys() | self._counts.keys())
        nothing, none = np.zeros(7), np.zeros(3, np.int64)
        return VesselSums(
            np.asarray(labels, np.int64),
            np.asarray([self._sums.get(k, nothing) for k in labels]).reshape(-1, 7),
            np.asarray([self._counts.get(k, none) for k in labels], np.int64).reshape(-1, 3),
            *self._all_radii(),
        )


def _merged(labels: Ints, radius: Floats, length: Floats) -> tuple[Ints, Floats, Floats]:
    """Sum the lengths of equal pairs of label and radius.

    Radii from a distance transform take few values, so that few pairs are left.
    """
    order = np.lexsort((radius, labels))
    labels, radius, length = labels[order], radius[order], length[order]
    new = np.ones(len(labels), np.bool_)
    new[1:] = (np.diff(labels) != 0) | (np.diff(radius) != 0)
    starts = np.flatnonzero(new)
    if not len(starts):
        return labels, radius, length
    return labels[starts], radius[starts], np.add.reduceat(length, starts)
