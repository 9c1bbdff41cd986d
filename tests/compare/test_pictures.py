"""Pictures from masks on disk, and from a run's teacher."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from vpbsd.cli import pictures
from vpbsd.cli.pictures import write_patterns, write_side_by_side
from vpbsd.compare.patterns import PatternOptions
from vpbsd.config import CodebookConfig, TeacherConfig, parse_config, save_config
from vpbsd.data.collection import TrainingVolume
from vpbsd.errors import CheckpointError, DataError
from vpbsd.geometry import VoxelSize
from vpbsd.models import Teacher, save_model
from vpbsd.volumes import ArrayVolume, IntensityScale

SCALE = IntensityScale((0.0,), (1.0,))
SIZE = VoxelSize(2.0, 1.0, 1.0)


def tube() -> tuple[np.ndarray, np.ndarray]:
    truth = np.zeros((8, 24, 24), np.uint8)
    truth[3:6, 10:13, :] = 1
    return truth * 5.0 + np.random.default_rng(0).random(truth.shape), truth


def labelled() -> TrainingVolume:
    image, truth = tube()
    return TrainingVolume("v", ArrayVolume(image, SIZE), SCALE, ArrayVolume(truth, SIZE))


def test_masks_are_drawn_with_their_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, truth = tube()
    half = truth.copy()
    half[..., 12:] = 0
    masks = {}
    for name, mask in (("right", truth), ("half", half)):
        masks[name] = tmp_path / f"{name}.npy"
        np.save(masks[name], mask)
    write_side_by_side(labelled(), masks, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000
    titles: list[str] = []
    monkeypatch.setattr(
        pictures, "side_by_side_figure", lambda image, true, found, size, path: titles.extend(found)
    )
    write_side_by_side(labelled(), masks, tmp_path / "a.png")
    assert titles[0] == "right\nclDice 1.000"
    # All of its centreline is right, and half of the true one was found: 2 / 3.
    assert titles[1].startswith("half\nclDice 0.6")


def test_masks_of_another_volume(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((8, 24, 23), np.uint8))
    with pytest.raises(DataError, match=r"has shape \(8, 24, 23\) .* give the mask of this volume"):
        write_side_by_side(labelled(), {"a": tmp_path / "a.npy"}, tmp_path / "a.png")
    bare = TrainingVolume("bare", labelled().image, SCALE)
    with pytest.raises(DataError, match="bare has no label"):
        write_side_by_side(bare, {}, tmp_path / "a.png")


def test_patterns_of_a_run(tmp_path: Path) -> None:
    image, truth = tube()
    np.save(tmp_path / "a.npy", image.astype(np.float32))
    np.save(tmp_path / "a_label.npy", truth)
    torch.manual_seed(0)
    teacher = TeacherConfig(widths=(8, 16, 16, 16), heads=2, attention_blocks=1, window_tokens=2)
    net = Teacher(teacher, CodebookConfig(size=8, dimension=4))
    net(torch.randn(2, 1, 16, 16, 16), "segment")
    run = tmp_path / "run"
    save_model(run / "teacher.safetensors", net, threshold=0.0, metadata={})
    config = parse_config(
        {
            "data": {
                "root": str(tmp_path),
                "labelled": [{"image": "a.npy", "label": "a_label.npy"}],
            },
            "teacher": teacher.model_dump(),
            "machine": {"precision": "fp32", "accelerator": "cpu"},
        }
    )
    save_config(config, run / "config.yaml")
    write_patterns(run, tmp_path / "codes.png", options=PatternOptions(3, 2, (8, 8, 8)))
    assert (tmp_path / "codes.png").stat().st_size > 1000
    with pytest.raises(CheckpointError, match="no model at"):
        write_patterns(tmp_path, tmp_path / "codes.png")
