"""The table of scores on each test volume."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest
from result_lines import failed, line, values

from vpbsd.compare.results.lines import ResultLine
from vpbsd.compare.results.summary import Contest, contests
from vpbsd.compare.tables.volumes import short_names, volumes_table


def scored(method: str, seed: int | None, volume: str, dice: float) -> ResultLine:
    """Return a line whose Dice is as given and whose clDice is 0.6."""
    tp = round(1000 * dice)
    counts = [[tp, 1000 - tp, 1000 - tp, 20, 12, 20, 12]]
    scores = {**values()["scores"], "dice": dice, "cldice": 0.6}
    family = "ours" if method == "vpbsd" else "net"
    return line(counts, method=method, family=family, seed=seed, volume=volume, scores=scores)


def contest_of(lines: list[ResultLine]) -> Contest:
    (found,) = contests(lines)
    return found


def two_volumes() -> list[ResultLine]:
    return [
        scored("vpbsd", 0, "test/volume_007_image", 0.5),
        scored("vpbsd", 1, "test/volume_007_image", 0.7),
        scored("vpbsd", 0, "test/volume_011_image", 0.25),
        scored("vpbsd", 1, "test/volume_011_image", 0.25),
        scored("unet", 0, "test/volume_007_image", 0.4),
        scored("unet", 0, "test/volume_011_image", 0.1),
    ]


def test_each_volume_has_its_mean_over_seeds() -> None:
    table = volumes_table(contest_of(two_volumes()))
    assert table.columns == ["method", "seeds", "007", "011"]
    by_score = {(row.group, row.cells[0]): list(row.cells[1:]) for row in table.rows}
    assert by_score == {
        ("Dice", "VpbSD"): ["2", "0.600", "0.250"],
        ("Dice", "unet"): ["1 of 2", "0.400", "0.100"],
        ("clDice", "VpbSD"): ["2", "0.600", "0.600"],
        ("clDice", "unet"): ["1 of 2", "0.600", "0.600"],
    }
    assert "test volumes test/volume_…_image" in table.caption


def test_the_mean_of_a_row_is_the_score_of_the_method() -> None:
    contest = contest_of(two_volumes())
    row = next(r for r in volumes_table(contest).rows if r.group == "Dice")
    shown = [float(cell) for cell in row.cells[2:]]
    total = contest.methods["vpbsd"].spread("dice")
    assert total is not None
    assert sum(shown) / len(shown) == pytest.approx(total.mean)


def test_the_spread_over_seeds_is_in_the_csv() -> None:
    text = volumes_table(contest_of(two_volumes())).csv()
    rows = {(r["method"], r["score"]): r for r in csv.DictReader(io.StringIO(text))}
    ours, unet = rows["vpbsd", "dice"], rows["unet", "dice"]
    # 0.5 and 0.7: a standard deviation of 0.2 / √2.
    assert float(ours["test/volume_007_image_sd"]) == pytest.approx(0.14142, abs=1e-5)
    assert float(ours["test/volume_011_image_sd"]) == 0
    assert unet["test/volume_007_image_sd"] == ""
    assert (ours["seeds"], unet["seeds"]) == ("0 1", "0")


def test_a_method_that_always_failed_keeps_its_row_and_reason() -> None:
    broken = failed("no vessel", method="vnet", volume="test/volume_007_image")
    table = volumes_table(contest_of([*two_volumes(), broken]))
    row = next(r for r in table.rows if r.values["method"] == "vnet")
    assert list(row.cells) == ["vnet", "0 of 2", "–", "–"]
    assert "vnet seed 0: failed: no vessel" in table.notes


def test_methods_without_seeds_are_shown() -> None:
    lines = two_volumes()
    fixed = [replace(ln, method="sato", family="classical", seed=None) for ln in lines[:3:2]]
    table = volumes_table(contest_of([*lines, *fixed]))
    row = next(r for r in table.rows if r.values["method"] == "sato" and r.group == "Dice")
    assert list(row.cells) == ["sato", "–", "0.500", "0.250"]


@pytest.mark.parametrize(
    ("names", "short", "pattern"),
    [
        (["t/v_00_i", "t/v_01_i", "t/v_11_i"], ["00", "01", "11"], "t/v_…_i"),
        (["10", "20"], ["10", "20"], ""),
        (["a1", "a12"], ["1", "12"], "a…"),
        (["brain", "brain_b"], ["brain", "brain_b"], ""),
        (["b_image", "c_image"], ["b", "c"], "…_image"),
        (["cortex", "stem"], ["cortex", "stem"], ""),
    ],
)
def test_names_are_cut_to_what_tells_them_apart(
    names: list[str], short: list[str], pattern: str
) -> None:
    assert short_names(names) == (short, pattern)
