"""Differences and their intervals, against other libraries, theory and a simulation."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from result_lines import drawn_counts
from scipy import stats

from vpbsd.compare.results.statistics import (
    Bootstrap,
    Difference,
    corrected,
    holm,
    paired_difference,
    spread,
)
from vpbsd.errors import ConfigError, DataError

# Errors of a percentile of 10,000 resamples are about 1 % of an interval's width.
CLOSE = 0.03


def linear(dice: Any) -> NDArray[np.int64]:
    """Return counts (seeds, sub-blocks, 7) of equal masks, so that pooled Dice is a mean."""
    tp = np.rint(1000 * np.atleast_2d(dice)).astype(int)
    counts = np.zeros((*tp.shape, 7), int)
    counts[..., 0] = tp
    counts[..., 1] = counts[..., 2] = 1000 - tp
    return counts


def dice_of(first: Any, second: Any, **settings: Any) -> Difference:
    return paired_difference(first, second, Bootstrap(**settings))["dice"]


def made(**changed: Any) -> Difference:
    plain = Difference("cldice", 0.021, 0.008, 0.033, 0.002, (0.02, 0.022), 2, 60, 0.95, 0.002)
    return replace(plain, **changed)


# --------------------------------------------------------------------------------------- the value


def test_difference_by_hand() -> None:
    #                       TP  FP  FN  |S(P)|  in  |S(T)|  in
    first = [np.array([[[30, 10, 10, 20, 15, 20, 10]], [[40, 0, 0, 20, 20, 20, 20]]])]
    second = [np.array([[[20, 20, 20, 20, 10, 20, 10]], [[30, 10, 10, 20, 15, 20, 10]]])]
    # A second volume, twice as large, on which both are right: it counts as much as the first.
    for method in (first, second):
        method.append(np.tile(np.array([80, 0, 0, 40, 40, 40, 40]), (2, 1, 1)))
    found = paired_difference(first, second)
    # Dice: 0.75 - 0.5 and 1 - 0.75 in the first volume, halved by the second.
    assert found["dice"].per_seed == pytest.approx((0.125, 0.125))
    assert found["dice"].value == pytest.approx(0.125)
    # clDice: 0.6 - 0.5 and 1 - 0.6.
    assert found["cldice"].per_seed == pytest.approx((0.05, 0.2))
    assert found["cldice"].value == pytest.approx(0.125)
    assert (found["dice"].volumes, found["dice"].blocks) == (2, 2)


def test_a_method_without_seeds_meets_every_seed_of_the_other() -> None:
    found = dice_of([linear([[0.8, 0.8], [0.7, 0.7]])], [linear([[0.5, 0.5]])])
    assert found.per_seed == pytest.approx((0.3, 0.2))


def test_a_method_against_itself() -> None:
    counts = [drawn_counts(0.7)[None]]
    found = paired_difference(counts, counts)
    for difference in found.values():
        assert (difference.value, difference.low, difference.high) == (0, 0, 0)
        assert difference.p_value == 1
        assert not difference.excludes_zero
        assert not difference.significant


def test_order_of_the_pair_changes_the_sign_alone() -> None:
    a, b = [drawn_counts(0.75, seed=1)[None]], [drawn_counts(0.7, seed=2)[None]]
    there, back = (paired_difference(*pair)["cldice"] for pair in ((a, b), (b, a)))
    assert there.value == pytest.approx(-back.value)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
    assert there.p_value == back.p_value


def test_sub_blocks_without_vessels_change_nothing_of_the_value() -> None:
    a, b = drawn_counts(0.75, seed=1)[None], drawn_counts(0.7, seed=2)[None]
    empty = np.zeros((1, 5, 7), int)
    with np.errstate(all="raise"):
        found = paired_difference(
            [np.concatenate([a, empty], axis=1)], [np.concatenate([b, empty], axis=1)]
        )
        nothing = paired_difference([empty], [empty])["cldice"]
    assert found["cldice"].value == pytest.approx(paired_difference([a], [b])["cldice"].value)
    assert math.isfinite(found["cldice"].low)
    assert (nothing.value, nothing.p_value) == (0, 1)


def test_the_same_seed_draws_the_same() -> None:
    a, b = [drawn_counts(0.75, seed=1)[None]], [drawn_counts(0.7, seed=2)[None]]
    assert paired_difference(a, b) == paired_difference(a, b)
    other = paired_difference(a, b, Bootstrap(seed=1))["dice"]
    assert other.low != paired_difference(a, b)["dice"].low


# -------------------------------------------------------------------------- intervals, by an oracle


def test_sub_blocks_are_drawn_as_scipy_draws_them() -> None:
    a, b = drawn_counts(0.78, seed=1), drawn_counts(0.7, seed=2)
    found = paired_difference([a[None]], [b[None]])

    def pooled_cldice(c: NDArray[Any]) -> Any:
        predicted, inside, true, true_inside = c[..., 3:].sum(axis=0).T
        precision, sensitivity = inside / predicted, true_inside / true
        return stats.hmean([precision, sensitivity], axis=0)

    def difference(index: NDArray[Any], axis: int = -1) -> Any:
        rows = np.moveaxis(index, axis, 0)
        return pooled_cldice(a[rows]) - pooled_cldice(b[rows])

    oracle = stats.bootstrap(
        (np.arange(len(a)),), difference, method="percentile", n_resamples=10_000,
        rng=np.random.default_rng(5),
    ).confidence_interval  # fmt: skip
    width = oracle.high - oracle.low
    assert found["cldice"].low == pytest.approx(oracle.low, abs=CLOSE * width)
    assert found["cldice"].high == pytest.approx(oracle.high, abs=CLOSE * width)


def test_normal_sub_blocks_have_the_interval_of_theory() -> None:
    rng = np.random.default_rng(3)
    shared = rng.normal(0.6, 0.1, 200)
    a, b = shared + rng.normal(0.02, 0.05, 200), shared + rng.normal(0, 0.05, 200)
    found = dice_of([linear(a)], [linear(b)])
    d = a - b
    half = 1.96 * d.std() / math.sqrt(200)
    assert found.value == pytest.approx(d.mean(), abs=1e-4)
    assert found.low == pytest.approx(d.mean() - half, abs=CLOSE * 2 * half)
    assert found.high == pytest.approx(d.mean() + half, abs=CLOSE * 2 * half)
    z = d.mean() / (d.std() / math.sqrt(200))
    assert found.p_value == pytest.approx(2 * stats.norm.sf(z), rel=0.3)
    # What both find hard cancels: unpaired, the interval would be twice as wide.
    assert 2 * half < 0.6 * 2 * 1.96 * math.sqrt((a.var() + b.var()) / 200)


def test_volumes_are_drawn_above_their_sub_blocks() -> None:
    differences = np.array([0.05, 0.01, 0.02, 0.08, 0.03, -0.01])
    # All sub-blocks of a volume alike: what varies is the volume alone.
    first = [linear(np.full(9, 0.6 + d)) for d in differences]
    second = [linear(np.full(9, 0.6)) for _ in differences]
    found = dice_of(first, second)
    oracle = stats.bootstrap(
        (differences,), np.mean, method="percentile", n_resamples=10_000,
        rng=np.random.default_rng(5),
    ).confidence_interval  # fmt: skip
    width = oracle.high - oracle.low
    assert found.low == pytest.approx(oracle.low, abs=CLOSE * width)
    assert found.high == pytest.approx(oracle.high, abs=CLOSE * width)


def test_seeds_alone_make_the_interval_and_p_of_a_t_test() -> None:
    seeds = np.array([0.02, 0.05, 0.045])
    found = dice_of([linear(0.6 + np.tile(seeds[:, None], 9))], [linear(np.full((3, 9), 0.6))])
    oracle = stats.ttest_1samp(seeds, 0)
    interval = oracle.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=0.001)
    assert found.p_value == pytest.approx(oracle.pvalue, rel=0.02)
    # Drawn again, three seeds give the range between the worst and the best of them.
    drawn = dice_of(
        [linear(0.6 + np.tile(seeds[:, None], 9))], [linear(np.full((3, 9), 0.6))],
        seeds="resampled",
    )  # fmt: skip
    assert (drawn.low, drawn.high) == pytest.approx((0.02, 0.05), abs=1e-9)


def coverage(seeds: str, seed_sd: float, block_sd: float) -> float:
    """Share of 200 made-up comparisons, true difference 2 points, whose interval holds it."""
    rng = np.random.default_rng(11)
    hits = 0
    for number in range(200):
        methods = [
            [
                linear(
                    0.6 + shift + rng.normal(0, seed_sd, (3, 1)) + rng.normal(0, block_sd, (1, 40))
                )
            ]
            for shift in (0.02, 0.0)
        ]
        found = dice_of(*methods, resamples=1000, seed=number, seeds=seeds)
        hits += found.low <= 0.02 <= found.high
    return hits / 200


@pytest.mark.parametrize(("seed_sd", "block_sd"), [(0.02, 0.0), (0.0, 0.05), (0.01, 0.05)])
def test_intervals_hold_as_often_as_they_say(seed_sd: float, block_sd: float) -> None:
    assert 0.92 <= coverage("student_t", seed_sd, block_sd) <= 1.0


def test_seeds_drawn_again_would_not_hold() -> None:
    # Why Student's t is the default.
    assert coverage("resampled", 0.02, 0.0) < 0.87


# ------------------------------------------------------------------------------- mean, correction


def test_spread_over_seeds() -> None:
    found = spread([0.70, 0.74, 0.72])
    assert (found.mean, found.sd, found.count) == (pytest.approx(0.72), pytest.approx(0.02), 3)
    assert spread([0.7]).sd is None
    assert spread([3.0, math.inf]) == spread([math.inf, math.inf])
    with pytest.raises(DataError, match="a mean needs at least one value"):
        spread([])


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),
        ([0.5, 0.001], [0.5, 0.002]),
        ([0.4, 0.4, 0.9], [1.0, 1.0, 1.0]),
        ([0.02], [0.02]),
        ([], []),
    ],
)
def test_holm(p: list[float], expected: list[float]) -> None:
    assert holm(p) == pytest.approx(expected)


def test_what_is_significant_alone_may_not_be_among_many() -> None:
    one = made(p_value=0.03, p_corrected=0.03)
    assert one.significant
    found = corrected([one, made(p_value=0.2), made(p_value=0.5)])
    assert [d.p_corrected for d in found] == pytest.approx([0.09, 0.4, 0.5])
    assert not any(d.significant for d in found)
    assert found[0].excludes_zero


# --------------------------------------------------------------------------------- what is refused


def test_counts_that_do_not_pair() -> None:
    one, three = linear(np.full((1, 4), 0.5)), linear(np.full((3, 4), 0.5))
    with pytest.raises(DataError, match="compared on the same volumes, got 1 and 2"):
        paired_difference([one], [one, one])
    with pytest.raises(DataError, match="same volumes, got 0 and 0"):
        paired_difference([], [])
    with pytest.raises(DataError, match="one method has 4 sub-blocks in a volume, the other 5"):
        paired_difference([one], [linear(np.full((1, 5), 0.5))])
    with pytest.raises(DataError, match=r"shape \(3 seeds or 1, sub-blocks, 7\), got \(2, 4, 7\)"):
        paired_difference([three], [three[:2]])
    with pytest.raises(DataError, match=r"got \(1, 0, 7\)"):
        paired_difference([one[:, :0]], [one[:, :0]])


@pytest.mark.parametrize("wrong", [{"resamples": 10}, {"level": 1.0}, {"seed": -1}])
def test_a_bootstrap_of_nonsense(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"at least 100 resamples, a level from 0\.5"):
        Bootstrap(**wrong)
