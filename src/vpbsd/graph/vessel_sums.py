"""Vessels by region: one that crosses a border counts on each side with the part that is there.

Along the smoothed centreline of an edge (`vpbsd.graph.length`) every step from one point to the
next counts to the region of its middle, with its length ``l``, the mean ``r`` of the radii at its
ends and its direction ``n``::

    length       Σ l                       orientation tensor   Σ l n nᵀ
    radius       Σ l r, and Σ l for each radius rounded to 0.01 µm

An edge, as one, counts to the region where half of its length is reached; a node to the region it
lies in. Sums over regions are therefore those of the whole graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vpbsd.graph.length import edge_chunks, first_steps, smoothed_points_um, step_lengths_um
from vpbsd.graph.regions import RegionVolume
from vpbsd.graph.vessel_graph import VesselGraph

__all__ = ["RADIUS_BIN_UM", "VesselSum", "VesselSums", "sum_vessels"]

RADIUS_BIN_UM = 0.01
"""Radii are rounded to this for percentiles."""

_PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
_NODES_AT_ONCE = 1 << 20

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class VesselSum:
    """What the vessels of one region, or of several together, sum up to.

    Attributes
    ----------
    length_um, radius_length_um2, capillary_length_um
        Σ l, Σ l r, and Σ l where r is below the radius of capillaries.
    tensor_um
        (3, 3): Σ l n nᵀ, along (z, y, x).
    radius_um, length_at_radius_um
        (K,) rounded radii, ascending, and the length that has each.
    edges, nodes, branch_points
        Numbers; branch points are nodes where three or more edges meet.
    """

    length_um: float
    radius_length_um2: float
    capillary_length_um: float
    tensor_um: Floats
    radius_um: Floats
    length_at_radius_um: Floats
    edges: int
    nodes: int
    branch_points: int

    @property
    def radius_mean_um(self) -> float | None:
        """Mean radius, weighted by length; None without vessels."""
        return self.radius_length_um2 / self.length_um if self.length_um else None

    def radius_percentile_um(self, percent: float) -> float | None:
        """Return the smallest radius that ``percent`` of the length do not exceed, to 0.005 µm."""
        if not self.length_um:
            return None
        reached = np.cumsum(self.length_at_radius_um)
        # The last sum must be reached whatever the rounding of sums.
        at = int(np.searchsorted(reached, percent / 100 * reached[-1] * (1 - 1e-12)))
        return float(self.radius_um[at])

    @property
    def capillary_length_share(self) -> float | None:
        """Share of the length that is capillary; None without vessels."""
        return self.capillary_length_um / self.length_um if self.length_um else None

    @property
    def orientation(self) -> tuple[float, Floats] | None:
        """Fractional anisotropy and principal direction; None without vessels.

        Of the orientation tensor T with eigenvalues λ and their mean λ̄ (Basser and Pierpaoli,
        J. Magn. Reson. B 111, 1996)::

            FA = √(3/2) · √Σ (λ - λ̄)² / √Σ λ²       0: no direction is preferred, 1: all parallel

        The direction is the eigenvector of the largest eigenvalue, as a unit vector (z, y, x)
        whose first component that is not zero is positive.
        """
        if not self.length_um:
            return None
        values, vectors = np.linalg.eigh(self.tensor_um / self.length_um)
        spread = np.sqrt(1.5 * np.sum((values - values.mean()) ** 2) / np.sum(values**2))
        direction = vectors[:, -1]
        leading = direction[np.flatnonzero(np.abs(direction) > 1e-12)[0]]
        return float(min(spread, 1.0)), direction * np.sign(leading) + 0.0


@dataclass(frozen=True, slots=True, eq=False)
class VesselSums:
    """Sums by region label.

    Attributes
    ----------
    labels
        (R,) int64, ascending.
    sums
        (R, 9) float64: length, Σ l r, capillary length, and six components of the tensor.
    counts
        (R, 3) int64: edges, nodes, branch points.
    radius_label, radius_bin
        (K,) int64: region and rounded radius, in bins.
    radius_length_um
        (K,) float64: the length of vessels of this radius in this region.
    """

    labels: Ints
    sums: Floats
    counts: Ints
    radius_label: Ints
    radius_bin: Ints
    radius_length_um: Floats

    def of(self, regions: Sequence[int] | None = None) -> VesselSum:
        """Return the sum over some regions; by default over all, with what is in none."""
        chosen = slice(None) if regions is None else np.isin(self.labels, np.asarray(regions))
        within = slice(None) if regions is None else np.isin(self.radius_label, np.asarray(regions))
        length, radius_length, capillary, *parts = self.sums[chosen].sum(axis=0).tolist()
        tensor = np.empty((3, 3))
        for (a, b), part in zip(_PAIRS, parts, strict=True):
            tensor[a, b] = tensor[b, a] = part
        bins, where = np.unique(self.radius_bin[within], return_inverse=True)
        edges, nodes, branch_points = self.counts[chosen].sum(axis=0).tolist()
        return VesselSum(
            length_um=length,
            radius_length_um2=radius_length,
            capillary_length_um=capillary,
            tensor_um=tensor,
            radius_um=np.asarray(bins * RADIUS_BIN_UM, np.float64),
            length_at_radius_um=np.asarray(
                np.bincount(where, self.radius_length_um[within], minlength=len(bins)), np.float64
            ),
            edges=edges,
            nodes=nodes,
            branch_points=branch_points,
        )


def sum_vessels(
    graph: VesselGraph,
    capillary_radius_um: float,
    regions: RegionVolume | None = None,
    tissue: RegionVolume | None = None,
) -> VesselSums:
    """Sum the vessels of a graph by region; its points are read a few edges at a time.

    Parameters
    ----------
    graph
        Of the mask that the region volumes belong to.
    capillary_radius_um
        Vessels of a smaller radius are capillaries.
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
        _add_edges(found, graph, edges, capillary_radius_um, (regions, tissue))
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
    capillary_radius_um: float,
    volumes: tuple[RegionVolume | None, RegionVolume | None],
) -> None:
    offsets = graph.edge_offsets[edges.start : edges.stop + 1]
    points = smoothed_points_um(graph, edges)
    radius = np.asarray(graph.point_radius_um[offsets[0] : offsets[-1]], np.float64)
    length, first = step_lengths_um(points, offsets), first_steps(offsets)
    # A step begins at every point but the last of its edge.
    begin = np.flatnonzero(np.bincount(offsets[1:] - offsets[0] - 1, minlength=len(points)) == 0)
    labels, kept = _labels((points[begin] + points[begin + 1]) / 2, *volumes)
    middle = _middle_steps(length, first)
    found.count(labels[middle][kept[middle]], 0)
    labels, length, begin = labels[kept], length[kept], begin[kept]
    across = points[begin + 1] - points[begin]
    with np.errstate(invalid="ignore", divide="ignore"):
        direction = np.where(length[:, None] > 0, across / length[:, None], 0.0)
    mean_radius = (radius[begin] + radius[begin + 1]) / 2
    columns = [length, length * mean_radius, length * (mean_radius < capillary_radius_um)]
    columns += [length * direction[:, a] * direction[:, b] for a, b in _PAIRS]
    found.add(labels, columns)
    found.add_radii(labels, np.rint(mean_radius / RADIUS_BIN_UM).astype(np.int64), length)


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
        self._radii: list[tuple[Ints, Ints, Floats]] = []

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

    def add_radii(self, labels: Ints, bins: Ints, length: Floats) -> None:
        """Add the length of each rounded radius."""
        self._radii.append(_merged(labels, bins, length))
        if len(self._radii) > 64:
            self._radii = [self._all_radii()]

    def _all_radii(self) -> tuple[Ints, Ints, Floats]:
        if not self._radii:
            return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
        labels, bins, length = (np.concatenate(c) for c in zip(*self._radii, strict=True))
        return _merged(labels, bins, length)

    def summed(self) -> VesselSums:
        """Return what was added."""
        labels = sorted(self._sums.keys() | self._counts.keys())
        nothing, none = np.zeros(9), np.zeros(3, np.int64)
        return VesselSums(
            np.asarray(labels, np.int64),
            np.asarray([self._sums.get(k, nothing) for k in labels]).reshape(-1, 9),
            np.asarray([self._counts.get(k, none) for k in labels], np.int64).reshape(-1, 3),
            *self._all_radii(),
        )


def _merged(labels: Ints, bins: Ints, length: Floats) -> tuple[Ints, Ints, Floats]:
    """Sum the lengths of equal pairs of label and bin."""
    order = np.lexsort((bins, labels))
    labels, bins, length = labels[order], bins[order], length[order]
    new = np.ones(len(labels), np.bool_)
    new[1:] = (np.diff(labels) != 0) | (np.diff(bins) != 0)
    starts = np.flatnonzero(new)
    if not len(starts):
        return labels, bins, length
    return labels[starts], bins[starts], np.add.reduceat(length, starts)
