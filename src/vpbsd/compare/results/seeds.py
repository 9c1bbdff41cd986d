"""How far the mean over a few seeds may lie from the mean over all.

Two methods are trained with S seeds each; their scores have variances s²_A and s²_B over seeds,
with d = S - 1 degrees of freedom. Runs of two methods are independent, so that (Welch 1947)::

    (D - true D) / √(s²_A / S + s²_B / S)   ~   t_ν
    ν = (s²_A + s²_B)² / (s⁴_A / d_A + s⁴_B / d_B)

Three seeds leave 2 to 4 degrees of freedom, too few to tell anything after a correction for many
comparisons. Methods that are trained on the same data know together better how far seeds lie
apart: variances are taken to vary about a common s²_0 as if that had been seen with d_0 degrees of
freedom, and each is moderated towards it (Smyth 2004, *Linear models and empirical Bayes
methods*)::

    s̃² = (d_0 s²_0 + d s²) / (d_0 + d),    with d_0 + d degrees of freedom

d_0 and s²_0 come from the variances themselves (moments of log s²): where methods differ much in
their spread, d_0 is small and each keeps its own. A method with one seed, d = 0, has that of the
others alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import digamma, polygamma

__all__ = ["SeedError", "SeedPrior", "fit_prior", "seed_error"]

# Below this many variances nothing can be said of how variances vary.
_FEWEST = 4
# As good as infinite, and still a number to compute with.
_MOST_DEGREES = 1e6


@dataclass(frozen=True, slots=True)
class SeedPrior:
    """What other methods tell of a variance over seeds.

    Attributes
    ----------
    variance, degrees
        s²_0 and d_0; without degrees, nothing.
    """

    variance: float = 0.0
    degrees: float = 0.0


@dataclass(frozen=True, slots=True)
class SeedError:
    """Standard error that seeds give a difference of two means, and its degrees of freedom."""

    error: float
    degrees: float


def fit_prior(variances: Sequence[float], degrees: Sequence[float]) -> SeedPrior:
    """Estimate what a variance over seeds is like from those of several methods (Smyth 2004, §6.2).

    Parameters
    ----------
    variances
        One a method; zeros, which have no logarithm, are left out.
    degrees
        Seeds minus one of each.

    Returns
    -------
    SeedPrior
        Without degrees if there are fewer than 4 variances.
    """
    pairs = [(v, d) for v, d in zip(variances, degrees, strict=True) if v > 0 and d > 0]
    if len(pairs) < _FEWEST:
        return SeedPrior()
    found, freedom = np.array(pairs).T
    e = np.log(found) - digamma(freedom / 2) + np.log(freedom / 2)
    excess = float(e.var(ddof=1) - polygamma(1, freedom / 2).mean())
    if excess <= float(polygamma(1, _MOST_DEGREES / 2)):
        return SeedPrior(math.exp(float(e.mean())), _MOST_DEGREES)
    half = brentq(lambda x: float(polygamma(1, x)) - excess, 1e-8, _MOST_DEGREES / 2)
    return SeedPrior(math.exp(float(e.mean() + digamma(half) - math.log(half))), 2 * half)


def seed_error(
    first: Sequence[float],
    second: Sequence[float],
    priors: tuple[SeedPrior, SeedPrior] | None = None,
) -> SeedError | None:
    """Return the error that seeds give to the mean of `first` minus that of `second`.

    Parameters
    ----------
    first, second
        Scores by seed.
    priors
        What methods like the first, and like the second, tell. A single score without a prior is
        taken for a method that draws no random numbers.

    Returns
    -------
    SeedError or None
        None if neither has several seeds or a prior.
    """
    parts = []
    for scores, prior in zip((first, second), priors or (SeedPrior(), SeedPrior()), strict=True):
        own = len(scores) - 1
        total = prior.degrees + own
        if total > 0:
            seen = own * float(np.var(scores, ddof=1)) if own else 0.0
            variance = (prior.degrees * prior.variance + seen) / total
            parts.append((variance / len(scores), total))
    if not parts:
        return None
    variance = sum(v for v, _ in parts)
    below = sum(v**2 / d for v, d in parts)
    degrees = variance**2 / below if below > 0 else sum(d for _, d in parts)
    return SeedError(math.sqrt(variance), degrees)
