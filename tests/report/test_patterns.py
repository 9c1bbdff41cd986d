"""What codes look like, drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vpbsd.errors import DataError
from vpbsd.report import patterns
from vpbsd.report.patterns import CodeRow, _seen, patterns_figure


def row(code: int, share: float, patches: int = 3) -> CodeRow:
    values = np.full((3, 8, 16, 16), np.nan, np.float32)
    values[:patches] = np.random.default_rng(code).normal(size=(patches, 8, 16, 16))
    return CodeRow(code, share, 0.1, values, np.full((3, 3), 6))


def test_bars_and_patches_stand_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list = []
    monkeypatch.setattr(patterns, "save_figure", lambda figure, path: kept.append(figure))
    patterns_figure([row(7, 0.4), row(2, 0.2, patches=1)], (4, 4, 4), Path("x.png"), title="t")
    bars, tiles = kept[0].axes
    assert [t.get_text() for t in bars.get_yticklabels()] == ["code 7", "code 2"]
    vessels, cells = bars.containers
    assert [b.get_width() for b in vessels] == pytest.approx([40.0, 20.0])
    assert [b.get_width() for b in cells] == pytest.approx([10.0, 10.0])
    # Both share the axis: the first code is at the top of both.
    assert bars.get_ylim() == tiles.get_ylim() == (2, 0)
    # Three patches and one; a place without a patch stays empty.
    assert len(tiles.images) == 4
    assert len(tiles.patches) == 4
    # The frame covers a quarter of the edge of a patch, where the cell is.
    frame = tiles.patches[0]
    assert frame.get_width() == pytest.approx(0.94 / 4)
    assert frame.get_x() == pytest.approx(0.03 + 0.94 * 6 / 16)


def test_what_is_seen_of_a_patch() -> None:
    patch = np.zeros((8, 1, 1))
    patch[:, 0, 0] = [9, 1, 2, 3, 4, 5, 8, 9]
    # The cell's planes 2 to 3, and one more on both sides.
    assert _seen(patch, 2, 2).tolist() == [[4]]
    assert _seen(patch, 0, 2).tolist() == [[9]]


def test_it_is_written(tmp_path: Path) -> None:
    patterns_figure([row(1, 1.0)], (4, 4, 4), tmp_path / "codes.png")
    assert (tmp_path / "codes.png").stat().st_size > 1000


def test_no_code_or_patches_of_several_shapes(tmp_path: Path) -> None:
    other = CodeRow(1, 0.5, 0.5, np.zeros((3, 8, 16, 17)), np.zeros((3, 3)))
    for rows in ([], [row(1, 0.5), other]):
        with pytest.raises(DataError, match="needs at least one, with patches of one shape"):
            patterns_figure(rows, (4, 4, 4), tmp_path / "a.png")
