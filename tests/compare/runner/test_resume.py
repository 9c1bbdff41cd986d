"""A rival that was stopped goes on as if it had not been: augmentation, dropout, weights, score."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from vpbsd.compare.deployed.predictor import predictor_of
from vpbsd.compare.loop.stage import RivalData, RivalStage
from vpbsd.compare.nets import NETS
from vpbsd.config import RunConfig, parse_config
from vpbsd.data.collection import TrainingVolume
from vpbsd.data.patches import PatchSampler
from vpbsd.stages import StopRequested
from vpbsd.stages.loop import Validation, run_stage
from vpbsd.volumes import ArrayVolume, estimate_intensity

SHAPE = (16, 20, 24)


def config() -> RunConfig:
    stage = {"patch_voxels": (16, 16, 16), "simulated_share": 0}
    return parse_config(
        {
            "data": {"labelled": [{"image": "a.npy", "label": "b.npy"}]},
            "student": {"widths": (8, 16), "downsampling": ((2, 2, 2), (2, 2, 2))},
            "pretrain": stage,
            "finetune": stage,
            "distill": {**stage, "steps": 6, "validate_every": 6, "checkpoint_every": 2},
        }
    )


def volume() -> TrainingVolume:
    rng = np.random.default_rng(0)
    label = np.zeros(SHAPE, np.uint8)
    label[:, 6:10, 8:12] = 1
    image = ArrayVolume((200 + 900.0 * label + rng.normal(0, 60, SHAPE)).astype(np.float32))
    return TrainingVolume("a", image, estimate_intensity(image), ArrayVolume(label))


class Kept:
    """What was saved, and the loss of each step; stops the run after one of them."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.losses: dict[int, float] = {}
        self.validations: list[Validation] = []
        self._stop_at = stop_at

    def save(self, validation: Validation, step: int) -> None:
        self.validations.append(validation)

    def on_step(self, stage: str, step: int, steps: int, losses: Mapping[str, float]) -> None:
        self.losses[step] = losses["loss"]
        if step == self._stop_at:
            os.kill(os.getpid(), signal.SIGINT)


def train(method: str, folder: Path, kept: Kept) -> dict[str, torch.Tensor]:
    settings = config()
    torch.manual_seed(4)
    objective = NETS[method].build(settings, None)
    seen = volume()
    patches = PatchSampler(
        (seen,), settings.simulate, simulated_share=0, patch=settings.distill.patch_voxels, seed=1
    )
    stage = RivalStage(
        objective,
        RivalData(patches, None, (seen,)),
        settings.distill,
        {"method": method},
        predictor=lambda: predictor_of(objective.deployed),
        save=kept.save,
    )
    fabric = Fabric(accelerator="cpu", devices=1, precision="32-true")
    fabric.launch()
    run_stage(stage, folder, fabric, kept.on_step)
    return objective.state_dict()


# One with random augmentation, one with dropout.
@pytest.mark.parametrize("method", ["dynunet", "hp_vsp"])
def test_resumed_is_uninterrupted(method: str, tmp_path: Path) -> None:
    whole, first, second = Kept(), Kept(stop_at=3), Kept()
    expected = train(method, tmp_path / "whole", whole)
    with pytest.raises(StopRequested):
        train(method, tmp_path / "parts", first)
    found: dict[str, Any] = train(method, tmp_path / "parts", second)
    assert first.losses.keys() == {1, 2, 3}
    assert {**first.losses, **second.losses} == whole.losses
    assert second.validations == whole.validations
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
