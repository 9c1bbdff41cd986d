"""Rivals through the one loop: a run that is stopped and resumed is the run it would have been."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from lightning_fabric import Fabric

from vpbsd.compare.distillation import DISTILLATION
from vpbsd.compare.loop.stage import RivalData, RivalStage
from vpbsd.compare.loop.student import StudentObjective
from vpbsd.compare.semi import SEMI, cross_teaching
from vpbsd.config import CodebookConfig, RunConfig, TeacherConfig, parse_config
from vpbsd.data.collection import TrainingVolume
from vpbsd.data.patches import PatchSampler, UnlabelledPatches
from vpbsd.geometry import VoxelSize
from vpbsd.models import Model, Student, Teacher, load_model, save_model
from vpbsd.segment import TorchRuntime
from vpbsd.stages import StopRequested, read_metrics
from vpbsd.stages.distill import Guidance
from vpbsd.stages.label import TeacherLabels
from vpbsd.stages.loop import StageResult, Validation, run_stage
from vpbsd.volumes import ArrayVolume, estimate_intensity

ALL = {**SEMI, **DISTILLATION}
SHAPE, GRID = (16, 24, 24), (4, 6, 6)
STEPS = 6


def volume(seed: int) -> TrainingVolume:
    """Bright bars along each axis on a noisy ground."""
    rng = np.random.default_rng(seed)
    label = np.zeros(SHAPE, np.uint8)
    z, y, x = (int(rng.integers(3, n - 6)) for n in SHAPE)
    label[z : z + 3, y : y + 3, :] = 1
    label[z : z + 3, :, x : x + 3] = 1
    label[:, y : y + 4, x : x + 4] = 1
    image = (200 + 2000 * label.astype(int) + rng.integers(0, 400, SHAPE)).astype(np.uint16)
    size = VoxelSize(2.0, 1.0, 1.0)
    seen = ArrayVolume(image, voxel_size_um=size)
    truth = ArrayVolume(label, voxel_size_um=size)
    return TrainingVolume(f"v{seed}", seen, estimate_intensity(seen), truth)


LABELLED, LOOSE, HELD_OUT = volume(0), volume(1), volume(2)


def config(**distill: Any) -> RunConfig:
    settings = {
        **{"steps": STEPS, "batch_size": 2, "patch_voxels": (16, 16, 16), "simulated_share": 1},
        **{"validate_every": STEPS, "checkpoint_every": 2, "keep": "last", **distill},
    }
    return parse_config(
        {
            "student": {"widths": (8, 16), "downsampling": ((2, 2, 2), (2, 2, 2))},
            "finetune": {"simulated_share": 1},
            "distill": settings,
        }
    )


def guidance() -> Guidance:
    """What a teacher of 8 codes said about one volume."""
    rng = np.random.default_rng(3)
    net = Teacher(
        TeacherConfig(widths=(8, 8, 8, 8), heads=2, attention_blocks=1),
        CodebookConfig(size=8, dimension=4),
    )
    labels = TeacherLabels(
        zarr.array(rng.integers(0, 256, SHAPE, dtype=np.uint8)),
        zarr.array(rng.integers(0, 8, GRID, dtype=np.uint16)),
        zarr.array(rng.normal(size=(4, *GRID)).astype(np.float16)),
        (4, 4, 4),
    )
    return Guidance(Model(net, "teacher", 0.3, {}, "fingerprint"), [LOOSE], [labels])


def stage(name: str, file: Path, **distill: Any) -> RivalStage:
    run, patch, seed = config(**distill), (16, 16, 16), 5
    guided = guidance() if name in DISTILLATION else None
    torch.manual_seed(seed)
    objective = ALL[name].build(run, guided)
    assert isinstance(objective, StudentObjective)
    student = objective.deployed
    data = RivalData(
        PatchSampler([LABELLED], run.simulate, simulated_share=0.0, patch=patch, seed=seed),
        guided or UnlabelledPatches([LOOSE], patch, seed),
        (HELD_OUT,),
    )

    def save(validation: Validation, step: int) -> None:
        save_model(file, student, threshold=validation.threshold, metadata={"step": step})

    return RivalStage(
        objective,
        data,
        run.distill,
        {"method": name},
        predictor=lambda: TorchRuntime(student, "fp32", "cpu"),
        save=save,
    )


@pytest.fixture(autouse=True)
def small_partner(monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in {"FEATURES": 4, "HIDDEN": 24, "MLP": 24}.items():
        monkeypatch.setattr(cross_teaching, key, value)


@pytest.fixture
def fabric() -> Fabric:
    fabric = Fabric(accelerator="cpu", devices=1, precision="32-true")
    fabric.launch()
    return fabric


Losses = dict[int, dict[str, float]]


def train(
    one: RivalStage, folder: Path, fabric: Fabric, stop_at: int | None = None
) -> tuple[StageResult | None, Losses]:
    """Train, stopped after a step if told to; return the result and the losses by step."""
    seen: Losses = {}

    def on_step(name: str, step: int, steps: int, losses: Mapping[str, float]) -> None:
        seen[step] = dict(losses)
        if step == stop_at:
            os.kill(os.getpid(), signal.SIGINT)

    if stop_at is None:
        return run_stage(one, folder, fabric, on_step), seen
    with pytest.raises(StopRequested):
        run_stage(one, folder, fabric, on_step)
    return None, seen


@pytest.mark.parametrize("name", ALL)
def test_resumed_run_is_the_uninterrupted_run(name: str, tmp_path: Path, fabric: Fabric) -> None:
    whole = stage(name, tmp_path / "whole.safetensors")
    _, losses = train(whole, tmp_path / "whole", fabric)
    assert list(losses) == [1, 2, 3, 4, 5, 6]
    first = stage(name, tmp_path / "parts.safetensors")
    _, seen = train(first, tmp_path / "parts", fabric, stop_at=3)
    # Random numbers of another process, before it goes on.
    torch.manual_seed(99)
    second = stage(name, tmp_path / "parts.safetensors")
    result, rest = train(second, tmp_path / "parts", fabric)
    assert list(rest) == [4, 5, 6]
    assert {**seen, **rest} == losses
    state = second.objective.state_dict()
    for key, value in whole.objective.state_dict().items():
        assert torch.equal(value, state[key]), key
    assert result is not None
    assert result.steps == STEPS
    files = [load_model(tmp_path / f"{run}.safetensors") for run in ("whole", "parts")]
    for model in files:
        assert type(model.net) is Student
        assert model.metadata["step"] == STEPS
    assert files[0].threshold == files[1].threshold
    records = read_metrics(tmp_path / "parts" / "metrics.jsonl")
    assert [r["step"] for r in records if r["kind"] == "validation"] == [STEPS]
    assert set(losses[1]) <= set(next(r for r in records if r["kind"] == "train"))


def test_what_is_kept_is_the_averaged_student(tmp_path: Path, fabric: Fabric) -> None:
    one = stage("mean_teacher", tmp_path / "net.safetensors", average_decay=0.5)
    train(one, tmp_path / "run", fabric)
    kept = load_model(tmp_path / "net.safetensors").net.state_dict()
    last = one.objective.student.state_dict()
    assert kept.keys() == last.keys()
    assert not torch.equal(kept["out.weight"], last["out.weight"])


@pytest.mark.parametrize("name", ["mean_teacher", "rkd"])
def test_a_batch_holds_what_its_method_needs(name: str, tmp_path: Path) -> None:
    one = stage(name, tmp_path / "net.safetensors", unlabelled_batch_size=2, semi_warmup_share=0.5)
    batch = one.batch(1, 0, 1)
    assert batch["image"].shape == batch["label"].shape == (2, 1, 16, 16, 16)
    assert batch["unlabelled"].shape == (2, 1, 16, 16, 16)
    others = {"image", "label", "unlabelled", "ramp", "progress"}
    if name == "mean_teacher":
        assert set(batch) == {*others, "plain"}
        assert batch["plain"].shape == (2, 1, 16, 16, 16)
    else:
        assert set(batch) == {*others, "probability", "codes", "encodings"}
        assert batch["encodings"].shape == (2, 4, 4, 4, 4)
    # Two of six steps are done of a rise over three; one step is over.
    assert batch["ramp"].item() == pytest.approx(2 / 3)
    assert batch["progress"].item() == pytest.approx(1 / 6)
    again = one.batch(1, 0, 1)
    assert all(torch.equal(v, again[k]) for k, v in batch.items())
    for other in (one.batch(2, 0, 1), one.batch(1, 1, 2)):
        assert not torch.equal(batch["unlabelled"], other["unlabelled"])
