"""Distances as counted values, so that those of many blocks add up to those of the volume."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["DistanceCounts"]


@dataclass(frozen=True, slots=True, eq=False)
class DistanceCounts:
    """How often each distance occurs, up to a cut-off.

    On a grid few distances are possible, so that the counts are far shorter than the list.
    """

    values: NDArray[np.float64]
    """(n,), ascending, none twice."""

    counts: NDArray[np.int64]
    """(n,)"""

    beyond: int
    """Distances longer than the cut-off, infinite ones included."""

    @classmethod
    def of(cls, distances: NDArray[Any], cutoff: float = math.inf) -> DistanceCounts:
        """Count ``distances`` (n,); those longer than ``cutoff`` or infinite only as beyond it."""
        kept = distances[(distances <= cutoff) & np.isfinite(distances)]
        values, counts = np.unique(kept, return_counts=True)
        return cls(
            values.astype(np.float64), counts.astype(np.int64), int(distances.size - kept.size)
        )

    def __add__(self, other: DistanceCounts) -> DistanceCounts:
        """Pool the distances of two disjoint blocks, counted with one cut-off."""
        values, place = np.unique(np.concatenate([self.values, other.values]), return_inverse=True)
        counts = np.zeros(values.size, np.int64)
        np.add.at(counts, place, np.concatenate([self.counts, other.counts]))
        return DistanceCounts(values, counts, self.beyond + other.beyond)

    @property
    def total(self) -> int:
        """Number of distances, beyond the cut-off or not."""
        return int(self.counts.sum()) + self.beyond

    @property
    def sum_within(self) -> float:
        """Sum of the distances up to the cut-off."""
        return math.fsum(self.values * self.counts)

    def percentile(self, percent: float) -> float | None:
        """Return a percentile, interpolated linearly between neighbours as NumPy does.

        None where there is no distance, or it lies beyond the cut-off.
        """
        if not self.total:
            return None
        position = (self.total - 1) * percent / 100
        low, high = self._ranked(math.floor(position)), self._ranked(math.ceil(position))
        if low is None or high is None:
            return None
        return low + (high - low) * (position - math.floor(position))

    def _ranked(self, rank: int) -> float | None:
        """Return the distance that has ``rank`` shorter or equal ones before it."""
        index = int(np.searchsorted(np.cumsum(self.counts), rank, side="right"))
        return float(self.values[index]) if index < self.values.size else None

    def to_dict(self) -> dict[str, Any]:
        """Return values and counts, fit for JSON."""
        return {
            "values": self.values.tolist(),
            "counts": self.counts.tolist(),
            "beyond": self.beyond,
        }

    @classmethod
    def from_dict(cls, noted: Mapping[str, Any]) -> DistanceCounts:
        """Return what `to_dict` noted."""
        return cls(
            np.asarray(noted["values"], np.float64),
            np.asarray(noted["counts"], np.int64),
            int(noted["beyond"]),
        )
