"""Histograms with round bins, in which a few far values do not squeeze all others into one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Histogram", "histogram"]

_BINS = 50
_BULK = 0.995


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts between edges that rise; the last bin may be wider and holds all that lies beyond.

    Attributes
    ----------
    edges
        One more than counts.
    counts
        Number of values, or sum of their weights, from each edge up to the next.
    weighted_by
        What the weights are, with their unit; None where each value counts once.
    """

    edges: tuple[float, ...]
    counts: tuple[float, ...]
    weighted_by: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the histogram as values that JSON can hold."""
        return {
            "edges": list(self.edges),
            "counts": list(self.counts),
            "weighted_by": self.weighted_by,
        }


def histogram(
    values: NDArray[np.float64],
    weights: NDArray[np.float64] | None = None,
    *,
    start: float = 0.0,
    weighted_by: str | None = None,
) -> Histogram:
    """Count values, from ``start`` in bins of 1, 2 or 5 times a power of ten.

    At most 50 bins reach up to where 99.5 % of the weight lie; one more holds what is above.

    Parameters
    ----------
    values
        (n,) finite, none below ``start``.
    weights
        (n,) not negative; each value counts once if not given.
    start
        Where the first bin begins.
    weighted_by
        What the weights are, with their unit.
    """
    if not len(values):
        return Histogram((), (), weighted_by)
    order = np.argsort(values, kind="stable")
    rising = values[order]
    weight = np.ones(len(values)) if weights is None else weights[order]
    below = np.cumsum(weight)
    bulk = float(rising[min(np.searchsorted(below, _BULK * below[-1]), len(rising) - 1)])
    width = _round_width((bulk - start) / _BINS)
    bins = max(1, math.ceil((bulk - start) / width * (1 - 1e-9)))
    edges = start + width * np.arange(bins + 1)
    if rising[-1] > edges[-1]:
        edges = np.append(edges, rising[-1])
    counts, _ = np.histogram(rising, edges, weights=weight)
    return Histogram(
        tuple(np.round(edges, 12).tolist()), tuple(counts.astype(float).tolist()), weighted_by
    )


def _round_width(width: float) -> float:
    """Return the smallest of 1, 2 and 5 times a power of ten that is no smaller."""
    if width <= 0:
        return 1.0
    power: float = 10.0 ** math.floor(math.log10(width))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= width * (1 - 1e-9))
