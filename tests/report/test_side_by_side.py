"""Input, truth and every method beside each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vpbsd.errors import ConfigError, DataError
from vpbsd.geometry import VoxelSize
from vpbsd.report import side_by_side
from vpbsd.report.side_by_side import _middle, side_by_side_figure

SIZE = VoxelSize(5.0, 2.0, 2.0)
GREEN, BLUE, RED = (86, 190, 100), (64, 132, 244), (232, 68, 58)


def scene() -> tuple[np.ndarray, np.ndarray]:
    truth = np.zeros((6, 40, 60), np.uint8)
    truth[:, 10:20, :] = 1
    return truth * 200 + 20, truth


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list:
    kept: list = []
    monkeypatch.setattr(side_by_side, "save_figure", lambda figure, path: kept.append(figure))
    return kept


def test_every_method_has_a_slice_and_a_projection(drawn: list) -> None:
    image, truth = scene()
    half = truth.copy()
    half[:, :, 30:] = 0
    more = truth.copy()
    more[0, 30:35, :] = 1  # in another slice than the middle one
    masks = {"half": half, "more\nDice 0.9": more, "right": truth}
    side_by_side_figure(image, truth, masks, SIZE, Path("unused.png"), columns=3)
    titles = [a.get_title() for a in drawn[0].axes]
    # Three columns, two lines of slice and projection; one place stays empty.
    assert titles == ["input", "truth", "half", "", "", "", "more\nDice 0.9", "right", *[""] * 4]
    labels = [a.get_ylabel() for a in drawn[0].axes if a.get_ylabel()]
    assert labels == ["slice", "30 µm", "slice", "30 µm"]
    pictures = {
        (a.get_title() or "below"): a.images[0].get_array() for a in drawn[0].axes if a.images
    }
    assert {tuple(p) for p in pictures["half"].reshape(-1, 3).tolist()} == {
        (18, 18, 24), GREEN, BLUE,
    }  # fmt: skip
    below = [a.images[0].get_array() for a in drawn[0].axes[9:10]]
    assert RED in {tuple(p) for p in below[0].reshape(-1, 3).tolist()}
    assert RED not in {tuple(p) for p in pictures["more\nDice 0.9"].reshape(-1, 3).tolist()}


def test_only_the_middle_of_a_wide_volume_is_shown(drawn: list) -> None:
    image, truth = scene()
    side_by_side_figure(image, truth, {}, SIZE, Path("unused.png"), field_voxels=20)
    assert {a.images[0].get_array().shape[:2] for a in drawn[0].axes} == {(20, 20)}
    assert _middle(60, 20) == slice(20, 40)
    assert _middle(10, 20) == slice(0, 10)
    # Without a method there are no colours to explain.
    assert drawn[0].legends == []


def test_it_is_written(tmp_path: Path) -> None:
    from matplotlib.image import imread

    image, truth = scene()
    side_by_side_figure(image, truth, {"right": truth}, SIZE, tmp_path / "a.png")
    pixels = (np.asarray(imread(tmp_path / "a.png"))[..., :3] * 255).round().astype(int)
    assert (np.abs(pixels - GREEN).max(axis=-1) <= 2).mean() > 0.01


def test_what_does_not_fit(tmp_path: Path) -> None:
    image, truth = scene()
    with pytest.raises(DataError, match=r"the student has shape \(6, 40, 59\)"):
        side_by_side_figure(image, truth, {"student": truth[..., 1:]}, SIZE, tmp_path / "a.png")
    with pytest.raises(ConfigError, match="at least 1 column"):
        side_by_side_figure(image, truth, {}, SIZE, tmp_path / "a.png", columns=0)
