"""The error that few seeds make, against theory, another library and a simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from vpbsd.compare.results.seeds import SeedPrior, fit_prior, seed_error


def test_alone_it_is_the_test_of_welch() -> None:
    first, second = [0.70, 0.74, 0.73], [0.66, 0.69, 0.60]
    found = seed_error(first, second)
    oracle = stats.ttest_ind(first, second, equal_var=False)
    assert found is not None
    assert found.degrees == pytest.approx(oracle.df)
    difference = np.mean(first) - np.mean(second)
    assert difference / found.error == pytest.approx(oracle.statistic)


def test_a_method_without_seeds_adds_nothing() -> None:
    found = seed_error([0.70, 0.74, 0.72], [0.6])
    assert found is not None
    # Variance 0.0004 over three seeds.
    assert (found.error, found.degrees) == (pytest.approx(math.sqrt(0.0004 / 3)), 2)
    assert seed_error([0.7], [0.6]) is None
    same = seed_error([0.7, 0.7, 0.7], [0.7, 0.7, 0.7])
    assert same is not None
    assert same.error == pytest.approx(0, abs=1e-12)


def test_a_variance_is_moderated_by_hand() -> None:
    # Its own variance is 1 with 2 degrees, the others say 4 with 2: (2 · 4 + 2 · 1) / 4 = 2.5.
    found = seed_error([1.0, 2.0, 3.0], [0.0], (SeedPrior(variance=4.0, degrees=2.0), SeedPrior()))
    assert found is not None
    assert (found.error, found.degrees) == (pytest.approx(math.sqrt(2.5 / 3)), 4)


def test_a_single_seed_has_the_variance_that_others_tell() -> None:
    prior = SeedPrior(variance=0.0004, degrees=6.0)
    both = seed_error([0.7], [0.6], (prior, prior))
    assert both is not None
    # Two equal variances of 0.0004, each of one seed; Welch's degrees are then 2 · 6.
    assert (both.error, both.degrees) == (pytest.approx(math.sqrt(0.0008)), pytest.approx(12))
    # The second draws no random numbers.
    one = seed_error([0.7], [0.6], (prior, SeedPrior()))
    assert one is not None
    assert (one.error, one.degrees) == (pytest.approx(0.02), pytest.approx(6))


@pytest.mark.parametrize(("degrees", "spread"), [(4.0, 1.0), (12.0, 3.0)])
def test_a_prior_is_found_again(degrees: float, spread: float) -> None:
    rng = np.random.default_rng(0)
    true = spread**2 * degrees / rng.chisquare(degrees, 20_000)
    seen = true * rng.chisquare(2, 20_000) / 2
    found = fit_prior(seen.tolist(), [2.0] * 20_000)
    assert found.degrees == pytest.approx(degrees, rel=0.15)
    assert found.variance == pytest.approx(spread**2, rel=0.1)


def test_alike_variances_are_pooled() -> None:
    seen = 2.0 * np.random.default_rng(0).chisquare(2, 20_000) / 2
    found = fit_prior(seen.tolist(), [2.0] * 20_000)
    assert found.degrees > 100
    assert found.variance == pytest.approx(2.0, rel=0.05)


def test_few_variances_tell_nothing() -> None:
    assert fit_prior([1.0, 2.0, 1.5], [2, 2, 2]) == SeedPrior()
    assert fit_prior([0.0] * 9, [2] * 9) == SeedPrior()
    assert fit_prior([], []) == SeedPrior()


@pytest.mark.parametrize("degrees", [4.0, 1e9])
def test_moderated_errors_hold(degrees: float) -> None:
    """Twenty methods, three seeds each: share of 95 % intervals that hold the true difference."""
    rng = np.random.default_rng(1)
    hits, width_alone, width = [], 0.0, 0.0
    for _ in range(60):
        sd = np.sqrt(degrees / rng.chisquare(degrees, 20)) if degrees < 1e9 else np.ones(20)
        scores = rng.normal(0, 1, (20, 3)) * sd[:, None]
        prior = fit_prior(scores.var(axis=1, ddof=1).tolist(), [2] * 20)
        for other in scores[1:]:
            for given in ((prior, prior), None):
                error = seed_error(scores[0].tolist(), other.tolist(), given)
                assert error is not None
                half = error.error * stats.t.ppf(0.975, error.degrees)
                if given is None:
                    width_alone += half
                else:
                    width += half
                    hits.append(abs(scores[0].mean() - other.mean()) <= half)
    assert np.mean(hits) > 0.9
    assert width < 0.75 * width_alone
