"""Two groups of animals in one number: difference, effect size, intervals and tests.

With n, means m and variances s² (n - 1 in the denominator) of groups 1 and 2::

    difference     D = m2 - m1
    Welch          t = D / SE,  SE² = s1²/n1 + s2²/n2
                   ν = SE⁴ / ((s1²/n1)²/(n1-1) + (s2²/n2)²/(n2-1)),  interval D ± t_ν · SE
    Hedges' g      g = J(n1+n2-2) · D / s_p,  s_p² = ((n1-1) s1² + (n2-1) s2²) / (n1+n2-2)
                   J(m) = Γ(m/2) / (√(m/2) Γ((m-1)/2))
    its interval   from the δ for which D / (s_p √(1/n1 + 1/n2)), a non-central t of n1+n2-2
                   degrees and non-centrality δ, is exceeded with 2.5 % and 97.5 %;
                   g = J · δ · √(1/n1 + 1/n2)
    permutation    share of all ways to part the animals in groups of n1 and n2 whose |D| is at
                   least the one seen

Sources: Welch, Biometrika 34 (1947); Hedges, J. Educ. Stat. 6 (1981); for the non-central interval
Steiger and Fouladi, in *What if there were no significance tests?* (1997); Fisher, *The Design of
Experiments* (1935); Holm, Scand. J. Stat. 6 (1979); Benjamini and Hochberg, J. R. Stat. Soc. B 57
(1995).
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import nctdtr, stdtr, stdtrit

__all__ = [
    "PERMUTATIONS",
    "Effect",
    "Welch",
    "benjamini_hochberg",
    "effect_size",
    "holm",
    "permutation_p",
    "welch",
]

PERMUTATIONS = 20_000
"""Groups that can be parted in more ways are not enumerated."""

Sample = NDArray[np.float64]

# Differences as large as the one seen must count as such whatever the rounding of their sums.
_SAME = 1e-9


@dataclass(frozen=True, slots=True)
class Welch:
    """Interval of the difference, and the test that there is none."""

    low: float
    high: float
    t: float
    degrees: float
    p: float


@dataclass(frozen=True, slots=True)
class Effect:
    """Hedges' g and its interval."""

    g: float
    low: float
    high: float


def welch(first: Sample, second: Sample, level: float = 0.95) -> Welch | None:
    """Compare two means; None where a group has one animal or nothing varies.

    Parameters
    ----------
    first, second
        (n,) one value an animal.
    level
        Of the interval.
    """
    if min(len(first), len(second)) < 2:
        return None
    parts = [float(np.var(s, ddof=1)) / len(s) for s in (first, second)]
    error = math.sqrt(sum(parts))
    difference = float(second.mean() - first.mean())
    if error <= _rounding(first, second):
        return None
    degrees = error**4 / sum(
        part**2 / (len(s) - 1) for part, s in zip(parts, (first, second), strict=True)
    )
    t = difference / error
    reach = float(stdtrit(degrees, (1 + level) / 2)) * error
    p = 2 * float(stdtr(degrees, -abs(t)))
    return Welch(difference - reach, difference + reach, t, degrees, p)


def effect_size(first: Sample, second: Sample, level: float = 0.95) -> Effect | None:
    """Return Hedges' g of the second group over the first; None as :func:`welch`."""
    if min(len(first), len(second)) < 2:
        return None
    degrees = len(first) + len(second) - 2
    pooled = math.sqrt(
        sum((len(s) - 1) * float(np.var(s, ddof=1)) for s in (first, second)) / degrees
    )
    if pooled <= _rounding(first, second):
        return None
    unit = math.sqrt(1 / len(first) + 1 / len(second))
    small = math.exp(math.lgamma(degrees / 2) - math.lgamma((degrees - 1) / 2)) / math.sqrt(
        degrees / 2
    )
    t = float(second.mean() - first.mean()) / pooled / unit
    low, high = (_non_centrality(t, degrees, p) for p in ((1 + level) / 2, (1 - level) / 2))
    return Effect(small * t * unit, small * low * unit, small * high * unit)


def _non_centrality(t: float, degrees: float, share: float) -> float:
    """Return δ for which a non-central t is at most ``t`` with a probability of ``share``."""

    def surplus(delta: float) -> float:
        return float(nctdtr(degrees, delta, t)) - share

    # For |δ| standard deviations beyond t the probability is 0 or 1 to all digits.
    width = 4.0
    while surplus(t - width) < 0 or surplus(t + width) > 0:
        width *= 1.5
    return float(brentq(surplus, t - width, t + width, xtol=1e-10))


def permutation_p(first: Sample, second: Sample) -> float | None:
    """Return p of the exact permutation test of |D|; None where it cannot be enumerated.

    That is where a group has one animal, or there are more than ``PERMUTATIONS`` ways.
    """
    n1, n2 = len(first), len(second)
    if min(n1, n2) < 2 or math.comb(n1 + n2, n1) > PERMUTATIONS:
        return None
    pooled = np.concatenate([first, second])
    # D = Σ2 / n2 - Σ1 / n1 with Σ1 = all - Σ2; centred, so that sums lose no digits.
    centred = pooled - pooled.mean()
    sums = _choices(n1, n2) @ centred
    differences = np.abs(sums * (-1 / n1 - 1 / n2))
    seen = abs(float(centred[:n1].sum()) * (-1 / n1 - 1 / n2))
    least = seen - _SAME * float(differences.max())
    return float(np.count_nonzero(differences >= least) / len(differences))


@functools.lru_cache(maxsize=8)
def _choices(n1: int, n2: int) -> NDArray[np.float64]:
    """Return all ways to choose the first group, one a row, with 1 for those that are in it."""
    ways = list(itertools.combinations(range(n1 + n2), n1))
    table = np.zeros((len(ways), n1 + n2))
    table[np.arange(len(ways))[:, None], np.asarray(ways)] = 1.0
    return table


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p for their number, so that one false finding among all has the stated chance.

    In ascending order the i-th of m is multiplied by m - i + 1; none comes out below a smaller one,
    none above 1.
    """
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    raised = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    return _in_place(raised, order)


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Correct p for their number, so that false findings are at most the stated share of findings.

    In ascending order the i-th of m is multiplied by m / i; none comes out above a larger one.
    """
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    raised = p[order] * len(p) / np.arange(1, len(p) + 1)
    lowered = np.minimum(np.minimum.accumulate(raised[::-1])[::-1], 1.0)
    return _in_place(lowered, order)


def _in_place(values: NDArray[np.float64], order: NDArray[np.intp]) -> list[float]:
    found = np.empty_like(values)
    found[order] = values
    return [float(v) for v in found]


def _rounding(first: Sample, second: Sample) -> float:
    """Return a spread that equal values can seem to have by the rounding of their mean."""
    return 1e-12 * max(float(np.abs(first).max()), float(np.abs(second).max()))
