"""Curves over the number of labelled patches."""

from __future__ import annotations

from typing import Any

import pytest
from result_lines import runs

from vpbsd.compare.results.labels import label_curves
from vpbsd.compare.results.lines import ResultLine
from vpbsd.compare.results.statistics import Bootstrap
from vpbsd.compare.results.summary import contests

FEW = Bootstrap(resamples=200)


def at(patches: int, ours: float, alone: float, **changed: Any) -> list[ResultLine]:
    about = {"dataset": f"labels_{patches}", "labelled_patches": patches, **changed}
    return [
        *runs("vpbsd", "ours", ours, **about),
        *runs("supervised_only", "semi", alone, **about),
    ]


def curves_of(lines: list[ResultLine]) -> Any:
    return label_curves(contests(lines, FEW))


def test_data_sets_with_one_truth_make_a_curve() -> None:
    lines = [
        *at(16, 0.9, 0.8),
        *at(1, 0.6, 0.5),
        *at(4, 0.85, 0.7),
        # Another truth, and another comparison, are no part of it.
        *at(2, 0.9, 0.9, volumes=("elsewhere",)),
        *at(8, 0.9, 0.9, comparison="gpu"),
    ]
    (curve,) = curves_of(lines)
    assert list(curve.contests) == [1, 4, 16]
    assert curve.methods == ["vpbsd", "supervised_only"]
    spreads = curve.spreads("vpbsd")
    means = [s.mean for s in spreads.values()]
    assert means == pytest.approx([0.6, 0.85, 0.9], abs=0.03)
    assert curve.target == curve.contests[16].methods["supervised_only"].spread("cldice").mean
    assert curve.needed == 4


@pytest.mark.parametrize(
    ("lines", "target", "needed"),
    [
        (at(1, 0.6, 0.5) + at(16, 0.7, 0.8), True, None),  # never reached
        (at(1, 0.85, 0.5) + at(16, 0.9, 0.8), True, 1),
        (at(1, 0.9, 0.5) + at(8, 0.9, 0.8), False, None),  # 16 was not tried
    ],
)
def test_labels_needed(lines: list[ResultLine], target: bool, needed: int | None) -> None:
    (curve,) = curves_of(lines)
    assert (curve.target is not None) == target
    assert curve.needed == needed


def test_no_curve_of_one_number_or_none() -> None:
    assert curves_of(at(4, 0.9, 0.8)) == []
    assert curves_of([*at(4, 0.9, 0.8), *at(4, 0.9, 0.8, dataset="b")]) == []
    assert curves_of([*at(4, 0.9, 0.8), *at(8, 0.9, 0.8, labelled_patches=None)]) == []
