from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from vpbsd.errors import DataError, OutputError
from vpbsd.geometry import VoxelSize
from vpbsd.report import comparison_map, overview_figure, training_curves
from vpbsd.report.panels import scale_bar_um, slabs

SIZE = VoxelSize(5.0, 2.0, 2.0)


def picture(path: Path) -> np.ndarray:
    from matplotlib.image import imread

    return (np.asarray(imread(path))[..., :3] * 255).round().astype(int)


def share_of(pixels: np.ndarray, colour: tuple[int, int, int]) -> float:
    return float((np.abs(pixels - colour).max(axis=-1) <= 2).mean())


def test_colours_of_the_four_cases() -> None:
    prediction = np.array([[0, 0], [1, 255]])
    truth = np.array([[False, True], [False, True]])
    assert comparison_map(prediction, truth).tolist() == [
        [[18, 18, 24], [64, 132, 244]],
        [[232, 68, 58], [86, 190, 100]],
    ]


def test_masks_of_different_volumes_are_not_compared(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"\(2, 2\) with a truth of \(3, 2\)"):
        comparison_map(np.zeros((2, 2)), np.zeros((3, 2)))
    cube = np.zeros((4, 4, 4), bool)
    with pytest.raises(DataError, match=r"the student has shape \(4, 4, 5\)"):
        overview_figure(
            cube, cube, {"student": np.zeros((4, 4, 5), bool)}, SIZE, tmp_path / "a.png"
        )


@pytest.mark.parametrize(
    ("width_um", "expected"), [(300, 100), (299, 50), (100, 20), (7, 2), (3000, 1000), (0.9, 0.2)]
)
def test_scale_bar_is_a_round_length(width_um: float, expected: float) -> None:
    assert scale_bar_um(width_um) == pytest.approx(expected)


def test_overview_shows_each_kind_of_voxel(tmp_path: Path) -> None:
    truth = np.zeros((6, 40, 60), np.uint8)
    truth[:, 10:20, :] = 1
    image = truth * 200 + 20
    half = truth.copy()
    half[:, :, 30:] = 0
    more = truth.copy()
    more[:, 30:35, :] = 1
    path = tmp_path / "overview.png"
    overview_figure(image, truth, {"half": half, "more": more}, SIZE, path)
    pixels = picture(path)
    # Two rows of four panels, wider than high.
    assert pixels.shape[1] > pixels.shape[0]
    for colour in ((86, 190, 100), (64, 132, 244), (232, 68, 58), (236, 236, 236)):
        assert share_of(pixels, colour) > 0.01
    overview_figure(image, truth, {"right": truth}, SIZE, path)
    # Nothing is red or blue but the legend.
    for colour in ((64, 132, 244), (232, 68, 58)):
        assert share_of(picture(path), colour) < 0.005
    assert [p.name for p in tmp_path.iterdir()] == ["overview.png"]


@pytest.mark.parametrize(
    ("planes", "z_um", "expected"),
    [
        # 60 µm are 12 planes of 5 µm; the middle ones of 40 are 14 to 25.
        (40, 5.0, (slice(20, 21), slice(14, 26))),
        (9, 5.0, (slice(4, 5), slice(0, 9))),
        (3, 200.0, (slice(1, 2), slice(1, 2))),
    ],
)
def test_planes_that_are_shown(planes: int, z_um: float, expected: tuple[slice, slice]) -> None:
    assert slabs(planes, VoxelSize(z_um, 1.0, 1.0)) == expected


def test_a_constant_image_and_no_prediction_still_make_a_figure(tmp_path: Path) -> None:
    cube = np.ones((1, 8, 8), np.float32)
    overview_figure(cube, np.zeros((1, 8, 8), bool), {}, SIZE, tmp_path / "a.pdf")
    assert (tmp_path / "a.pdf").stat().st_size > 1000


def test_figures_that_cannot_be_written(tmp_path: Path) -> None:
    cube = np.ones((1, 8, 8), bool)
    for path in (tmp_path / "no" / "a.png", tmp_path / "a.unknown"):
        with pytest.raises(OutputError, match="cannot write the figure"):
            overview_figure(cube, cube, {}, SIZE, path)
    assert list(tmp_path.iterdir()) == []


def write_log(path: Path, records: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(r) + "\n" for r in records), "utf-8")
    return path


def test_training_curves(tmp_path: Path) -> None:
    log = write_log(
        tmp_path / "metrics.jsonl",
        [
            {"step": 10, "kind": "train", "loss": 2.0, "learning_rate": 0.1, "gradient_norm": 5.0},
            {"step": 20, "kind": "train", "loss": 1.0, "gradient_norm": float("nan")},
            {"step": 20, "kind": "validation", "score": 0.4, "a.dice": 0.3, "perplexity": 60.0},
        ],
    )
    path = tmp_path / "curves.png"
    training_curves({"pretrain": log, "finetune": log}, path)
    one = picture(path)
    training_curves({"pretrain": log}, path)
    assert one.shape[0] > 1.7 * picture(path).shape[0]


def test_what_each_panel_holds() -> None:
    from vpbsd.report.curves import stage_panels

    losses, scores, rest = stage_panels(
        [
            {"step": 10, "kind": "train", "loss": 2.0, "learning_rate": 0.1},
            {"step": 20, "kind": "train", "loss": float("nan"), "step_seconds": 0.1},
            {"step": 20, "kind": "validation", "score": 0.4, "a.dice": 0.3, "threshold": 0.5},
            {"step": 30, "kind": "validation", "score": 0.6, "perplexity": 60.0, "seconds": 3.0},
        ]
    )
    assert losses == {"loss": ([10], [2.0])}
    assert scores == {"score": ([20, 30], [0.4, 0.6])}
    assert rest == {"perplexity": ([30], [60.0])}


def test_curves_of_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no training log was given"):
        training_curves({}, tmp_path / "a.png")
    with pytest.raises(DataError, match="has not logged a step yet"):
        training_curves({"x": write_log(tmp_path / "m.jsonl", [])}, tmp_path / "a.png")
