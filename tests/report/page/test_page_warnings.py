"""Each rule on both sides of its limit; each names the number and what to do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from vpbsd.report.page.page import Finding
from vpbsd.report.page.warnings import (
    GraphNumbers,
    MaskNumbers,
    blocks_warnings,
    graph_warnings,
    mask_warnings,
    ordered,
    stage_warnings,
)

SOUND = GraphNumbers(
    name="graph", nodes=100, edges=150, branch_points=80, free_ends=20, border_ends=10,
    spurs=3, components=2, largest_component_share=0.98, length_um=5000.0,
    radius_mean_um=3.0, radius_max_um=20.0, largest_radius_um=40.0,
)  # fmt: skip


def told(found: list[Finding]) -> list[tuple[str, str]]:
    return [(f.level, f.what) for f in found]


@pytest.mark.parametrize(
    ("share", "level", "says"),
    [
        (0.0, "serious", "empty"),
        (0.5, "serious", "nearly full: 50 %"),
        (1.0, "serious", "nearly full: 100 %"),
        (0.25, "notice", "25 %"),
        (0.49, "notice", "49 %"),
    ],
)
def test_mask_that_is_empty_or_full(share: float, level: str, says: str) -> None:
    (found,) = mask_warnings(MaskNumbers("m", share))
    assert found.level == level
    assert says in found.what
    assert found.where == "mask m"
    assert len(found.advice) > 40


@pytest.mark.parametrize("share", [1e-6, 0.02, 0.249])
def test_mask_as_usual_is_no_warning(share: float) -> None:
    assert mask_warnings(MaskNumbers("m", share)) == []


def test_missing_blocks() -> None:
    assert blocks_warnings("m", 8, 0, finished=True) == []
    (failed,) = blocks_warnings("m", 8, 2, finished=True)
    (stopped,) = blocks_warnings("m", 8, 0, finished=False)
    assert failed.what == "not complete: 8 blocks are done and 2 failed"
    assert stopped.what == "not complete: 8 blocks are done and 0 failed"
    assert {failed.level, stopped.level} == {"serious"}


def log(losses: list[float], *, validation: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    records = [{"kind": "train", "step": i + 1, "loss": v} for i, v in enumerate(losses)]
    if validation is not None:
        records.append({"kind": "validation", "step": len(losses), "score": 0.5, **validation})
    return records


def test_stage_that_went_well() -> None:
    assert stage_warnings("distill", log([1.0] * 16, validation={}), 16) == []


def test_stage_that_was_stopped() -> None:
    found = stage_warnings("distill", log([1.0] * 4, validation={}), 16, "run,")
    assert told(found) == [("notice", "stopped at step 4 of 16")]
    assert found[0].where == "run, distill"


def test_stage_without_validation() -> None:
    (found,) = stage_warnings("finetune", log([1.0] * 4), 4)
    assert found.level == "serious"
    assert "no validation" in found.what
    assert "finetune.validate_every" in found.advice


def test_loss_that_still_falls() -> None:
    # Means of the last two quarters: 1.0 and 0.9, a fall of 10 %; then 1.0 and 0.96, of 4 %.
    falling = [2.0] * 4 + [1.5] * 4 + [1.0] * 4 + [0.9] * 4
    level = [2.0] * 4 + [1.5] * 4 + [1.0] * 4 + [0.96] * 4
    (found,) = stage_warnings("distill", log(falling, validation={}), 16)
    assert found.what.startswith("the loss was still falling at the end: by 10 %")
    assert "distill.steps" in found.advice
    assert stage_warnings("distill", log(level, validation={}), 16) == []
    assert stage_warnings("distill", log(falling[-8:][::4], validation={}), 2) == []


@pytest.mark.parametrize(
    ("validation", "expected"),
    [
        ({"perplexity": 12.0, "perplexity_share": 0.09, "dead_code_share": 0.2}, ["9 %"]),
        ({"perplexity": 30.0, "perplexity_share": 0.3, "dead_code_share": 0.6}, ["60 %"]),
        ({"perplexity": 3.0, "perplexity_share": 0.02, "dead_code_share": 0.9}, ["2 %", "90 %"]),
        ({"perplexity": 30.0, "perplexity_share": 0.1, "dead_code_share": 0.5}, []),
    ],
)
def test_codebook(validation: dict[str, float], expected: list[str]) -> None:
    found = stage_warnings("pretrain", log([1.0], validation=validation), 1)
    assert len(found) == len(expected)
    assert all(number in f.what for number, f in zip(expected, found, strict=True))


def test_sound_graph() -> None:
    assert graph_warnings(SOUND) == []


@pytest.mark.parametrize(
    ("change", "level", "says"),
    [
        ({"edges": 0}, "serious", "0 edges"),
        ({"free_ends": 36}, "notice", "36 % of the nodes are free ends inside"),
        ({"spurs": 24}, "notice", "16 % of the segments are spurs"),
        ({"largest_component_share": 0.4}, "notice", "holds 40 % of the length"),
        ({"radius_max_um": 40.0}, "notice", "the largest radius, 40 µm, reaches the 40 µm"),
    ],
)
def test_graph_that_looks_wrong(change: dict[str, Any], level: str, says: str) -> None:
    (found,) = graph_warnings(replace(SOUND, **change))
    assert found.level == level
    assert says in found.what
    assert found.where == "graph"


def test_graph_at_the_limits_is_no_warning() -> None:
    edge = replace(SOUND, free_ends=35, spurs=22, largest_component_share=0.5, radius_max_um=39.9)
    assert graph_warnings(edge) == []
    assert graph_warnings(replace(SOUND, largest_radius_um=None, radius_max_um=500.0)) == []


def test_serious_findings_come_first_and_keep_their_order() -> None:
    found = [
        Finding("notice", "a", ""),
        Finding("serious", "b", ""),
        Finding("notice", "c", ""),
        Finding("serious", "d", ""),
    ]
    assert [f.what for f in ordered(found)] == ["b", "d", "a", "c"]
