"""Groups of animals: against SciPy, against values worked out by hand, and what is said of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from vpbsd.errors import DataError
from vpbsd.graph.regions.group_statistics import (
    benjamini_hochberg,
    effect_size,
    holm,
    permutation_p,
    welch,
)
from vpbsd.graph.regions.groups import MEASURES, GroupDifference, compare_groups
from vpbsd.graph.regions.tables import COLUMNS

values = st.lists(st.floats(-100, 100).map(lambda v: round(v, 3)), min_size=2, max_size=5)


def varies(*samples) -> bool:
    return all(max(s) - min(s) > 0.01 for s in samples)


# -------------------------------------------------------------------------------------- oracles


@given(values, values)
def test_welch_is_scipys(first, second) -> None:
    if not varies(first, second):
        return
    found = welch(np.array(first), np.array(second))
    oracle = stats.ttest_ind(second, first, equal_var=False)
    assert found is not None
    assert found.t == pytest.approx(oracle.statistic)
    assert found.degrees == pytest.approx(oracle.df)
    assert found.p == pytest.approx(oracle.pvalue, rel=1e-6)
    interval = oracle.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


@settings(max_examples=30)
@given(values, values)
def test_permutations_are_scipys(first, second) -> None:
    if not varies(first + second):
        return

    def statistic(a, b, axis):
        return np.round(np.abs(np.mean(a, axis=axis) - np.mean(b, axis=axis)), 9)

    oracle = stats.permutation_test(
        (first, second), statistic, n_resamples=np.inf, alternative="greater", vectorized=True
    )
    assert permutation_p(np.array(first), np.array(second)) == pytest.approx(oracle.pvalue)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_benjamini_hochberg_is_scipys(p_values) -> None:
    assert benjamini_hochberg(p_values) == pytest.approx(
        stats.false_discovery_control(p_values).tolist()
    )


def test_interval_of_g_has_its_tails_in_the_non_central_t() -> None:
    first, second = np.array([1.0, 2.0, 3.0, 5.0]), np.array([4.0, 6.0, 7.0])
    found = effect_size(first, second)
    assert found is not None
    unit = math.sqrt(1 / 4 + 1 / 3)
    t = stats.ttest_ind(second, first).statistic
    # J(5) = Γ(2.5) / (√2.5 Γ(2)), with Γ(2.5) = 0.75 √π.
    small = 0.75 * math.sqrt(math.pi) / math.sqrt(2.5)
    assert found.g == pytest.approx(small * t * unit)
    assert stats.nct.cdf(t, 5, found.low / small / unit) == pytest.approx(0.975, abs=1e-6)
    assert stats.nct.cdf(t, 5, found.high / small / unit) == pytest.approx(0.025, abs=1e-6)


def test_interval_of_a_huge_effect_is_found() -> None:
    found = effect_size(np.array([1.0, 1.001, 1.002]), np.array([9.0, 9.001, 9.002]))
    assert found is not None
    assert 0 < found.low < found.g < found.high < math.inf


# -------------------------------------------------------------------------------------- by hand


def test_by_hand() -> None:
    # Means 2 and 5, variances 1 and 4, n = 3: SE² = 5/3, t = 3 / 1.29099, ν = (5/3)² / (17/18).
    first, second = np.array([1.0, 2.0, 3.0]), np.array([3.0, 5.0, 7.0])
    found = welch(first, second)
    assert found is not None
    assert found.t == pytest.approx(2.323790)
    assert found.degrees == pytest.approx(2.941176)
    # s_p² = 2.5, J(4) = Γ(2) / (√2 Γ(1.5)) = 0.797885.
    effect = effect_size(first, second)
    assert effect is not None
    assert effect.g == pytest.approx(0.797885 * 3 / math.sqrt(2.5), rel=1e-6)
    # Of the 20 ways, |D| is 3 or more where the first sum is at most 6 or at least 15:
    # {1,2,3a} {1,2,3b} and their two opposites.
    assert permutation_p(first, second) == pytest.approx(4 / 20)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


def test_benjamini_hochberg_by_hand() -> None:
    assert benjamini_hochberg([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert benjamini_hochberg([]) == []


def test_too_many_ways_are_not_enumerated() -> None:
    assert permutation_p(np.arange(9.0), np.arange(9.0)) is None  # 48,620 ways
    assert permutation_p(np.arange(8.0), np.arange(8.0)) == 1.0  # 12,870, D = 0


# --------------------------------------------------------------------------------------- tables


def table(length: float | None, radius: float = 3.0, region: int = 5, name: str = "cortex"):
    return [
        {"region": 0, "name": "all", "is_sum": True, "radius_mean_um": radius},
        {
            "region": region,
            "name": name,
            "is_sum": False,
            "length_density_mm_per_mm3": length,
            "radius_mean_um": radius,
        },
    ]


def pick(rows, measure: str, region: int, group: str) -> GroupDifference:
    (found,) = [r for r in rows if (r.measure, r.region, r.group) == (measure, region, group)]
    return found


def test_animals_are_the_unit() -> None:
    groups = {
        "control": [table(v, r) for v, r in ((1.0, 3.0), (2.0, 3.5), (3.0, 3.2))],
        "mutant": [table(v, r) for v, r in ((3.0, 4.0), (5.0, 4.1), (7.0, 4.4))],
    }
    comparison = compare_groups(groups)
    assert list(comparison.tests.items()) == [
        ("length_density_mm_per_mm3", 1),
        ("radius_mean_um", 2),
    ]
    row = pick(comparison.rows, "length_density_mm_per_mm3", 5, "mutant")
    assert (row.reference, row.reference_n, row.group_n) == ("control", 3, 3)
    assert (row.reference_mean, row.reference_sd) == (2.0, 1.0)
    assert (row.group_mean, row.group_sd, row.difference) == (5.0, 2.0, 3.0)
    assert row.p_welch == row.p_holm == row.p_benjamini_hochberg
    assert row.p_permutation == pytest.approx(0.2)
    radii = [r for r in comparison.rows if r.measure == "radius_mean_um"]
    # The same animals in both regions: two equal p, which Holm doubles.
    assert radii[0].p_welch is not None
    assert radii[0].p_holm == pytest.approx(2 * radii[0].p_welch)
    assert radii[0].p_benjamini_hochberg == pytest.approx(radii[0].p_welch)
    assert comparison.notes == []


def test_every_group_is_compared_with_the_first() -> None:
    groups = {
        name: [table(v + i), table(v + 2.0 * i)]
        for i, (name, v) in enumerate({"a": 1.0, "b": 2.0, "c": 4.0}.items(), start=1)
    }
    rows = compare_groups(groups, ["length_density_mm_per_mm3"]).rows
    tested = [r for r in rows if r.region == 5]
    assert [(r.reference, r.group) for r in tested] == [("a", "b"), ("a", "c")]
    p = [r.p_welch for r in tested]
    assert [r.p_holm for r in tested] == pytest.approx(holm(p))  # type: ignore[arg-type]


def test_one_animal_gives_numbers_without_test() -> None:
    comparison = compare_groups({"a": [table(1.0), table(2.0)], "b": [table(5.0)]})
    row = pick(comparison.rows, "length_density_mm_per_mm3", 5, "b")
    assert (row.group_mean, row.group_sd, row.difference) == (5.0, None, 3.5)
    assert (row.p_welch, row.hedges_g, row.p_holm) == (None, None, None)
    assert row.note == "fewer than two animals in a group: no test"
    assert comparison.notes == [
        "group 'b' has one animal: its numbers are shown without spread or test"
    ]
    assert set(comparison.tests.values()) == {0}


def test_no_spread_gives_no_test() -> None:
    comparison = compare_groups({"a": [table(0.1)] * 3, "b": [table(0.3)] * 3})
    row = pick(comparison.rows, "length_density_mm_per_mm3", 5, "b")
    assert row.note == "no spread between animals: no test"
    assert row.difference == pytest.approx(0.2)


def test_missing_regions_are_named() -> None:
    other = table(9.0, region=8, name="pons")
    groups = {"a": [table(1.0), table(2.0)], "b": [table(3.0), table(4.0) + other[1:]]}
    comparison = compare_groups(groups)
    row = pick(comparison.rows, "length_density_mm_per_mm3", 8, "b")
    assert (row.reference_n, row.group_n, row.difference) == (0, 1, None)
    assert comparison.notes == [
        "region 'pons' (8) is missing in 2 of 2 in 'a' and 1 of 2 in 'b'; the animals that have "
        "it are compared"
    ]


def test_undefined_values_are_left_out() -> None:
    groups = {"a": [table(1.0), table(None), table(2.0)], "b": [table(math.nan), table(3.0)]}
    row = pick(compare_groups(groups).rows, "length_density_mm_per_mm3", 5, "b")
    assert (row.reference_n, row.reference_mean, row.group_n) == (2, 1.5, 1)


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ({"a": [table(1.0)]}, "at least two groups"),
        ({"a": [table(1.0)], "b": []}, "at least two groups"),
        ({"a": [table(1.0)], "b": [table(1.0, name="pons")]}, "'cortex' in one .* 'pons'"),
        ({"a": [table(1.0) * 2], "b": [table(1.0)]}, "region 0 twice"),
    ],
)
def test_faulty_groups_are_refused(groups, said: str) -> None:
    with pytest.raises(DataError, match=said):
        compare_groups(groups)


def test_unknown_measure_is_refused() -> None:
    with pytest.raises(DataError, match="no region table has the column depth"):
        compare_groups({"a": [table(1.0)], "b": [table(2.0)]}, ["depth"])


def test_measures_are_columns_of_the_region_table() -> None:
    assert set(MEASURES) <= set(COLUMNS)
