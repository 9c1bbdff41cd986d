"""Result lines: strict, whole, and safe from whoever else writes them."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from result_lines import failed, line, values

from vpbsd.compare.results.lines import COUNTS, ResultLine, append_result, read_results
from vpbsd.errors import DataError, OutputError


def without(key: str) -> dict[str, Any]:
    return {k: v for k, v in values().items() if k != key}


# ------------------------------------------------------------------------------- what a line holds


def test_a_line_survives_json() -> None:
    whole = line(labelled_patches=4, what="Mean Teacher (Tarvainen and Valpola 2017)")
    again = ResultLine.from_dict(json.loads(json.dumps(whole.to_dict())))
    assert again == whole
    assert again.key == ("cpu", "simulated", "unet", 0, "volume_000")
    assert again.counts.tolist() == [[30, 10, 10, 20, 15, 20, 10], [0] * 7]


def test_numbers_of_numpy_become_plain_ones() -> None:
    found = ResultLine(
        **{
            **values(),
            "seed": np.int64(3),
            "parameters": np.int32(7),
            "training_seconds": np.float32(1.5),
            "blocks": {
                "edge_voxels": (np.int64(8), 8, 8),
                **{
                    name: [np.int64(n)]
                    for name, n in zip(COUNTS, [3, 1, 1, 4, 3, 4, 2], strict=True)
                },
            },
            "scores": {"dice": np.float64(0.75), "cldice": np.float64(0.6)},
        }
    )
    written = found.to_dict()
    assert (written["seed"], written["parameters"], written["training_seconds"]) == (3, 7, 1.5)
    assert written["blocks"]["edge_voxels"] == [8, 8, 8]
    assert json.loads(json.dumps(written)) == written


def test_optional_values_may_be_absent_or_null() -> None:
    for key in ("labelled_patches", "validation"):
        assert getattr(ResultLine.from_dict(without(key)), key) is None
    classical = line(
        seed=None, threshold=-3.5, parameters=None, steps=None, budget=None, deployed=None,
        training_seconds=None, mac_per_voxel=None,
    )  # fmt: skip
    assert classical.seed is None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"method": ""}, "method must be text, got ''"),
        ({"family": "nets"}, "family must be one of ours, ablation, design, net, semi"),
        ({"seed": 1.0}, "seed must be a whole number from 0, or null, got 1.0"),
        ({"seed": True}, "seed must be a whole number from 0, or null, got True"),
        ({"seed": -1}, "seed must be a whole number from 0"),
        ({"steps": 2.5}, "steps must be a whole number"),
        ({"training_seconds": float("inf")}, "training_seconds must be a finite number from 0"),
        ({"voxels_per_second": -1.0}, "voxels_per_second must be a finite number from 0"),
        ({"threshold": float("nan")}, "threshold must be a finite number, got nan"),
        ({"scores": {"dice": 0.75}}, "scores.cldice must be a share from 0 to 1, got None"),
        ({"scores": {"dice": 1.5, "cldice": 0.5}}, "scores.dice must be a share .*, got 1.5"),
        ({"scores": {"dice": float("nan")}}, "scores.dice must be a finite number, text or null"),
        ({"scores": {"dice": 0.6, "cldice": 0.6}}, "scores.dice is 0.6, but the counts of the"),
        ({"scores": {"dice": 0.75, "cldice": 0.7}}, "scores.cldice is 0.7, but .* make 0.6"),
        ({"budget": {"kind": "hours", "value": 2}}, "budget.kind must be steps or seconds"),
        ({"budget": {"kind": "steps", "value": 0}}, "budget.value must be a number above 0"),
        ({"budget": {"kind": "steps"}}, "budget must have kind and value"),
        ({"machine": {"load": float("nan")}}, "machine holds what JSON cannot"),
        ({"machine": "laptop"}, "machine must be an object, got 'laptop'"),
        ({"validation": "volume_900"}, "validation must be a list of names"),
        ({"blocks": None}, "blocks must have exactly edge_voxels, false_negative"),
        ({"failure": "no vessel"}, "a failure has no scores and blocks"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        line(**changed)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"true_positive": [30]}, "list every sub-block once"),
        ({"true_positive": [30, -1]}, "blocks.true_positive must be whole numbers from 0"),
        ({"true_positive": [30, 0.5]}, "blocks.true_positive must be whole numbers from 0"),
        ({"true_positive": 30}, "blocks.true_positive must be a list, got 30"),
        ({"line_true_inside": [21, 0]}, "blocks.line_true_inside is above blocks.line_true"),
        ({"edge_voxels": [32, 32]}, r"edge_voxels must be z, y, x, got \[32, 32\]"),
        ({name: [] for name in COUNTS}, "list every sub-block once"),
        ({"more": [1, 2]}, "blocks must have exactly"),
    ],
)
def test_counts_that_contradict_each_other_are_refused(
    changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        line(blocks={**values()["blocks"], **changed})


def test_missing_and_unknown_keys_are_named() -> None:
    with pytest.raises(DataError, match=r"^lacks steps$"):
        ResultLine.from_dict(without("steps"))
    with pytest.raises(DataError, match="has dize, which this version of vpbsd does not know"):
        ResultLine.from_dict({**values(), "dize": 1})


def test_two_empty_masks_agree() -> None:
    assert line([(0,) * 7] * 3).scores["cldice"] == 1.0


def test_a_failure_holds_its_reason_alone() -> None:
    found = failed("training collapsed", method="vnet")
    assert ResultLine.from_dict(found.to_dict()) == found
    assert found.counts.shape == (0, 7)


# ------------------------------------------------------------------------------------------- files


def test_a_newer_line_takes_the_place_of_the_older(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "results.jsonl"
    for name in ("unet", "vnet", "segresnet"):
        append_result(path, line(method=name))
    append_result(path, line(method="vnet", training_seconds=5.0))
    found = read_results(path)
    assert [r.method for r in found] == ["unet", "vnet", "segresnet"]
    assert [r.training_seconds for r in found] == [600.0, 5.0, 600.0]
    # Each part of the name makes another line.
    for changed in ({"comparison": "gpu"}, {"dataset": "b"}, {"seed": 1}, {"volume": "x"}):
        append_result(path, line(**changed))
    assert len(read_results(path)) == 7
    assert path.read_text("utf-8").count("\n") == 7


def test_characters_that_end_a_line_elsewhere_do_not_here(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    odd = line(what="one\u2028two\x85three")
    append_result(path, odd)
    append_result(path, line(method="vnet"))
    assert read_results(path)[0] == odd


def test_half_a_last_line_is_dropped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "results.jsonl"
    append_result(path, line())
    whole = path.read_text("utf-8")
    path.write_text(whole + whole[:200], "utf-8")
    with caplog.at_level(logging.WARNING):
        assert read_results(path) == [line()]
    assert "line 2 was cut short and is left out" in caplog.text
    append_result(path, line(method="vnet"))
    assert [r.method for r in read_results(path)] == ["unet", "vnet"]


def test_damage_elsewhere_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    append_result(path, line())
    damaged = '{"half": \n' + path.read_text("utf-8")
    path.write_text(damaged, "utf-8")
    for attempt in (lambda: read_results(path), lambda: append_result(path, line(seed=1))):
        with pytest.raises(DataError, match=r"line 1: not JSON \(.*take the line out"):
            attempt()
    assert path.read_text("utf-8") == damaged


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"seed": NaN}', "NaN is no number that a result may hold"),
        ("[1, 2]", "a result is a JSON object"),
        ("{}", "lacks comparison, dataset"),
    ],
)
def test_lines_that_are_no_results_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(text + "\n", "utf-8")
    with pytest.raises(DataError, match=f"a.jsonl, line 1: {message}"):
        read_results(path)


def test_several_files_and_folders(tmp_path: Path) -> None:
    append_result(tmp_path / "a.jsonl", line())
    append_result(tmp_path / "more" / "b.jsonl", line())
    append_result(tmp_path / "more" / "c.jsonl", line(method="vnet"))
    (tmp_path / "more" / "notes.txt").write_text("not read")
    # The same line in two files comes once ...
    found = read_results([tmp_path / "a.jsonl", tmp_path / "more"])
    assert [r.method for r in found] == ["unet", "vnet"]
    # ... two that differ are refused.
    append_result(tmp_path / "more" / "c.jsonl", line(steps=3))
    with pytest.raises(DataError, match=r"unet on simulated, seed 0, volume_000 stands in"):
        read_results([tmp_path / "a.jsonl", tmp_path / "more"])


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no results in .*: give the .jsonl files"):
        read_results(tmp_path)
    with pytest.raises(DataError, match=r"cannot read results from .*no.jsonl"):
        read_results(tmp_path / "no.jsonl")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot make the folder"):
        append_result(tmp_path / "file" / "results.jsonl", line())


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from result_lines import line
from vpbsd.compare.results.lines import append_result
for seed in range(8):
    append_result(Path(sys.argv[2]), line(method=sys.argv[3], seed=seed))
"""


def test_two_processes_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(Path(__file__).parents[1]), str(path), name],
            env=dict(os.environ),
        )
        for name in ("unet", "vnet")
    ]
    assert [process.wait(timeout=120) for process in started] == [0, 0]
    found = {(r.method, r.seed) for r in read_results(path)}
    assert found == {(m, s) for m in ("unet", "vnet") for s in range(8)}
