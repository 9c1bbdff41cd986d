"""The tables as a whole: which files, which rows, what their captions say."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import pytest
from result_lines import MACHINE, failed, line, runs, values

from vpbsd.compare.results.lines import ResultLine
from vpbsd.compare.results.statistics import Bootstrap
from vpbsd.compare.tables.write import comparison_folder, write_tables
from vpbsd.errors import DataError, OutputError

FEW = Bootstrap(resamples=300)


def all_lines() -> list[ResultLine]:
    return [
        *runs("vpbsd", "ours", 0.85, deployed="student_fine", what="all parts"),
        *runs("unet", "net", 0.75),
        *runs("mean_teacher", "semi", 0.80, seeds=(0, 1)),
        failed("collapsed: the mask is empty", method="mean_teacher", family="semi", seed=2),
        *runs("sato", "classical", 0.6, seeds=(None,), parameters=None, budget=None),
        *runs("no_codebook", "ablation", 0.80, what="no quantiser"),
        *runs("codebook_32x8", "design", 0.83),
    ]  # fmt: skip


def read(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text("utf-8"))))


def row_of(text: str, name: str) -> list[str]:
    (row,) = [r for r in text.splitlines() if r.startswith(f"| {name} |")]
    return [cell.strip() for cell in row.strip("|").split("|")]


def heads(text: str) -> list[str]:
    (row,) = [r for r in text.splitlines() if r.startswith("| method |")]
    return [cell.strip() for cell in row.strip("|").split("|")]


def methods_table(lines: list[ResultLine], out: Path) -> str:
    write_tables(lines, out, settings=FEW)
    return (out / "cpu" / "simulated" / "table1_methods.md").read_text("utf-8")


def test_files(tmp_path: Path) -> None:
    labels = [
        r
        for patches in (1, 16)
        for r in runs("vpbsd", "ours", 0.8, dataset=f"l{patches}", labelled_patches=patches)
    ]
    written = write_tables([*all_lines(), *labels], tmp_path, settings=FEW)
    names = {str(p.relative_to(tmp_path)) for p in written}
    tables = ("simulated/table1_methods", "simulated/table2_ablation", "simulated/table3_design",
              "simulated/table4_volumes", "l1/table1_methods", "l1/table4_volumes",
              "l16/table1_methods", "l16/table4_volumes", "table3_labels")  # fmt: skip
    wanted = {f"cpu/{t}.{suffix}" for t in tables for suffix in ("md", "csv", "tex")}
    assert names == wanted | {"cpu/verdicts.md"}
    assert all(p.stat().st_size > 50 for p in written)


def test_the_same_lines_make_the_same_files(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        lines = all_lines() if folder == "a" else all_lines()[::-1]
        write_tables(lines, tmp_path / folder, settings=FEW)
    first, second = (
        {p.name: p.read_bytes() for p in (tmp_path / f).rglob("*") if p.is_file()} for f in "ab"
    )
    # Order in the file of results does not matter either, bar that of equals.
    assert first == second


def test_numbers_in_cells_and_in_csv_agree(tmp_path: Path) -> None:
    scores = values()["scores"]
    lines = [
        line([[30, 10, 10, 20, 15, 20, 10]] if seed else [[40, 0, 0, 20, 20, 20, 20]], seed=seed,
             scores={**scores, "dice": 0.75 if seed else 1.0, "cldice": 0.6 if seed else 1.0,
                     "hd95_um": None if seed else 3.0},
             peak_memory_bytes=3 * 2**20, voxels_per_second=1.234e6, training_seconds=90.0)
        for seed in (0, 1)
    ]  # fmt: skip
    text = methods_table(lines, tmp_path)
    cells = dict(zip(heads(text), row_of(text, "unet"), strict=True))
    assert cells["seeds"] == "2"
    # Two seeds: mean 0.875, and 0.25 apart: a standard deviation of 0.25 / √2.
    assert cells["Dice"] == "**0.875 ± 0.177**"
    assert cells["clDice"] == "**0.800 ± 0.283**"
    assert cells["HD95 (µm)"] == "∞"
    assert cells["parameters (M)"] == "1.00"
    assert cells["kMAC per voxel"] == "50.0"
    assert cells["peak memory (MiB)"] == "3"
    assert cells["Mvoxel/s"] == "1.23"
    assert cells["training (min)"] == "1.5"
    (row,) = read(tmp_path / "cpu" / "simulated" / "table1_methods.csv")
    assert float(row["dice_mean"]) == pytest.approx(0.875)
    assert float(row["cldice_sd"]) == pytest.approx(0.2828, abs=1e-4)
    assert (row["hd95_um_mean"], row["hd95_um_sd"]) == ("inf", "")
    assert row["voxels_per_second"] == "1234000.0"


def test_failures_and_missing_seeds_are_shown(tmp_path: Path) -> None:
    text = methods_table(all_lines(), tmp_path)
    assert row_of(text, "mean_teacher")[1] == "2 of 3"
    assert row_of(text, "sato")[1] == "–"
    assert "- mean_teacher seed 2: failed: collapsed: the mask is empty" in text
    (row,) = [
        r
        for r in read(tmp_path / "cpu" / "simulated" / "table1_methods.csv")
        if r["method"] == "mean_teacher"
    ]
    assert row["seeds"] == "0 1"
    assert row["missing"] == "mean_teacher seed 2: failed: collapsed: the mask is empty"
    tex = (tmp_path / "cpu" / "simulated" / "table1_methods.tex").read_text("utf-8")
    assert r"mean\_teacher seed 2: failed" in tex


def test_a_method_that_never_worked_keeps_its_row(tmp_path: Path) -> None:
    lines = [*runs("vpbsd", "ours", 0.8), failed("no vessel", method="vnet", family="net")]
    text = methods_table(lines, tmp_path)
    assert row_of(text, "vnet")[1:4] == ["0 of 3", "–", "–"]
    assert "- vnet seed 0: failed: no vessel" in text
    assert "- vnet seeds 1, 2: not run" in text


def test_differences_and_sentences(tmp_path: Path) -> None:
    text = methods_table(all_lines(), tmp_path)
    cells = dict(zip(heads(text), row_of(text, "unet"), strict=True))
    found = re.fullmatch(r"\+(\d+\.\d) \((\d+\.\d) to (\d+\.\d)\)\*", cells["Δ clDice (points)"])
    assert found is not None
    value, low, high = (float(v) for v in found.groups())
    assert low < value < high
    assert value == pytest.approx(10, abs=1.5)
    assert row_of(text, "VpbSD")[-1] == ""
    assert "VpbSD is " in text
    assert "significant after correction for 3 comparisons" in text
    # Ablations are a table, and a correction, of their own.
    ablation = (tmp_path / "cpu" / "simulated" / "table2_ablation.md").read_text("utf-8")
    assert "significant in one comparison" in ablation
    assert "- no_codebook: no quantiser" in ablation


def test_the_best_is_marked_in_each_column(tmp_path: Path) -> None:
    text = methods_table(all_lines(), tmp_path)
    column = heads(text).index("clDice")
    assert row_of(text, "VpbSD")[column].startswith("**")
    assert not row_of(text, "unet")[column].startswith("**")


def test_low_is_best_where_it_counts_errors(tmp_path: Path) -> None:
    scores = values()["scores"]
    lines = [line(method=m, scores={**scores, "hd95_um": d}) for m, d in (("a", 5.0), ("b", None))]
    text = methods_table(lines, tmp_path)
    column = heads(text).index("HD95 (µm)")
    assert [row_of(text, m)[column] for m in "ab"] == ["**5.0**", "∞"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, "budget: 400 steps of training each"),
        ({"budget": {"kind": "seconds", "value": 600.0}}, "budget: 600 seconds of training each"),
        ({"budget": None}, "no training budget was noted"),
        ({}, "the thresholds were chosen on volume_900, which is not scored"),
        ({"validation": ["v_1", "v_2"]}, "were chosen on v_1, v_2, which are not scored"),
        ({"validation": [f"v_{i}" for i in range(4)]}, "chosen on 4 volumes, which are not scored"),
        ({"validation": ["volume_000"]}, "chosen on volume_000, which is scored too, for every"),
        ({"validation": None}, "which volumes chose the thresholds was not noted"),
        ({"validation": []}, "no volume chose the thresholds"),
        ({}, "AMD EPYC, 2 cores, no GPU, 1 thread."),
        ({"machine": {**MACHINE, "gpus": ["A100"]}}, "AMD EPYC, 2 cores, A100, 1 thread."),
        ({}, "2 sub-blocks of 32×32×32 voxels"),
        ({}, "1 test volume (volume_000)"),
        ({}, "mean ± standard deviation over 1 seed (0)"),
    ],
)
def test_captions_state_the_conditions(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    assert said in methods_table([line(**changed)], tmp_path)


def test_captions_name_few_volumes_and_count_many(tmp_path: Path) -> None:
    def text(count: int) -> str:
        return methods_table([line(volume=f"v_{i}") for i in range(count)], tmp_path / str(count))

    assert "3 test volumes (v_0, v_1, v_2);" in text(3)
    assert "4 test volumes;" in text(4)


def test_the_table_of_labels_names_its_data_sets(tmp_path: Path) -> None:
    lines = [
        r
        for patches in (1, 16)
        for r in runs("vpbsd", "ours", 0.8, dataset=f"l{patches}", labelled_patches=patches)
    ]
    write_tables(lines, tmp_path, settings=FEW)
    text = (tmp_path / "cpu" / "table3_labels.md").read_text("utf-8")
    assert "Data sets l1, l16, 2 test volumes (volume_000, volume_001) of each; " in text


def test_the_table_of_labels_compares_at_each_number_of_patches(tmp_path: Path) -> None:
    lines = [
        r
        for patches in (1, 16)
        for method, family, score in (("vpbsd", "ours", 0.8), ("supervised_only", "semi", 0.7))
        for r in runs(method, family, score, dataset=f"l{patches}", labelled_patches=patches)
    ]
    write_tables(lines, tmp_path, settings=FEW)
    text = (tmp_path / "cpu" / "table3_labels.md").read_text("utf-8")
    assert "Δ: VpbSD minus supervised_only with as many patches, in points" in text
    assert "Holm's correction for 2 comparisons" in text
    rows = [row.split(" | ") for row in text.splitlines() if row.startswith(("| Vp", "| su"))]
    ours, other = ("| VpbSD", "| supervised_only")
    assert [row[:2] for row in rows] == [[ours, "1"], [ours, "16"], [other, "1"], [other, "16"]]
    cells = [row[-2].split(" (")[0] for row in rows]
    points = re.findall(r"^- 16? labelled patch(?:es)?: .* ([+]?9[.]6) points", text, re.M)
    assert cells == ["+9.6", "+9.6", "", ""]
    assert [float(found) for found in points] == [9.6, 9.6]


def test_captions_state_what_is_not_equal(tmp_path: Path) -> None:
    lines = [
        line(),
        line(method="b", budget={"kind": "steps", "value": 900}, machine={"cpu": "other"}),
    ]
    text = methods_table(lines, tmp_path)
    assert (
        "budgets differ (400 steps of training each: unet; 900 steps of training each: b)" in text
    )
    assert "several machines, whose times do not compare: AMD EPYC, 2 cores" in text


def test_without_ours_nothing_is_compared(tmp_path: Path) -> None:
    text = methods_table(runs("unet", "net", 0.7), tmp_path)
    assert "VpbSD has no result here, so that nothing is compared with it" in text
    assert "significant" not in text


def test_scores_that_nobody_has_are_named(tmp_path: Path) -> None:
    scores = {k: v for k, v in values()["scores"].items() if k in ("dice", "cldice")}
    text = methods_table([line(scores=scores)], tmp_path)
    assert "surface Dice, 1 voxel" not in heads(text)
    assert "- not measured: surface Dice, 1 voxel, surface Dice, 2 voxels, HD95 (µm)" in text


def test_names_cannot_leave_the_folder(tmp_path: Path) -> None:
    assert comparison_folder(tmp_path, "../up", "a/b").parts[-2:] == ("up", "a_b")
    assert comparison_folder(tmp_path, "..").name == "unnamed"


def test_nothing_to_tell_and_nowhere_to_write(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no results to make tables of"):
        write_tables([], tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot make"):
        write_tables([line()], tmp_path / "file", settings=FEW)
