"""Bars against numbers: met, not met, and never met by what was not measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from result_lines import MACHINE, runs

from vpbsd.compare.results.labels import label_curves
from vpbsd.compare.results.lines import ResultLine
from vpbsd.compare.results.statistics import Bootstrap
from vpbsd.compare.results.summary import contests
from vpbsd.compare.tables.verdicts import PARTS, Benchmarks, Verdict, verdicts, verdicts_text

FEW = Bootstrap(resamples=500)
DATASETS = ("simulated", "lightsheet_few_shot", "twophoton_few_shot")
STUDENT: dict[str, Any] = {"deployed": "student_fine", "voxels_per_second": 2e6}
SLOW: dict[str, Any] = {"deployed": "dynunet", "voxels_per_second": 5e4}
UNTRAINED: dict[str, Any] = {"seeds": (None,), "budget": None, "steps": None, "deployed": None}

SAME_NET, ANY_NET, CLASSICAL, ABLATION, LABELS = range(5)


def everywhere(method: str, family: str, quality: float, **changed: Any) -> list[ResultLine]:
    return [r for d in DATASETS for r in runs(method, family, quality, dataset=d, **changed)]


def good() -> list[ResultLine]:
    """All that the first three bars ask for."""
    return [
        *everywhere("vpbsd", "ours", 0.85, **STUDENT),
        *everywhere("mean_teacher", "semi", 0.70, **STUDENT),
        *everywhere("logits", "distillation", 0.72, **STUDENT),
        *everywhere("dynunet", "net", 0.75, **SLOW),
        *everywhere("sato_oracle", "classical", 0.70, **UNTRAINED),
        *everywhere("threshold", "classical", 0.40, **UNTRAINED),
    ]


def judged(lines: Sequence[ResultLine], bar: int, benchmarks: Benchmarks | None = None) -> Verdict:
    found = contests(lines, FEW)
    return verdicts(found, label_curves(found), benchmarks)[bar]


def swapped(lines: Sequence[ResultLine], method: str, dataset: str, by: list[ResultLine]) -> Any:
    return [r for r in lines if (r.method, r.dataset) != (method, dataset)] + by


@pytest.mark.parametrize("bar", [SAME_NET, ANY_NET, CLASSICAL])
def test_a_clear_lead_meets_the_bars(bar: int) -> None:
    verdict = judged(good(), bar)
    assert verdict.outcome == "met", verdict.findings


def test_the_best_rival_of_each_kind_is_the_one_to_beat() -> None:
    findings = [" ".join(judged(good(), bar).findings) for bar in (SAME_NET, ANY_NET, CLASSICAL)]
    assert "above logits" in findings[SAME_NET]
    assert "mean_teacher" not in findings[SAME_NET]
    assert "above dynunet" in findings[ANY_NET]
    assert "40.0× the voxels/s of dynunet (2 against 0.05 Mvoxel/s)" in findings[ANY_NET]
    assert "above sato_oracle" in findings[CLASSICAL]


def test_one_data_set_behind_misses_the_bars() -> None:
    behind = runs("vpbsd", "ours", 0.60, dataset="lightsheet_few_shot", **STUDENT)
    lines = swapped(good(), "vpbsd", "lightsheet_few_shot", behind)
    for bar in (SAME_NET, ANY_NET, CLASSICAL):
        verdict = judged(lines, bar)
        assert verdict.outcome == "not met"
        assert any(f.startswith("(b) lightsheet_few_shot: not met.") for f in verdict.findings)


def test_a_lead_too_small_to_be_told_does_not_exclude_zero() -> None:
    lines = [
        *everywhere("vpbsd", "ours", 0.75, **STUDENT),
        *everywhere("cps", "semi", 0.745, **STUDENT),
    ]
    verdict = judged(lines, SAME_NET)
    assert verdict.outcome == "not met"
    assert "above 0 on 0 of 3 data sets" in verdict.findings[-1]


@pytest.mark.parametrize(("lead", "outcome"), [(0.08, "met"), (0.02, "not met")])
def test_classical_methods_are_beaten_by_points(lead: float, outcome: str) -> None:
    lines = [
        *everywhere("vpbsd", "ours", 0.70 + lead, **STUDENT),
        *everywhere("sato", "classical", 0.70, **UNTRAINED),
    ]
    assert judged(lines, CLASSICAL).outcome == outcome


def test_too_little_speed() -> None:
    slow = {**SLOW, "voxels_per_second": 2e5}
    lines = [r for r in good() if r.method != "dynunet"]
    verdict = judged([*lines, *everywhere("dynunet", "net", 0.75, **slow)], ANY_NET)
    assert verdict.outcome == "not met"
    assert "10.0× the voxels/s" in " ".join(verdict.findings)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"seeds": (0, 1)}, "2 seeds in common with dynunet, 3 are needed"),
        ({"budget": {"kind": "steps", "value": 9000}}, "the budget of dynunet is another"),
        ({"machine": {**MACHINE, "cpu": "other"}}, "timed on another machine"),
        ({"voxels_per_second": None}, "voxels/s of dynunet: not measured"),
    ],
)
def test_what_is_not_equal_is_not_measured(changed: dict[str, Any], reason: str) -> None:
    lines = [r for r in good() if r.method != "dynunet"]
    lines += everywhere("dynunet", "net", 0.75, **{**SLOW, **changed})
    verdict = judged(lines, ANY_NET)
    assert verdict.outcome == "not measured"
    assert reason in " ".join(verdict.findings)


def test_nothing_measured_meets_nothing() -> None:
    lines = runs("vpbsd", "ours", 0.9, dataset="elsewhere")
    for bar in range(5):
        assert judged(lines, bar).outcome == "not measured"
    # The same data set under its own name.
    named = Benchmarks(simulated="elsewhere", light_sheet="elsewhere", two_photon="elsewhere")
    rival = runs("cps", "semi", 0.5, dataset="elsewhere", deployed="unet")
    assert judged([*lines, *rival], SAME_NET, named).outcome == "met"


def test_parts_are_shown_each_with_what_it_does() -> None:
    lines = [
        *everywhere("vpbsd", "ours", 0.80, **STUDENT),
        *everywhere("no_codebook", "ablation", 0.70, **STUDENT),
        *everywhere("no_pretraining", "ablation", 0.80, **STUDENT),
        *everywhere("no_distillation", "ablation", 0.86, **STUDENT),
    ]
    verdict = judged(lines, ABLATION)
    assert verdict.outcome == "not measured"
    text = "\n".join(verdict.findings)
    assert "(a) codebook: helps. VpbSD is" in text
    assert "(a) pretraining: not shown to help." in text
    assert "(a) distillation: harms. VpbSD is" in text
    assert (
        "Not measured on any data set: pseudo-labels, recalibration, mirrored looks, "
        "self-teaching of the teacher, heterogeneity of the teacher." in text
    )
    lines += everywhere("no_pseudo_labels", "ablation", 0.79, **STUDENT)
    lines += everywhere("no_recalibration", "ablation", 0.79, **STUDENT)
    lines += everywhere("no_mirrors", "ablation", 0.79, **STUDENT)
    lines += everywhere("labels_only_teacher", "ablation", 0.79, **STUDENT)
    lines += everywhere("homogeneous_teacher", "ablation", 0.79, **STUDENT)
    assert judged(lines, ABLATION).outcome == "met"
    assert len(PARTS) == 8


@pytest.mark.parametrize(
    ("ours", "seeds", "outcome"),
    [
        ({1: 0.6, 4: 0.85, 16: 0.9}, (0, 1, 2), "met"),
        ({1: 0.6, 4: 0.7, 16: 0.9}, (0, 1, 2), "not met"),
        ({1: 0.6, 4: 0.7, 16: 0.7}, (0, 1, 2), "not met"),
        ({1: 0.6, 4: 0.85, 16: 0.9}, (0, 1), "not measured"),
    ],
)
def test_labels_needed(ours: dict[int, float], seeds: tuple[int, ...], outcome: str) -> None:
    lines = [
        r
        for patches, quality in ours.items()
        for method, family, reached in [
            ("vpbsd", "ours", quality),
            ("supervised_only", "semi", 0.8 if patches == 16 else 0.5),
        ]
        for r in runs(
            method, family, reached, seeds=seeds, dataset=f"labels_{patches}",
            labelled_patches=patches,
        )
    ]  # fmt: skip
    assert judged(lines, LABELS).outcome == outcome


def test_the_page_has_every_bar_twice() -> None:
    found = contests(good(), FEW)
    text = verdicts_text(found, [])
    rows = [r for r in text.splitlines() if r.startswith("| VpbSD") or r.startswith("| Each")]
    assert [r.rsplit("|", 2)[1].strip() for r in rows] == [
        "**met**", "**met**", "**met**", "**not measured**",
    ]  # fmt: skip
    assert text.count("\n## ") == 5
    assert "(a) simulated, (b) lightsheet_few_shot, (c) twophoton_few_shot" in text
