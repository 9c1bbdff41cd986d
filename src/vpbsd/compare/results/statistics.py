"""Which of two methods is better, and how sure that is.

The score of one seed is the mean over volumes of the score of each volume (volumes count equally);
the difference of two methods is the mean over seeds of the difference of their scores::

    d_s = mean_v f(Σ_b counts of the first) - f(Σ_b counts of the second),    D = mean_s d_s

with f = Dice or clDice of counts summed over the sub-blocks b of volume v. Sub-blocks, and volumes
above them where there are several, are drawn again with replacement (Efron 1979; in levels, Davison
and Hinkley, *Bootstrap Methods and their Application*, 1997, section 3.8), the same for both
methods, so that what is hard for both cancels::

    D* = D(volumes*, sub-blocks*) + t_ν · SE

The second term is chance in training, from the spread between seeds (`.seeds`).
Drawing three seeds again with replacement makes ten different sets, and an interval that claims
95 % then holds in 80 % of cases where that spread is what matters (by simulation); Student's t
holds for any number from two on. The interval is from percentiles of D*, p is twice the smaller
share of D* on either side of 0.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from vpbsd.compare.results.pooled import POOLED, PooledScore, pooled_scores
from vpbsd.compare.results.seeds import SeedPrior, seed_error
from vpbsd.errors import ConfigError, DataError

__all__ = [
    "Bootstrap",
    "Difference",
    "Spread",
    "corrected",
    "holm",
    "paired_difference",
    "spread",
]

Counts = Sequence[NDArray[np.int64]]
Pair = tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """How intervals are drawn.

    Attributes
    ----------
    resamples
        Number of D*.
    level
        Share of cases in which an interval must hold.
    seed
        Of the random numbers; the same seed draws the same sub-blocks for every pair of methods.
    seeds
        What stands for chance in training: ``student_t`` as above, or ``resampled``, the same
        seeds drawn again for both methods as sub-blocks are.

    Raises
    ------
    ConfigError
        If a number is out of range.
    """

    resamples: int = 10_000
    level: float = 0.95
    seed: int = 0
    seeds: Literal["student_t", "resampled"] = "student_t"

    def __post_init__(self) -> None:
        if self.resamples < 100 or not 0.5 <= self.level < 1 or self.seed < 0:
            raise ConfigError(
                "a bootstrap needs at least 100 resamples, a level from 0.5 to below 1 and a seed "
                f"from 0, got {self}"
            )


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and standard deviation over seeds.

    Attributes
    ----------
    mean
        Infinite if a value is.
    sd
        With n - 1 in the denominator; None for a single value, or where the mean is infinite.
    count
        Number of seeds.
    """

    mean: float
    sd: float | None
    count: int


@dataclass(frozen=True, slots=True)
class Difference:
    """First method minus second, in one score.

    Attributes
    ----------
    score
        ``dice`` or ``cldice``.
    value, low, high
        The difference and its interval, as shares (0.01 is one point).
    p_value
        Two-sided, of no difference.
    per_seed
        The difference in each seed that both have.
    volumes, blocks
        How many were drawn from.
    level
        Of the interval.
    p_corrected
        After correction for all comparisons of its table; `p_value` if there is one alone.
    comparisons
        How many those are.
    borrowed
        Whether the pair has one seed alone, and its interval the spread of other methods.
    """

    score: PooledScore
    value: float
    low: float
    high: float
    p_value: float
    per_seed: tuple[float, ...]
    volumes: int
    blocks: int
    level: float
    p_corrected: float
    comparisons: int = 1
    borrowed: bool = False

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of 0."""
        return self.low > 0 or self.high < 0

    @property
    def significant(self) -> bool:
        """Whether there is a difference, at the level of the interval, after correction."""
        return self.p_corrected < 1 - self.level


def spread(values: Sequence[float]) -> Spread:
    """Return mean and standard deviation over seeds.

    Raises
    ------
    DataError
        If there is no value.
    """
    if not values:
        raise DataError("a mean needs at least one value: there is no result to summarise")
    mean = math.fsum(values) / len(values)
    if len(values) < 2 or not math.isfinite(mean):
        return Spread(mean, None, len(values))
    squares = math.fsum((v - mean) ** 2 for v in values)
    return Spread(mean, math.sqrt(squares / (len(values) - 1)), len(values))


def paired_difference(
    first: Counts,
    second: Counts,
    settings: Bootstrap | None = None,
    priors: Mapping[PooledScore, tuple[SeedPrior, SeedPrior]] | None = None,
) -> dict[PooledScore, Difference]:
    """Return how far the first method is above the second, in Dice and in clDice.

    Parameters
    ----------
    first, second
        One array (seeds, sub-blocks, 7) of counts a volume, in the order of `.lines.COUNTS`;
        the same seeds, volumes and sub-blocks in the same order for both. A method without seeds
        has one, and is compared with each seed of the other.
    settings
        By default 10,000 resamples and 95 %.
    priors
        What methods like the first, and like the second, tell of the spread between seeds.

    Raises
    ------
    DataError
        If shapes do not pair, or there is no volume, seed or sub-block.
    """
    settings = settings or Bootstrap()
    pairs = _paired(first, second)
    layout = tuple(int(a.shape[1]) for a, _ in pairs)
    observed = np.mean(
        [pooled_scores(a.sum(1)) - pooled_scores(b.sum(1)) for a, b in pairs], axis=0
    )
    drawn = _drawn(pairs, layout, settings)
    tail = 100 * (1 - settings.level) / 2
    found: dict[PooledScore, Difference] = {}
    for column, score in enumerate(POOLED):
        by_seed = (_by_seed(first)[:, column], _by_seed(second)[:, column])
        told = None if priors is None else priors[score]
        chance = _seed_term(by_seed, told, settings)
        values = drawn[:, column] + chance
        low, high = np.percentile(values, [tail, 100 - tail])
        p = _two_sided_p(values)
        found[score] = Difference(
            score=score,
            value=float(observed[:, column].mean()),
            low=float(low),
            high=float(high),
            p_value=p,
            per_seed=tuple(observed[:, column].tolist()),
            volumes=len(layout),
            blocks=sum(layout),
            level=settings.level,
            p_corrected=p,
            borrowed=len(observed) == 1 and bool(chance.any()),
        )
    return found


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for their number (Holm 1979).

    The smallest is multiplied by their number n, the next by n - 1 and so on; none comes out below
    a smaller one, none above 1. All below 5 % are then significant together at 5 %.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def corrected(differences: Sequence[Difference]) -> list[Difference]:
    """Return the differences of one table with p corrected for their number."""
    adjusted = holm([d.p_value for d in differences])
    return [
        replace(d, p_corrected=p, comparisons=len(differences))
        for d, p in zip(differences, adjusted, strict=True)
    ]


def _paired(first: Counts, second: Counts) -> list[Pair]:
    if not first or len(first) != len(second):
        raise DataError(
            f"methods are compared on the same volumes, got {len(first)} and {len(second)}"
        )
    seeds = max(array.shape[0] for array in (*first, *second))
    pairs = []
    for a, b in zip(first, second, strict=True):
        for array in (a, b):
            if array.ndim != 3 or not array.size or array.shape[0] not in (1, seeds):
                raise DataError(
                    f"counts must have the shape ({seeds} seeds or 1, sub-blocks, 7), got "
                    f"{array.shape}"
                )
        if a.shape[1:] != b.shape[1:]:
            raise DataError(
                f"one method has {a.shape[1]} sub-blocks in a volume, the other {b.shape[1]}: both "
                "must be counted on the same volume with the same blocks.edge_voxels"
            )
        shape = (seeds, *a.shape[1:])
        pairs.append((np.broadcast_to(a, shape), np.broadcast_to(b, shape)))
    return pairs


def _drawn(
    pairs: Sequence[Pair],
    layout: tuple[int, ...],
    settings: Bootstrap,
) -> NDArray[np.float64]:
    """Return D* (resamples, 2) without the spread between seeds."""
    seeds = pairs[0][0].shape[0]
    of_seed = np.ones((settings.resamples, seeds)) / seeds
    if settings.seeds == "resampled" and seeds > 1:
        # Another stream than the sub-blocks', which are the same for any number of seeds.
        of_seed = (
            np.random.default_rng((settings.seed, 1)).multinomial(
                seeds, np.full(seeds, 1 / seeds), settings.resamples
            )
            / seeds
        )
    # Sub-blocks to the front, and the counts of all seeds of both methods side by side.
    tables = [
        np.concatenate(pair).astype(np.float64).transpose(1, 0, 2).reshape(blocks, -1)
        for pair, blocks in zip(pairs, layout, strict=True)
    ]
    total = np.zeros((settings.resamples, 2))
    for slot in _resamples(layout, settings.resamples, settings.seed):
        for volume, (rows, times) in enumerate(slot):
            pooled = (times.astype(np.float64) @ tables[volume]).reshape(len(rows), 2, seeds, -1)
            scores = pooled_scores(pooled)
            difference = scores[:, 0] - scores[:, 1]
            total[rows] += (of_seed[rows, :, None] * difference).sum(axis=1)
    return total / len(layout)


@functools.lru_cache(maxsize=2)
def _resamples(
    layout: tuple[int, ...], resamples: int, seed: int
) -> list[list[tuple[NDArray[np.intp], NDArray[np.uint16]]]]:
    """Draw volumes, and sub-blocks in each.

    Returns
    -------
    list of lists
        One list for each place among the drawn volumes; in it, for each volume, the numbers of the
        resamples that have it in this place, and how often (len(rows), sub-blocks) each of its
        sub-blocks was drawn there. Kept, since all pairs of a table draw the same.
    """
    rng = np.random.default_rng((seed, 0))
    slots = []
    for _ in layout:
        drawn = rng.integers(len(layout), size=resamples)
        slot = []
        for volume, blocks in enumerate(layout):
            rows = np.flatnonzero(drawn == volume)
            times = rng.multinomial(blocks, np.full(blocks, 1 / blocks), len(rows))
            slot.append((rows, times.astype(np.uint16)))
        slots.append(slot)
    return slots


def _by_seed(counts: Counts) -> NDArray[np.float64]:
    """Return the scores (seeds, 2) of a method, the mean over volumes."""
    return np.asarray(np.mean([pooled_scores(volume.sum(axis=1)) for volume in counts], axis=0))


def _seed_term(
    by_seed: tuple[NDArray[np.float64], NDArray[np.float64]],
    priors: tuple[SeedPrior, SeedPrior] | None,
    settings: Bootstrap,
) -> NDArray[np.float64]:
    """Return t · SE (resamples,) of two methods' scores by seed; 0 where both have one alone."""
    found = (
        None
        if settings.seeds == "resampled"
        else seed_error(by_seed[0].tolist(), by_seed[1].tolist(), priors)
    )
    if found is None:
        return np.zeros(settings.resamples)
    # Quantiles at even steps, shuffled: random ones would leave the heavy tails to chance.
    places = np.random.default_rng((settings.seed, 2)).permutation(settings.resamples) + 0.5
    return np.asarray(found.error * stdtrit(found.degrees, places / settings.resamples))


def _two_sided_p(drawn: NDArray[np.float64]) -> float:
    # One is added to both, so that p is never 0: no number of resamples can show that.
    below = (np.count_nonzero(drawn <= 0) + 1) / (drawn.size + 1)
    above = (np.count_nonzero(drawn >= 0) + 1) / (drawn.size + 1)
    return float(min(1.0, 2 * min(below, above)))
