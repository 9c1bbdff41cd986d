"""The tables of docs/results.md, filled from those that a comparison writes."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def fill_results() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fill_results", ROOT / "docs" / "fill_results.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tables_of_the_page_are_the_committed_ones(fill_results: ModuleType) -> None:
    page = fill_results.PAGE.read_text("utf-8")
    # When this fails: python docs/fill_results.py
    assert fill_results.filled(page) == page


def test_a_page_is_filled_in_order_of_cldice(fill_results: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(
        """## Title

| method | seeds | Dice | clDice | HD95 (µm) | Δ clDice (points) | Δ Dice (points) |
|---|---:|---:|---:|---:|---:|---:|
| *ours* |  |  |  |  |  |  |
| VpbSD | 3 | 0.700 ± 0.010 | **0.800 ± 0.010** | 3.0 |  |  |
| teacher | 3 | **0.900 ± 0.010** | 0.850 ± 0.010 | 2.0 | −5.0 (−6.0 to −4.0)* | 0.0 (−1.0 to 1.0) |
| *nets* |  |  |  |  |  |  |
| unet | – | – | – | – |  |  |
| threshold | – | 0.500 | 0.400 | 9.0 | +40.0 (1.0 to 9.0) | +20.0 (1.0 to 9.0) |

- a sentence
"""
    )
    page = "before\n<!-- table: a -->\nold\n<!-- end of table -->\nafter\n"
    assert (
        fill_results.filled(page, tmp_path)
        == """before
<!-- table: a -->
| method | seeds | Dice | clDice | Δ clDice | Δ Dice |
|---|---|---|---|---|---|
| its teacher | 3 | 0.900 ± 0.010 | 0.850 ± 0.010 | −5.0 (−6.0 to −4.0)* | 0.0 (−1.0 to 1.0) |
| **VpbSD student** | 3 | 0.700 ± 0.010 | 0.800 ± 0.010 |  |  |
| `threshold` |  | 0.500 | 0.400 | +40.0 (1.0 to 9.0) | +20.0 (1.0 to 9.0) |
<!-- end of table -->
after
"""
    )


def test_a_table_of_labels_has_a_row_for_each_number(
    fill_results: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "table3_labels.md").write_text(
        """| method | labelled patches | seeds | Dice | clDice | Δ clDice (points) |
|---|---:|---:|---:|---:|---:|
| *VpbSD* |  |  |  |  |  |
| VpbSD | 1 | 3 | 0.7 | 0.8 | +20.0 (1.0 to 2.0)* |
| VpbSD | 16 | 3 | 0.75 | 0.85 | +10.0 (1.0 to 2.0) |
| *supervised_only* |  |  |  |  |  |
| supervised_only | 1 | 3 | 0.5 | 0.6 |  |
| supervised_only | 16 | 3 | 0.65 | 0.75 |  |
"""
    )
    made = fill_results.filled(
        "<!-- table: table3_labels -->\n<!-- end of table -->", tmp_path
    ).splitlines()
    assert made[3:5] == [
        "| 1 | 0.7 | 0.5 | 0.8 | 0.6 | +20.0 (1.0 to 2.0)* |",
        "| 16 | 0.75 | 0.65 | 0.85 | 0.75 | +10.0 (1.0 to 2.0) |",
    ]


def test_a_page_without_marks_is_an_error(fill_results: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no <!-- table: NAME -->"):
        fill_results.filled("| a |", tmp_path)
