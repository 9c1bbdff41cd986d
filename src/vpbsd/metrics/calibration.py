"""Whether a probability of 0.8 is right four times in five: calibration of a volume.

Voxels are sorted into bins b of equal width by their probability p; y is 1 in vessels and 0
outside, N the number of voxels, n_b those of a bin::

    ECE   = Σ_b n_b / N · | mean_b(y) - mean_b(p) |      Naeini, Cooper and Hauskrecht (2015)
    Brier = mean (p - y)²                                Brier (1950)

The probability of "vessel" is what is calibrated, not that of the likelier class. Most voxels of a
volume are easy background and pull both numbers towards 0: compare methods on the same voxels only,
and give ``within`` where the void is large.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpbsd.errors import ConfigError, DataError
from vpbsd.metrics.masks import as_mask
from vpbsd.metrics.probabilities import require_probabilities

__all__ = ["CALIBRATION_BINS", "Calibration", "ReliabilityBin", "calibration"]

CALIBRATION_BINS = 15
"""Bins of equal width, as in Guo, Pleiss, Sun and Weinberger (2017)."""

_SLAB_VOXELS = 1 << 22


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """One point of the reliability curve."""

    low: float
    high: float
    """Probabilities of the bin are below this, in the last bin at most this."""

    voxels: int
    probability: float | None
    """Mean probability of its voxels; None without any."""

    vessel_share: float | None
    """Share of its voxels that are vessel; None without any."""


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """Counts from which calibration follows; the sum of two is that of both volumes together."""

    voxels: NDArray[np.int64]
    """Voxels in each bin, (bins,)."""

    probability: NDArray[np.float64]
    """Sum of their probabilities, (bins,)."""

    vessels: NDArray[np.int64]
    """Those of them that are vessel, (bins,)."""

    squares: float
    """Sum of (p - y)² over all voxels."""

    def __add__(self, other: Calibration) -> Calibration:
        """Pool two disjoint blocks or volumes.

        Raises
        ------
        ConfigError
            If they were counted with different numbers of bins.
        """
        if self.voxels.size != other.voxels.size:
            raise ConfigError(
                f"calibrations of {self.voxels.size} and {other.voxels.size} bins cannot be "
                "pooled: count both with one number of bins"
            )
        return Calibration(
            self.voxels + other.voxels,
            self.probability + other.probability,
            self.vessels + other.vessels,
            self.squares + other.squares,
        )

    @property
    def total_voxels(self) -> int:
        """Voxels in all bins."""
        return int(self.voxels.sum())

    @property
    def expected_calibration_error(self) -> float:
        """Mean distance of the reliability curve from the diagonal, weighed by voxels; 0 best."""
        return float(np.abs(self.vessels - self.probability).sum() / self.total_voxels)

    @property
    def brier(self) -> float:
        """Mean squared difference of probability and truth; 0 is best."""
        return self.squares / self.total_voxels

    def curve(self) -> list[ReliabilityBin]:
        """Return the reliability curve, from low to high probabilities."""
        edges = np.linspace(0, 1, self.voxels.size + 1).tolist()
        return [
            ReliabilityBin(
                low,
                high,
                int(n),
                float(p / n) if n else None,
                float(y / n) if n else None,
            )
            for low, high, n, p, y in zip(
                edges[:-1], edges[1:], self.voxels, self.probability, self.vessels, strict=True
            )
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return both numbers and the curve, fit for JSON."""
        points = self.curve()
        return {
            "expected_calibration_error": self.expected_calibration_error,
            "brier": self.brier,
            "reliability": {
                "low": [point.low for point in points],
                "high": [point.high for point in points],
                "voxels": [point.voxels for point in points],
                "probability": [point.probability for point in points],
                "vessel_share": [point.vessel_share for point in points],
            },
        }


def calibration(
    probability: NDArray[Any],
    truth: NDArray[Any],
    *,
    bins: int = CALIBRATION_BINS,
    within: NDArray[Any] | None = None,
) -> Calibration:
    """Compare probabilities with the truth.

    Parameters
    ----------
    probability
        (z, y, x), floating point from 0 to 1, or uint8 where 255 stands for 1.
    truth
        Mask (z, y, x).
    bins
        Number of bins of equal width.
    within
        Mask (z, y, x) of the voxels that count; all of them by default.

    Raises
    ------
    DataError
        If the values cannot be probabilities, the shapes differ, or no voxel counts.
    ConfigError
        If there is no bin.
    """
    values, true = np.asarray(probability), as_mask(truth, "truth")
    counting = None if within is None else as_mask(within, "region that counts")
    _check(values, true, counting, bins)
    none = np.zeros(bins, np.int64)
    found = Calibration(none, none.astype(np.float64), none, 0.0)
    # Plane by plane, or a few: the numbers between are as large as the volume several times over.
    step = max(1, _SLAB_VOXELS // max(1, values[0].size))
    for start in range(0, len(values), step):
        slab = slice(start, start + step)
        chosen = ... if counting is None else counting[slab]
        found += _count(values[slab][chosen], true[slab][chosen], bins)
    return found


def _check(
    values: NDArray[Any], true: NDArray[Any], within: NDArray[Any] | None, bins: int
) -> None:
    if bins < 1:
        raise ConfigError(f"calibration needs at least 1 bin, got {bins}")
    for name, mask in (("truth", true), ("region that counts", within)):
        if mask is not None and mask.shape != values.shape:
            raise DataError(
                f"probabilities and {name} have different shapes, {values.shape} and {mask.shape} "
                "(z, y, x): they are probably not of the same volume"
            )
    require_probabilities(values)
    if not values.size or (within is not None and not within.any()):
        raise DataError("no voxel counts: calibration needs at least one, check the region given")


def _count(values: NDArray[Any], true: NDArray[Any], bins: int) -> Calibration:
    p = values.astype(np.float64).ravel() / (255 if values.dtype == np.uint8 else 1)
    y = true.ravel()
    # The last bin holds 1 as well.
    place = np.minimum((p * bins).astype(np.int64), bins - 1)
    return Calibration(
        voxels=np.bincount(place, minlength=bins).astype(np.int64),
        probability=np.bincount(place, weights=p, minlength=bins).astype(np.float64),
        vessels=np.bincount(place[y], minlength=bins).astype(np.int64),
        squares=float(np.square(p - y).sum()),
    )
