"""The numbers of a whole volume that need its graph alone.

Radii and directions are weighted by length. Each point of a smoothed centreline stands for half of
the steps on both sides of it, each step for its own direction ``d_i`` (a unit vector)::

    radius mean      Σ w_p r_p / Σ w_p             w_p: half of the steps that meet at point p
    percentile q     the smallest radius r with Σ w_p [r_p ≤ r] ≥ q Σ w_p
    capillary share  Σ w_p [r_p < R] / Σ w_p       a share of the length, not of edges or volume
    loops            edges − nodes + components    the cyclomatic number
    orientation      T = Σ l_i d_i d_iᵀ / Σ l_i    with eigenvalues λ₁ ≥ λ₂ ≥ λ₃
    anisotropy       √(3/2) · √(Σ (λ − λ̄)²) / √(Σ λ²)

The last is the fractional anisotropy of Basser and Pierpaoli, *Microstructural and physiological
features of tissues elucidated by quantitative-diffusion-tensor MRI*, Journal of Magnetic Resonance
B 111 (1996), here of the orientation tensor: 0 if vessels run in all directions alike, 1 if they
all run along one line. That line is the principal direction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpbsd.errors import ConfigError
from vpbsd.graph.measures.edges import EdgeMeasures, canonical, measure_edges
from vpbsd.graph.measures.histogram import Histogram, histogram
from vpbsd.graph.measures.length import (
    edge_chunks,
    first_steps,
    smoothed_points_um,
    step_vectors_um,
)
from vpbsd.graph.vessel_graph import VesselGraph

__all__ = ["CAPILLARY_RADIUS_UM", "GraphSummary", "fractional_anisotropy", "summarise"]

CAPILLARY_RADIUS_UM = 5.0
"""Vessels of a smaller radius are capillaries, unless something else is said."""

FloatArray = NDArray[np.float64]

_MM_PER_UM = 1e-3
_MM3_PER_UM3 = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphSummary:
    """Numbers of a whole graph; None where there is nothing to measure.

    Attributes
    ----------
    length_mm
        Of all edges.
    length_density_mm_per_mm3, branch_points_per_mm3
        None where no volume was given.
    branch_points, free_ends, isolated_points
        Nodes of degree 3 and more, 1, and 0.
    nodes_by_degree
        How many nodes have each degree.
    radius_mean_um, radius_p10_um, radius_p50_um, radius_p90_um
        Weighted by length.
    capillary_length_share, capillary_radius_um
        Share of the length with a smaller radius than the second.
    tortuosity_mean
        Each edge that has a chord counts once.
    cone_volume_um3, cone_surface_um2
        Sums over edges; where vessels meet, they overlap, so that a mask's volume is smaller.
    anisotropy, principal_direction
        Of all steps; the direction is a unit vector (z, y, x).
    histograms
        By name: ``radius_um`` (µm of length), ``length_um`` and ``tortuosity`` (edges).
    """

    length_mm: float
    length_density_mm_per_mm3: float | None
    nodes: int
    edges: int
    branch_points: int
    branch_points_per_mm3: float | None
    free_ends: int
    isolated_points: int
    nodes_by_degree: dict[int, int]
    components: int
    loops: int
    edge_length_mean_um: float | None
    radius_mean_um: float | None
    radius_p10_um: float | None
    radius_p50_um: float | None
    radius_p90_um: float | None
    capillary_length_share: float | None
    capillary_radius_um: float
    tortuosity_mean: float | None
    cone_volume_um3: float
    cone_surface_um2: float
    anisotropy: float | None
    principal_direction: tuple[float, float, float] | None
    histograms: dict[str, Histogram]

    def as_measures(self) -> dict[str, float | int | None]:
        """Return the numbers by name, as JSON holds them, without what is not one number."""
        several = {"nodes_by_degree", "principal_direction", "histograms"}
        found = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in several}
        line = self.principal_direction or (None, None, None)
        found |= {f"principal_direction_{a}": v for a, v in zip("zyx", line, strict=True)}
        return found


def summarise(
    graph: VesselGraph,
    measures: EdgeMeasures | None = None,
    *,
    volume_um3: float | None = None,
    capillary_radius_um: float = CAPILLARY_RADIUS_UM,
) -> GraphSummary:
    """Sum up a graph; the points are read a few edges at a time.

    Percentiles and histogram of the radius are exact to a thousandth of a voxel.

    Parameters
    ----------
    graph
        What to sum up.
    measures
        Of this graph; computed if not given.
    volume_um3
        Of the tissue, for densities.
    capillary_radius_um
        Vessels of a smaller radius are capillaries.

    Raises
    ------
    ConfigError
        If the volume or the radius is not positive and finite.
    """
    _require(volume_um3, capillary_radius_um)
    measures = measures or measure_edges(graph)
    widest_um = float(measures.radius_max_um.max(initial=0.0))
    sums = _summed(graph, widest_um, capillary_radius_um)
    length_um = float(measures.length_um.sum())
    components = int(measures.node_component.max(initial=-1)) + 1
    bent = measures.tortuosity[np.isfinite(measures.tortuosity)]
    anisotropy, direction = _orientation(sums.tensor_um)
    return GraphSummary(
        length_mm=length_um * _MM_PER_UM,
        length_density_mm_per_mm3=_density(length_um * _MM_PER_UM, volume_um3),
        nodes=graph.nodes,
        edges=graph.edges,
        components=components,
        loops=graph.edges - graph.nodes + components,
        edge_length_mean_um=_mean(measures.length_um),
        capillary_radius_um=capillary_radius_um,
        tortuosity_mean=_mean(bent),
        cone_volume_um3=float(measures.volume_um3.sum()),
        cone_surface_um2=float(measures.surface_um2.sum()),
        anisotropy=anisotropy,
        principal_direction=direction,
        histograms={
            "radius_um": histogram(*sums.radii, weighted_by="length_um"),
            "length_um": histogram(measures.length_um),
            "tortuosity": histogram(bent, start=1.0),
        },
        **sums.numbers(),
        **_node_numbers(measures.node_degree, volume_um3),
    )


def _node_numbers(degree: NDArray[np.int64], volume_um3: float | None) -> dict[str, Any]:
    counts = dict(enumerate(np.bincount(degree).tolist()))
    branch_points = sum(n for ends, n in counts.items() if ends >= 3)
    return {
        "branch_points": branch_points,
        "branch_points_per_mm3": _density(branch_points, volume_um3),
        "free_ends": counts.get(1, 0),
        "isolated_points": counts.get(0, 0),
        "nodes_by_degree": {ends: n for ends, n in counts.items() if n},
    }


def fractional_anisotropy(tensor: NDArray[np.float64]) -> float:
    """Return the fractional anisotropy of a symmetric (3, 3) tensor, from 0 to 1."""
    values = np.linalg.eigvalsh(tensor)
    spread = np.square(values - values.mean()).sum()
    return float(min(1.0, math.sqrt(1.5 * spread / np.square(values).sum())))


@dataclass(slots=True)
class _Sums:
    """What is summed up along all edges, a run of edges at a time."""

    resolution_um: float
    capillary_radius_um: float
    tensor_um: NDArray[np.float64]
    by_radius_um: NDArray[np.float64]
    length_um: float = 0.0
    radius_um2: float = 0.0
    capillary_um: float = 0.0

    def add(self, steps: NDArray[np.float64], first: NDArray[np.int64], r: FloatArray) -> None:
        """Add the steps of some edges, where each edge's begin among them, and their radii."""
        length = np.sqrt(np.square(steps).sum(axis=1))
        moves = length > 0
        self.tensor_um += (steps[moves].T / length[moves]) @ steps[moves]
        before = np.insert(length, first, 0.0)
        after = np.insert(length, np.append(first[1:], len(length)), 0.0)
        weight = (before + after) / 2
        self.length_um += float(weight.sum())
        self.radius_um2 += float(weight @ r)
        self.capillary_um += float(weight[r < self.capillary_radius_um].sum())
        bins = np.rint(r / self.resolution_um).astype(np.int64)
        self.by_radius_um += np.bincount(bins, weight, minlength=len(self.by_radius_um))

    @property
    def radii(self) -> tuple[FloatArray, FloatArray]:
        """Radii that occur, rising, and the length at each."""
        bins = np.flatnonzero(self.by_radius_um)
        return np.asarray(bins * self.resolution_um, dtype=np.float64), self.by_radius_um[bins]

    def numbers(self) -> dict[str, Any]:
        """Return the numbers that are weighted by length."""
        total = self.length_um
        radius, weight = self.radii
        found: dict[str, float | None] = {
            f"radius_p{q}_um": _percentile(radius, weight, q / 100) for q in (10, 50, 90)
        }
        found["radius_mean_um"] = self.radius_um2 / total if total else None
        found["capillary_length_share"] = self.capillary_um / total if total else None
        return found


def _summed(graph: VesselGraph, widest_um: float, capillary_radius_um: float) -> _Sums:
    # Bins of a thousandth of a voxel, at most a million of them.
    resolution = max(min(graph.voxel_size.zyx_um) / 1000, widest_um / 1_000_000)
    bins = round(widest_um / resolution) + 2
    sums = _Sums(resolution, capillary_radius_um, np.zeros((3, 3)), np.zeros(bins))
    for edges in edge_chunks(graph):
        offsets = graph.edge_offsets[edges.start : edges.stop + 1]
        steps = step_vectors_um(smoothed_points_um(graph, edges), offsets)
        radius = np.asarray(graph.point_radius_um[offsets[0] : offsets[-1]], dtype=np.float64)
        sums.add(steps, first_steps(offsets), radius)
    return sums


def _orientation(
    tensor: NDArray[np.float64],
) -> tuple[float | None, tuple[float, float, float] | None]:
    if not tensor.any():
        return None, None
    tensor = tensor / np.trace(tensor)
    z, y, x = canonical(np.linalg.eigh(tensor).eigenvectors[:, -1][None])[0].tolist()
    return fractional_anisotropy(tensor), (z, y, x)


def _mean(values: FloatArray) -> float | None:
    return float(values.mean()) if len(values) else None


def _percentile(
    radius: NDArray[np.float64], weight: NDArray[np.float64], share: float
) -> float | None:
    below = np.cumsum(weight)
    if not len(below) or not below[-1]:
        return None
    # Sums of lengths carry rounding: what reaches the share but for that, reaches it.
    return float(radius[np.searchsorted(below, share * below[-1] * (1 - 1e-12))])


def _density(amount: float, volume_um3: float | None) -> float | None:
    return None if volume_um3 is None else amount / (volume_um3 * _MM3_PER_UM3)


def _require(volume_um3: float | None, capillary_radius_um: float) -> None:
    for name, value in (("volume", volume_um3), ("radius of capillaries", capillary_radius_um)):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise ConfigError(
                f"the {name} must be a positive number, in µm{'³' if name == 'volume' else ''}, "
                f"got {value}"
            )
