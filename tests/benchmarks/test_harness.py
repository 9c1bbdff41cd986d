"""Rows, bars, timing in turn, the file of results and the table."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

MACHINE = {
    "cpu": "Some CPU",
    "cores": 2,
    "cpu_flags": ["avx512_bf16"],
    "memory_bytes": 24 * 2**30,
    "gpus": [],
    "python": "3.11.9",
    "versions": {"torch": "2.13.0", "openvino": "missing"},
}


def result(name: str, value: float | None, **changes: Any) -> dict[str, Any]:
    """A row as it stands in the file of results."""
    stored = {"name": name, "value": value, "bar": "≥ 300", "holds": True, "unit": "x"}
    return {**stored, "details": {}, "quick": False, "machine": MACHINE, "seed": 0, **changes}


@pytest.mark.parametrize(
    ("name", "value", "holds"),
    [
        ("speed_over_dynunet_fast", 300.0, True),
        ("speed_over_dynunet_fast", 299.9, False),
        ("io_share_fast", 0.10, True),
        ("io_share_fast", 0.11, False),
        ("io_share_fast", math.nan, False),
        ("speed_over_dynunet_fast", math.nan, False),
    ],
)
def test_row_holds_from_its_bar_on(
    harness: ModuleType, name: str, value: float, holds: bool
) -> None:
    assert harness.Row(name, value).holds is holds


def test_bars_read_as_they_are_asked(bars: ModuleType) -> None:
    asked = {name: str(bar) for name, bar in bars.BARS.items()}
    assert asked == {
        "end_to_end_over_one_pass_fast": "≥ 0.7",
        "end_to_end_over_one_pass_fine": "≥ 0.7",
        "ceiling_share_fast": "≥ 0.65",
        "ceiling_share_fine": "≥ 0.65",
        "speed_over_dynunet_fast": "≥ 300",
        "speed_over_dynunet_fine": "≥ 150",
        "speed_over_swinunetr_fast": "≥ 250",
        "speed_over_frangi_fast": "≥ 30",
        "int8_over_bf16_fast": "≥ 1.5",
        "int8_over_bf16_fine": "≥ 1.5",
        "io_share_fast": "≤ 0.1",
        "io_share_fine": "≤ 0.1",
        "memory_growth": "≤ 1.1",
        "memory_peak_gb": "≤ 4",
        "memory_projection": "≥ 1",
        "two_workers_over_one": "≥ 1.8",
        "engine_serial_ms": "≤ 5",
        "engine_dask_ms": "≤ 5",
        "ledger_million_s": "≤ 60",
        "ledger_million_memory_gb": "≤ 1",
        "ledger_million_disk_gb": "≤ 1",
        "planned_time_error": "≤ 0.2",
        "graph_mvoxel_per_s": "≥ 10",
        "graph_peak_gb": "≤ 4",
        "graph_memory_growth": "≤ 1.1",
        "graph_private_gb_per_gigavoxel": "≤ 0.05",
        "graph_different": "≤ 1",
        "graph_over_skan": "≥ 2",
        "gpu_fine_mvoxel_per_s": "≥ 50",
    }


def test_row_without_value_says_why_and_neither_holds_nor_fails(harness: ModuleType) -> None:
    row = harness.Row("int8_over_bf16_fast", None, {"reason": "openvino is not installed"})
    assert row.holds is None
    with pytest.raises(ValueError, match="reason"):
        harness.Row("int8_over_bf16_fast", None)


def test_row_without_bar_is_refused(harness: ModuleType) -> None:
    with pytest.raises(KeyError, match=r"bars\.py"):
        harness.Row("speed_of_light", 1.0)


def test_row_in_the_file_has_all_that_a_reader_needs(
    harness: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["/somewhere/rivals.py", "--work", "/tmp/x", "--quick"])
    arguments = argparse.Namespace(quick=True, seed=3, threads=2)
    row = harness.Row("speed_over_frangi_fast", 31.25, {"edge": 64}).to_dict(arguments)
    machine = row.pop("machine")
    assert row == {
        "name": "speed_over_frangi_fast",
        "value": 31.25,
        "bar": "≥ 30",
        "holds": True,
        "unit": "x",
        "details": {"edge": 64},
        "quick": True,
        "seed": 3,
        "command": "python benchmarks/rivals.py --quick --seed 3 --threads 2",
    }
    assert {"cpu", "cores", "versions"} <= set(machine)
    assert machine["versions"]["torch"] != "missing"


def test_sides_are_timed_in_turn_after_a_warm_up(harness: ModuleType) -> None:
    calls: list[str] = []
    sides = {name: (lambda name=name: calls.append(name)) for name in "ab"}
    seconds = harness.interleaved(sides, rounds=2)
    assert "".join(calls) == "ababab"
    assert {name: len(values) for name, values in seconds.items()} == {"a": 2, "b": 2}
    assert harness.medians({"a": [3.0, 1.0, 2.0]}) == {"a": 2.0}


def test_merging_replaces_rows_of_the_same_name_in_the_order_of_the_bars(
    harness: ModuleType, tmp_path: Path
) -> None:
    file = tmp_path / "new" / "results.json"
    harness.merge(file, [result("io_share_fast", 0.5), result("ceiling_share_fast", 0.6)])
    harness.merge(file, [result("io_share_fast", 0.05)])
    stored = json.loads(file.read_text("utf-8"))
    assert [(row["name"], row["value"]) for row in stored] == [
        ("ceiling_share_fast", 0.6),
        ("io_share_fast", 0.05),
    ]
    assert harness.read_results(tmp_path / "none.json") == []


def test_table_shows_what_holds_what_does_not_and_what_was_not_measured(
    harness: ModuleType,
) -> None:
    results = [
        result("speed_over_dynunet_fast", 1234.5),
        result("io_share_fast", 0.1234, bar="≤ 0.1", holds=False),
        result(
            "int8_over_bf16_fast",
            None,
            bar="≥ 1.5",
            holds=None,
            details={"reason": "no openvino | nncf"},
        ),
        result("engine_serial_ms", 2.345, bar="≤ 5", unit="ms"),
    ]
    assert harness.render_table(results).splitlines() == [
        "| measured | value | bar | holds |",
        "|---|---|---|---|",
        "| end to end (zarr in, mask with pyramid out) against nnU-Net's net, `fast` | 1,234 × "
        "| ≥ 300 | yes |",
        "| reading and writing, share of the time, `fast` | 0.123 | ≤ 0.1 | **no** |",
        "| int8 against bf16, end to end, `fast` | | ≥ 1.5 | not measured: no openvino / nncf |",
        "| engine per block at 10,000 blocks, serial | 2.35 ms | ≤ 5 | yes |",
    ]


def test_table_refuses_rows_of_quick_runs(harness: ModuleType) -> None:
    with pytest.raises(ValueError, match="io_share_fast is from --quick"):
        harness.render_table([result("io_share_fast", 0.1, quick=True)])


def test_table_goes_between_the_marks_and_nowhere_else(harness: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("Before.\n<!-- table: begin -->\nstale\n<!-- table: end -->\nAfter.\n", "utf-8")
    harness.write_table(page, [result("speed_over_dynunet_fast", 301.0)])
    text = page.read_text("utf-8")
    assert text.startswith("Before.\n<!-- table: begin -->\nMachine: 2 cores of Some CPU ")
    assert "24 GiB, no GPU; Python 3.11.9, torch 2.13.0.\n\n| measured" in text
    assert "stale" not in text
    assert text.endswith("| 301 × | ≥ 300 | yes |\n<!-- table: end -->\nAfter.\n")
    harness.write_table(page, [result("speed_over_dynunet_fast", 301.0)])
    assert page.read_text("utf-8") == text
    page.write_text("No marks.", "utf-8")
    with pytest.raises(ValueError, match="lacks the marks"):
        harness.write_table(page, [])
