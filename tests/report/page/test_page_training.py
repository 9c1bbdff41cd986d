"""Runs on the page: curves and codebook from their logs, warnings, and what was run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vpbsd.cli.report import _patterns
from vpbsd.config import find_recipe, load_config, save_config
from vpbsd.report.page.page import Facts, Folded, Plot, Table, Text
from vpbsd.report.page.provenance import provenance_section
from vpbsd.report.page.sources import Sources
from vpbsd.report.page.training import (
    patterns_section,
    training_section,
    training_tiles,
)

CODES = {"perplexity": 8.0, "perplexity_share": 0.0625, "dead_code_share": 0.75}


def record(kind: str, step: int, **numbers: float) -> dict[str, Any]:
    return {"step": step, "kind": kind, **numbers}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of two stages: pretraining of 20 steps, and fine-tuning without validation."""
    config = load_config(find_recipe("demo"), {"pretrain.steps": "20", "finetune.steps": "30"})
    folder = tmp_path / "my run"
    folder.mkdir()
    save_config(config, folder / "config.yaml")
    logs = {
        "pretrain": [
            record("train", 10, loss=2.0, rec=1.5, perplexity=12.0, learning_rate=0.1),
            record("validation", 10, score=-0.5, rec=0.5, **CODES),
            record("train", 20, loss=1.0, rec=0.75, perplexity=9.0, learning_rate=0.1),
            record("validation", 20, score=-0.25, rec=0.25, **CODES),
        ],
        "finetune": [record("train", 10, loss=0.5, seg=0.5)],
    }
    about = {"command": "pretrain", "vpbsd": "0.1.0", "seed": 3, "python": "3.11.7",
             "time_utc": "2026-01-02T03:04:05+00:00", "libraries": {"torch": "2.13.0"},
             "machine": {"system": "Linux", "cores": 2, "memory_bytes": 2**33, "gpus": []},
             "inputs": {"labelled/a": "0123"}}  # fmt: skip
    for stage, records in logs.items():
        (folder / stage).mkdir()
        lines = "".join(json.dumps(r) + "\n" for r in records)
        (folder / stage / "metrics.jsonl").write_text(lines, encoding="utf-8")
        (folder / stage / "provenance.json").write_text(json.dumps(about), encoding="utf-8")
    return folder


def test_curves_of_losses_validation_and_codebook(run: Path) -> None:
    section, _ = training_section([run], {run: "my run"})
    assert section is not None
    plots = {i.layout["title"]["text"]: i for i in section.items if isinstance(i, Plot)}
    assert list(plots) == [
        "Training loss",
        "Validation, other numbers",
        "Codebook: perplexity",
        "Codebook: share of its codes",
    ]
    first = next(i for i in section.items if isinstance(i, Plot))
    assert [(t["name"], t["x"], t["y"]) for t in first.traces] == [
        ("loss", [10, 20], [2.0, 1.0]),
        ("rec", [10, 20], [1.5, 0.75]),
    ]
    perplexity = plots["Codebook: perplexity"].traces
    assert [t["y"] for t in perplexity] == [[12.0, 9.0], [8.0, 8.0]]
    shares = plots["Codebook: share of its codes"]
    assert [t["y"][-1] for t in shares.traces] == [0.0625, 0.75]
    assert shares.layout["yaxis"]["range"] == [0, 1.02]
    facts = [dict(i.rows) for i in section.items if isinstance(i, Facts)]
    assert facts[0]["Best validation score"] == "-0.25 at step 20"
    assert facts[0]["Perplexity at the end"] == "8 codes"
    assert facts[1] == {"Steps": "10 of 30"}


def test_what_looks_wrong_in_a_run(run: Path) -> None:
    _, found = training_section([run], {run: "my run"})
    assert [(f.where, f.what.split(":")[0][:30]) for f in found] == [
        ("run my run, pretrain", "the codebook is used as if 6.2"),
        ("run my run, pretrain", "75 % of the codes are dead, ab"),
        ("run my run, finetune", "stopped at step 10 of 30"),
        ("run my run, finetune", "no validation was recorded"),
    ]


def test_validation_scores_are_in_the_strip(run: Path) -> None:
    assert training_tiles([run], {run: "my run"}) == []
    scored = [record("validation", s, score=v, cldice=v, dice=v) for s, v in ((10, 0.9), (20, 0.8))]
    lines = "".join(json.dumps(r) + "\n" for r in scored)
    (run / "finetune" / "metrics.jsonl").write_text(lines, encoding="utf-8")
    (tile,) = training_tiles([run], {run: "my run"})
    assert (tile.label, tile.value, tile.note) == ("clDice on validation", "0.9", "my run")


def test_what_was_run(run: Path) -> None:
    section = provenance_section(Sources(runs=(run,)), {run: "my run"})
    assert section is not None
    steps = section.items[0]
    assert isinstance(steps, Table)
    assert list(steps.rows) == [
        [f"run my run: {stage}", "2026-01-02 03:04:05", "0.1.0", "3", "pretrain"]
        for stage in ("pretrain", "finetune")
    ]
    machine = next(dict(i.rows) for i in section.items if isinstance(i, Facts))
    assert (machine["Memory"], machine["GPUs"], machine["Cores"]) == ("8.0 GiB", "none", "2")
    folded = {i.summary: i.text for i in section.items if isinstance(i, Folded)}
    assert list(folded) == [
        "Versions of libraries",
        "Fingerprints of the input",
        "Effective configuration of my run",
    ]
    assert "steps: 20" in folded["Effective configuration of my run"]


def test_patterns_that_cannot_be_had_are_explained(run: Path) -> None:
    assert _patterns(run) is None
    (run / "teacher.safetensors").write_bytes(b"damaged")
    look = _patterns(run)
    assert look is not None and look.png is None
    assert look.note.startswith("no patterns can be shown: ")
    section = patterns_section({run: look}, {run: "my run"})
    assert section is not None
    assert isinstance(section.items[0], Text)
    assert patterns_section({}, {}) is None
