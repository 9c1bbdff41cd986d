"""Groups on a page: animals as the unit, numbers as written out, and what cannot be compared."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import pytest
from graph_folders import write_graph

from vpbsd import cli
from vpbsd.errors import DataError
from vpbsd.report.page.groups import groups_page, read_groups
from vpbsd.report.page.page import Plot, Section, Table, Text


def animal(folder: Path, density: float, cortex: float | None, name: str = "cortex") -> Path:
    rows = [
        {"region": 0, "name": "all", "length_density_mm_per_mm3": density,
         "capillary_length_share": 0.9},
        {"region": 7, "name": name, "length_density_mm_per_mm3": cortex,
         "capillary_length_share": 0.8},
    ]  # fmt: skip
    return write_graph(folder, [], [], regions=rows)


def cohort(root: Path, group: str, densities: Sequence[float]) -> tuple[str, list[Path]]:
    return group, [animal(root / group / f"m{i}", d, 2 * d) for i, d in enumerate(densities)]


@pytest.fixture
def groups(tmp_path: Path) -> list[tuple[str, list[Path]]]:
    return [
        cohort(tmp_path, "control", [10.0, 11.0, 12.0]),
        cohort(tmp_path, "<b>treated", [7.0, 8.0, 9.0, 8.0]),
    ]


def made(groups: list[tuple[str, list[Path]]], out: Path, **more: bool) -> dict[str, Section]:
    page = groups_page(read_groups(groups), out, made="2026-01-02", **more)
    return {section.name: section for section in page.sections}


def test_means_and_counts_are_over_animals(
    tmp_path: Path, groups: list[tuple[str, list[Path]]]
) -> None:
    sections = made(groups, tmp_path / "groups.html")
    (table,) = sections["differences"].items
    assert isinstance(table, Table)
    labels = [c.label for c in table.columns]
    row = next(r for r in table.rows if r[0] == "whole volume" and "density" in r[1])
    shown = dict(zip(labels, row, strict=True))
    # Means of 10, 11, 12 and of 7, 8, 9, 8.
    assert (shown["Reference mean"], shown["Mean"], shown["Difference"]) == ("11", "8", "-3")
    assert (shown["n, reference"], shown["n"]) == ("3", "4")
    # Of 35 ways to part seven animals, the one seen is the most extreme, alone.
    assert shown["p, permutation"] == "0.0286"
    assert "animal is the unit" in next(
        i.text for i in sections["design"].items if isinstance(i, Text)
    )


def test_every_animal_is_a_dot(tmp_path: Path, groups: list[tuple[str, list[Path]]]) -> None:
    sections = made(groups, tmp_path / "groups.html")
    plots = [i for i in sections["whole"].items if isinstance(i, Plot)]
    dots = next(p for p in plots if p.layout["title"]["text"] == "Length density (mm/mm³)")
    control, mean, treated, _ = dots.traces
    assert list(control["y"]) == [10.0, 11.0, 12.0]
    assert list(mean["y"]) == [11.0, 11.0]
    assert list(treated["y"]) == [7.0, 8.0, 9.0, 8.0]
    assert treated["name"] == "&lt;b&gt;treated"
    shares = next(p for p in plots if "Capillaries" in p.layout["title"]["text"])
    assert list(shares.traces[0]["y"]) == [90.0] * 3


def test_forest_names_the_regions_and_what_is_significant(
    tmp_path: Path, groups: list[tuple[str, list[Path]]]
) -> None:
    (forest,) = made(groups, tmp_path / "groups.html")["regions"].items
    assert isinstance(forest, Plot)
    (trace,) = forest.traces
    assert list(trace["y"]) == ["cortex"]
    assert trace["name"] == "corrected p below 0.05"
    # The interval lies around the effect.
    assert trace["error_x"]["array"][0] > 0 and trace["error_x"]["arrayminus"][0] > 0
    assert trace["x"][0] < -2


def test_csv_has_all_differences(tmp_path: Path, groups: list[tuple[str, list[Path]]]) -> None:
    made(groups, tmp_path / "groups.html", write_csv=True)
    with (tmp_path / "groups.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    row = next(
        r for r in rows if (r["name"], r["measure"]) == ("cortex", "length_density_mm_per_mm3")
    )
    assert (float(row["difference"]), row["group_n"]) == (-6.0, "4")


def test_small_groups_are_told_what_a_test_cannot_show(tmp_path: Path) -> None:
    groups = [cohort(tmp_path, "a", [1.0, 2.0]), cohort(tmp_path, "b", [3.0, 4.0])]
    page = groups_page(read_groups(groups), tmp_path / "g.html", made="now")
    # Two of six ways to part four animals are as extreme: 1/3.
    assert page.warnings is not None
    assert [w.what for w in page.warnings] == [
        "with 2 and 2 animals the exact permutation test cannot give a p below 0.333"
    ]


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    name, folders = cohort(tmp_path, "a", [1.0, 2.0])
    with pytest.raises(DataError, match="two groups are named 'a'"):
        read_groups([(name, folders), (name, folders)])
    with pytest.raises(DataError, match="stands in 'a' and in 'b': an animal counts once"):
        read_groups([(name, folders), ("b", folders[:1])])
    with pytest.raises(DataError, match=r"regions\.parquet.*cannot be read"):
        read_groups([(name, folders), ("b", [tmp_path])])


def test_verb_writes_the_page(
    tmp_path: Path,
    groups: list[tuple[str, list[Path]]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [str(w) for name, dirs in groups for w in ("--group", name, *dirs)]
    out = tmp_path / "groups.html"
    assert cli.main(["report", *words, "-o", str(out), "--csv", "--quiet"]) == 0
    page = out.read_text(encoding="utf-8")
    assert "Groups: &lt;b&gt;treated against control" in page
    assert 'href="./groups.csv"' in page
    assert cli.main(["report", *words[:4], "-o", str(out)]) == 2
    assert "at least two groups" in capsys.readouterr().err
