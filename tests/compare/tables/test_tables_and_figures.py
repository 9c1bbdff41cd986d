"""Everything that result lines make, in one call."""

from __future__ import annotations

from pathlib import Path

import pytest
from result_lines import runs

from vpbsd.cli.tables_and_figures import write_comparison
from vpbsd.compare.results.lines import append_result
from vpbsd.errors import DataError


def write_lines(folder: Path) -> None:
    lines = [
        *runs("vpbsd", "ours", 0.85, seeds=(0, 1)),
        *runs("unet", "net", 0.75, seeds=(0, 1)),
        *runs("sato", "classical", 0.6, seeds=(None,)),
        *runs("no_codebook", "ablation", 0.80, seeds=(0, 1)),
        *[
            r
            for patches in (1, 16)
            for name, family in (("vpbsd", "ours"), ("supervised_only", "semi"))
            for r in runs(
                name, family, 0.7, (0, 1), dataset=f"few_{patches}", labelled_patches=patches
            )
        ],
    ]
    for one in lines:
        append_result(folder / "cpu.jsonl", one)


def test_tables_and_figures_from_lines_alone(tmp_path: Path) -> None:
    write_lines(tmp_path / "results")
    written = write_comparison(tmp_path / "results", tmp_path / "out")
    names = {str(p.relative_to(tmp_path / "out" / "cpu")) for p in written}
    figures = {"ablation", "labels", "simulated/speed", "simulated/differences"}
    # Two methods make no figure of speeds: few_1 and few_16 have tables alone.
    assert {n for n in names if n.endswith((".png", ".pdf"))} == {
        f"{figure}{suffix}" for figure in figures for suffix in (".png", ".pdf")
    }
    assert {"verdicts.md", "table3_labels.md", "few_1/table1_methods.tex"} <= names
    assert all(p.stat().st_size > 50 for p in written)


def test_a_folder_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no results in"):
        write_comparison(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
