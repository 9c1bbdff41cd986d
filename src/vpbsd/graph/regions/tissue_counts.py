"""How many voxels a region has, how many are vessel, and how far the rest is from a vessel."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vpbsd.errors import DataError

__all__ = ["DistanceHistogram", "TissueCounts"]

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class DistanceHistogram:
    """Distances rounded to whole multiples of a bin, up to a limit.

    Attributes
    ----------
    counts
        (bins,) int64: how many distances are 0, 1, 2 … bins when rounded.
    beyond
        How many are longer than the limit.
    bin_um
        Width of a bin.
    """

    counts: Counts
    beyond: int
    bin_um: float

    @property
    def total(self) -> int:
        """Number of distances, beyond the limit or not."""
        return int(self.counts.sum()) + self.beyond

    @property
    def mean_um(self) -> float | None:
        """Mean of the distances up to the limit, to half a bin; None where there is none."""
        within = int(self.counts.sum())
        if not within:
            return None
        # Whole numbers to the last step, so that no order of summing can matter.
        return int(self.counts @ np.arange(len(self.counts))) / within * self.bin_um

    def percentile_um(self, percent: float) -> float | None:
        """Return the shortest distance that ``percent`` of all are not longer than, to half a bin.

        Distances beyond the limit count among all; None where the percentile is one of them, or
        there is no distance.
        """
        if not self.total:
            return None
        reached = np.cumsum(self.counts) * 100.0 >= percent * self.total
        return int(np.argmax(reached)) * self.bin_um if reached.any() else None

    @property
    def beyond_share(self) -> float | None:
        """Share of distances beyond the limit; None where there is no distance."""
        return self.beyond / self.total if self.total else None


@dataclass(frozen=True, slots=True, eq=False)
class TissueCounts:
    """Counts by region label, of a block or of the whole volume; those of blocks add up.

    Attributes
    ----------
    labels
        (R,) int64, ascending; 0 is what belongs to no region.
    voxels, vessel_voxels
        (R,) int64.
    distances
        (R, bins + 1) int64, of voxels that are no vessel: counts of the rounded distances, the
        last column those beyond the limit. No columns where distances were not asked for.
    bin_um
        Width of a bin.

    Raises
    ------
    DataError
        If the arrays do not fit together.
    """

    labels: Counts
    voxels: Counts
    vessel_voxels: Counts
    distances: Counts
    bin_um: float

    def __post_init__(self) -> None:
        regions = {len(self.labels), len(self.voxels), len(self.vessel_voxels), len(self.distances)}
        if len(regions) != 1 or self.distances.ndim != 2:
            raise DataError("counts of tissue need one row a region in every array")

    @classmethod
    def none(cls, columns: int, bin_um: float) -> TissueCounts:
        """Return the counts of nothing."""
        empty = np.zeros(0, np.int64)
        return cls(empty, empty, empty, np.zeros((0, columns), np.int64), bin_um)

    @classmethod
    def total(cls, parts: Iterable[TissueCounts], columns: int, bin_um: float) -> TissueCounts:
        """Return the sum over blocks; only one block and the sum are held at a time."""
        found = cls.none(columns, bin_um)
        for part in parts:
            found = found + part
        return found

    def __add__(self, other: TissueCounts) -> TissueCounts:
        """Return the counts of two disjoint parts together."""
        labels = np.union1d(self.labels, other.labels)
        mine, theirs = np.searchsorted(labels, self.labels), np.searchsorted(labels, other.labels)

        def summed(a: Counts, b: Counts) -> Counts:
            both = np.zeros((len(labels), *a.shape[1:]), np.int64)
            both[mine] += a
            both[theirs] += b
            return both

        return TissueCounts(
            labels,
            summed(self.voxels, other.voxels),
            summed(self.vessel_voxels, other.vessel_voxels),
            summed(self.distances, other.distances),
            self.bin_um,
        )

    def of(self, regions: Sequence[int] | None = None) -> tuple[int, int, DistanceHistogram | None]:
        """Return voxels, vessel voxels and distances of some regions together; by default of all.

        The distances are None where they were not asked for.
        """
        chosen = slice(None) if regions is None else np.isin(self.labels, np.asarray(regions))
        summed = self.distances[chosen].sum(axis=0)
        histogram = (
            DistanceHistogram(summed[:-1], int(summed[-1]), self.bin_um) if summed.size else None
        )
        return int(self.voxels[chosen].sum()), int(self.vessel_voxels[chosen].sum()), histogram
