"""Lines put in order: means over seeds, what is missing, who is compared with whom."""

from __future__ import annotations

import math

import numpy as np
import pytest
from result_lines import failed, line, runs, values

from vpbsd.compare.results.lines import ResultLine
from vpbsd.compare.results.statistics import Bootstrap
from vpbsd.compare.results.summary import contests
from vpbsd.errors import DataError

FEW = Bootstrap(resamples=200)

# Dice 0.75, clDice 0.6; and Dice 1, clDice 1 on the same truth.
SOME = ((30, 10, 10, 20, 15, 20, 10),)
ALL = ((40, 0, 0, 20, 20, 20, 20),)


def test_mean_over_volumes_and_spread_over_seeds() -> None:
    lines = [
        line(counts, seed=seed, volume=volume)
        for seed, volume, counts in [
            (0, "a", SOME), (0, "b", ALL), (1, "a", ALL),
            (1, "b", ALL), (2, "a", SOME), (2, "b", SOME),
        ]
    ]  # fmt: skip
    (contest,) = contests(lines, FEW)
    found = contest.methods["unet"].spread("dice")
    assert found is not None
    # Seeds: (0.75 + 1) / 2, 1 and 0.75.
    assert found.mean == pytest.approx((0.875 + 1 + 0.75) / 3)
    assert found.sd == pytest.approx(0.125)
    assert found.count == 3


def test_a_distance_that_is_null_is_infinite_and_other_nulls_were_not_taken() -> None:
    scores = values()["scores"]
    lines = [
        line(seed=seed, scores={**scores, "hd95_um": None if seed else 9.0, "betti_0_error": None})
        for seed in (0, 1)
    ]
    method = contests(lines, FEW)[0].methods["unet"]
    distance = method.spread("hd95_um")
    assert distance is not None
    assert math.isinf(distance.mean)
    assert method.spread("betti_0_error") is None
    assert method.spread("no_such_score") is None
    assert method.spread("note") is None
    assert "hd95_um" in method.score_names
    assert "betti_0_error" not in method.score_names


def test_ours_comes_first_then_families_the_best_first() -> None:
    lines = [
        *runs("sato", "classical", 0.9, seeds=(None,)),
        *runs("unet", "net", 0.6),
        *runs("dynunet", "net", 0.8),
        *runs("teacher", "ours", 0.9),
        *runs("vpbsd", "ours", 0.7),
    ]
    (contest,) = contests(lines, FEW)
    assert list(contest.methods) == ["vpbsd", "teacher", "dynunet", "unet", "sato"]
    assert contest.seeds == (0, 1, 2)
    assert contest.volumes == ("volume_000", "volume_001")


def test_what_is_missing_has_its_reason() -> None:
    lines = [
        *runs("unet", "net", 0.6),
        *runs("vnet", "net", 0.6, seeds=(0,)),
        *[r for r in runs("segresnet", "net", 0.6) if (r.seed, r.volume) != (1, "volume_001")],
        failed("training collapsed", method="unetr", seed=0),
        *runs("unetr", "net", 0.6, seeds=(1,)),
    ]
    methods = contests(lines, FEW)[0].methods
    assert methods["unet"].missing == {}
    assert methods["vnet"].missing == {1: "not run", 2: "not run"}
    assert methods["segresnet"].missing == {1: "no result on volume_001"}
    assert methods["segresnet"].seeds == (0, 2)
    assert methods["unetr"].missing == {0: "failed: training collapsed", 2: "not run"}


def test_pairs_have_the_seeds_that_both_have() -> None:
    lines = [
        *runs("vpbsd", "ours", 0.8),
        *runs("unet", "net", 0.7, seeds=(1, 2, 3)),
        *runs("vnet", "net", 0.7, seeds=(4,)),
        *runs("sato", "classical", 0.6, seeds=(None,)),
    ]
    (contest,) = contests(lines, FEW)
    both = contest.difference("vpbsd", "unet")
    assert both is not None
    assert len(both["dice"].per_seed) == 2
    assert contest.difference("vpbsd", "vnet") is None
    classical = contest.difference("vpbsd", "sato")
    assert classical is not None
    assert len(classical["dice"].per_seed) == 3


def test_comparisons_and_data_sets_are_kept_apart() -> None:
    lines = [line(), line(comparison="gpu"), line(dataset="other")]
    found = [(c.comparison, c.dataset) for c in contests(lines, FEW)]
    assert found == [("cpu", "simulated"), ("gpu", "simulated"), ("cpu", "other")]


def test_another_truth_is_not_compared() -> None:
    other = np.array([[20, 10, 10, 20, 15, 20, 10]])
    (contest,) = contests([line(SOME), line(other, method="vnet")], FEW)
    with pytest.raises(DataError, match="unet and vnet were not scored on the same truth"):
        contest.difference("unet", "vnet")


def test_a_method_has_one_family() -> None:
    with pytest.raises(DataError, match="unet on simulated is of the families net and semi"):
        contests([line(), line(family="semi", seed=1)], FEW)


def test_many_methods_tell_how_far_seeds_lie_apart() -> None:
    """With ten methods of equal spread an interval is narrower than a pair alone allows."""
    lines = [r for i in range(10) for r in runs(f"net_{i}", "net", 0.7, seeds=(0, 1, 2))]
    pair = [r for r in lines if r.method in ("net_0", "net_1")]
    many, alone = (
        contests(chosen, FEW)[0].difference("net_0", "net_1") for chosen in (lines, pair)
    )
    assert many is not None
    assert alone is not None
    assert many["dice"].value == alone["dice"].value
    assert many["dice"].high - many["dice"].low < alone["dice"].high - alone["dice"].low


def test_one_seed_borrows_the_spread_of_other_methods() -> None:
    lines = [
        one
        for i in range(6)
        for seed in (0, 1, 2)
        for one in runs(f"net_{i}", "net", 0.7 + 0.01 * ((i + seed) % 3), seeds=(seed,))
    ]
    once = runs("once", "net", 0.6, seeds=(0,))
    filtered = runs("sato", "classical", 0.6, seeds=(None,))
    (contest,) = contests([*lines, *once, *filtered])
    (bare,) = contests([r for r in (*lines, *once) if r.seed == 0])
    borrowed, without = (c.difference("net_0", "once") for c in (contest, bare))
    assert borrowed is not None
    assert without is not None
    assert (borrowed["dice"].borrowed, without["dice"].borrowed) == (True, False)
    assert borrowed["dice"].value == without["dice"].value
    # Every method has the seeds -0.01, 0, +0.01 about its mean, so that a difference of two single
    # seeds has the standard error √2 · 0.01: the interval is 2 · 1.96 · that, and what sub-blocks
    # add.
    width = borrowed["dice"].high - borrowed["dice"].low
    assert width > 2 * 1.95 * 2**0.5 * 0.01
    assert width > without["dice"].high - without["dice"].low
    seeds = contest.difference("net_0", "sato")
    assert seeds is not None
    assert not seeds["dice"].borrowed


def test_tuned_thresholds_tell_nothing_of_how_trainings_spread() -> None:
    def spread_out(name: str, family: str, dice: float, by: float) -> list[ResultLine]:
        """Three seeds that lie apart by ``by``."""
        return [
            one
            for seed in (0, 1, 2)
            for one in runs(name, family, dice + by * (seed - 1), seeds=(seed,))
        ]

    nets = [
        one
        for name, dice, by in [
            ("vpbsd", 0.80, 0.010), ("cwd", 0.76, 0.008), ("bcp", 0.74, 0.012),
            ("rkd", 0.70, 0.009), ("urpc", 0.72, 0.011),
        ]
        for one in spread_out(name, "ours" if name == "vpbsd" else "semi", dice, by)
    ]  # fmt: skip
    tuned = [
        one
        for name in ("sato", "frangi", "threshold", "otsu_hysteresis")
        for one in spread_out(name, "classical", 0.5, 0.1)
    ]
    alone, beside = (contests(lines)[0] for lines in (nets, [*nets, *tuned]))
    assert alone.difference("vpbsd", "cwd") == beside.difference("vpbsd", "cwd")
    # Nor do nets make a threshold that depends on its patches look sure.
    wide = beside.difference("vpbsd", "sato")
    assert wide is not None
    assert wide["dice"].high - wide["dice"].low > 0.2
