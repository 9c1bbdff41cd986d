"""Every script runs, on volumes too small to mean anything, and yields every figure."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest


def run(script: Path, *options: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(script), *(str(o) for o in options)],
        env={**os.environ, "PYTHONPATH": str(script.parents[1] / "src")},
        check=False,
        capture_output=True,
        text=True,
        timeout=280,
    )


@pytest.mark.slow
def test_all_scripts_run_and_yield_every_figure(
    benchmark_folder: Path, bars: ModuleType, tmp_path: Path
) -> None:
    import torch

    out = tmp_path / "results.json"
    done = run(benchmark_folder / "run_all.py", "--quick", "--out", out)
    assert done.returncode == 0, done.stderr
    results = json.loads(out.read_text("utf-8"))
    expected = set(bars.BARS)
    if not torch.cuda.is_available():
        expected -= {"gpu_fine_mvoxel_per_s"}
    assert {row["name"] for row in results} == expected
    for row in results:
        assert row["quick"] is True, row
        assert "--work" not in row["command"], row
        if row["value"] is None:
            # int8 needs an extra, and a model that was trained for more than a moment.
            assert row["name"].startswith("int8_over_bf16"), row
            assert row["details"]["reason"], row
        else:
            assert math.isfinite(row["value"]), row
            assert row["holds"] in (True, False), row
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"], "volumes were left behind"


def test_run_all_knows_every_script(
    benchmark_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(benchmark_folder))
    import run_all

    measuring = {
        path.stem
        for path in benchmark_folder.glob("*.py")
        if "harness.run(measure" in path.read_text("utf-8")
    }
    assert measuring == set(run_all.SCRIPTS)


def test_table_is_made_again_from_the_results(benchmark_folder: Path, tmp_path: Path) -> None:
    results, page = tmp_path / "results.json", tmp_path / "page.md"
    page.write_text("<!-- table: begin -->\n<!-- table: end -->\n", "utf-8")
    machine = {
        "cpu": "Some CPU",
        "cores": 2,
        "cpu_flags": [],
        "memory_bytes": 2**34,
        "gpus": ["Some GPU"],
        "python": "3.11.9",
        "versions": {"torch": "2.13.0"},
    }
    row = {"name": "engine_dask_ms", "value": 6.0, "bar": "≤ 5", "holds": False, "unit": "ms"}
    row |= {"details": {}, "quick": False, "machine": machine, "seed": 0, "command": "x"}
    results.write_text(json.dumps([row]), "utf-8")
    script = benchmark_folder / "run_all.py"
    done = run(script, "--table-only", "--out", results, "--table", page)
    assert done.returncode == 0, done.stderr
    assert "bars missed: ['engine_dask_ms']" in done.stderr
    assert "| 6.00 ms | ≤ 5 | **no** |" in page.read_text("utf-8")
    assert "16 GiB, Some GPU; Python 3.11.9, torch 2.13.0." in page.read_text("utf-8")
