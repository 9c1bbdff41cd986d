"""The three stages on tiny volumes: resume, kill -9, changed settings, every variant, two ranks."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from vpbsd.config import CodebookConfig, RunConfig, TeacherConfig, load_config
from vpbsd.errors import CheckpointError, CollapseError
from vpbsd.geometry import Box
from vpbsd.models import Teacher, load_model
from vpbsd.stages import (
    Run,
    StageResult,
    StopRequested,
    distill,
    finetune,
    pretrain,
    read_metrics,
    train,
)
from vpbsd.stages.run import guide

Settings = Callable[..., RunConfig]
STAGES: dict[str, Callable[[Run], StageResult]] = {
    "pretrain": pretrain,
    "finetune": finetune,
    "distill": distill,
}
WEIGHTS = {
    "pretrain": "pretrain/teacher.safetensors",
    "finetune": "teacher.safetensors",
    "distill": "student.safetensors",
}
SHORT = {"steps": 2, "validate_every": 2, "checkpoint_every": 2, "batch_size": 1}
SUPERVISED = {"semi_weight": 0.0, "target": "none"}


class Losses:
    """Records losses by step; sends a signal to this process after one of them."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.seen: list[tuple[int, dict[str, float]]] = []
        self.stop_at = stop_at

    def __call__(self, stage: str, step: int, steps: int, losses: Mapping[str, float]) -> None:
        self.seen.append((step, dict(losses)))
        if step == self.stop_at:
            os.kill(os.getpid(), signal.SIGTERM)


def logged(folder: Path) -> list[dict[str, Any]]:
    """Return what was logged, times left out."""
    records = read_metrics(folder / "metrics.jsonl")
    return [{k: v for k, v in r.items() if not k.endswith("seconds")} for r in records]


def assert_same_tensors(a: Path, b: Path) -> None:
    """Compare every tensor of two files bit for bit."""
    left, right = load_file(a), load_file(b)
    assert set(left) == set(right)
    assert [k for k in left if not torch.equal(left[k], right[k])] == []


@pytest.fixture(scope="module")
def whole(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return an uninterrupted run of all stages: its folder and the losses of each stage."""
    folder, losses = tmp_path_factory.mktemp("whole"), {}
    for name, stage in STAGES.items():
        losses[name] = Losses()
        stage(Run(settings(), folder, losses[name]))
    return {"folder": folder, "losses": losses}


@pytest.fixture
def upstream(whole: dict[str, Any], tmp_path: Path) -> Path:
    """Return a run folder that has every stage's input and no stage's checkpoint."""
    (tmp_path / "pretrain").mkdir()
    for file in ("pretrain/teacher.safetensors", "teacher.safetensors"):
        (tmp_path / file).write_bytes((whole["folder"] / file).read_bytes())
    return tmp_path


# ------------------------------------------------------------------------------------------ resume


@pytest.mark.parametrize(("name", "stop_at"), [("pretrain", 3), ("finetune", 3), ("distill", 4)])
def test_stopped_stage_goes_on_as_if_it_had_not_been(
    name: str, stop_at: int, settings: Settings, whole: dict[str, Any], upstream: Path
) -> None:
    before, after = Losses(stop_at), Losses()
    with pytest.raises(StopRequested, match=f"stopped {name} at step {stop_at} of 6"):
        STAGES[name](Run(settings(), upstream, before))
    torch.manual_seed(12345)  # what the new process starts with must not matter
    STAGES[name](Run(settings(), upstream, after))
    assert before.seen + after.seen == whole["losses"][name].seen
    for file in (WEIGHTS[name], f"{name}/last.safetensors"):
        assert_same_tensors(upstream / file, whole["folder"] / file)
    assert logged(upstream / name) == logged(whole["folder"] / name)


KILLED = """
import os, signal, sys
from pathlib import Path
from vpbsd.config import load_config
from vpbsd.stages import Run, pretrain

def kill(stage, step, steps, losses):
    if step == 5:
        os.kill(os.getpid(), signal.SIGKILL)

pretrain(Run(load_config(sys.argv[1]), Path(sys.argv[2]), kill))
"""


def test_killed_process_goes_on_as_if_it_had_not_been(
    settings: Settings, whole: dict[str, Any], tmp_path: Path
) -> None:
    recipe = whole["folder"] / "config.yaml"
    run = subprocess.run([sys.executable, "-c", KILLED, str(recipe), str(tmp_path)], check=False)
    assert run.returncode == -signal.SIGKILL
    after = Losses()
    pretrain(Run(settings(), tmp_path, after))
    # The last checkpoint was at step 4; step 5 is trained again.
    assert after.seen == whole["losses"]["pretrain"].seen[4:]
    for file in (WEIGHTS["pretrain"], "pretrain/last.safetensors"):
        assert_same_tensors(tmp_path / file, whole["folder"] / file)
    assert logged(tmp_path / "pretrain") == logged(whole["folder"] / "pretrain")
    assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.parametrize("name", list(STAGES))
def test_log_has_each_record_once(name: str, whole: dict[str, Any]) -> None:
    records = read_metrics(whole["folder"] / name / "metrics.jsonl")
    keys = [(r["step"], r["kind"]) for r in records]
    assert sorted(set(keys)) == sorted(keys)
    assert {("validation", 3), ("validation", 6), ("train", 6)} == {(k, s) for s, k in keys}


def test_finished_stages_are_left_alone(settings: Settings, whole: dict[str, Any]) -> None:
    before = {f: (whole["folder"] / f).read_bytes() for f in WEIGHTS.values()}
    steps = Losses()
    train(Run(settings(), whole["folder"], steps))
    assert steps.seen == []
    assert before == {f: (whole["folder"] / f).read_bytes() for f in WEIGHTS.values()}


# --------------------------------------------------------------------------------------- identity


@pytest.mark.parametrize(
    ("name", "changed", "named"),
    [
        ("pretrain", {"pretrain": {"learning_rate": 0.5}}, r"pretrain\.learning_rate: 0\.001 then"),
        ("pretrain", {"codebook": {"beta": 0.5}}, r"codebook\.beta: 0\.25 then, 0\.5 now"),
        ("finetune", {"finetune": {"steps": 9}}, r"finetune\.steps: 6 then, 9 now"),
        ("distill", {"distill": {"temperature": 0.3}}, r"distill\.temperature: 0\.1 then"),
        ("distill", {"seed": 1}, "seed: 0 then, 1 now"),
    ],
)
def test_changed_settings_are_refused_by_name(
    name: str,
    changed: dict[str, Any],
    named: str,
    settings: Settings,
    whole: dict[str, Any],
    tmp_path: Path,
) -> None:
    shutil.copytree(whole["folder"], tmp_path, dirs_exist_ok=True)
    with pytest.raises(CheckpointError, match=named):
        STAGES[name](Run(settings(**changed), tmp_path))


@pytest.mark.parametrize(
    "changed",
    [
        {"pretrain": {"checkpoint_every": 1}},
        {"finetune": {"learning_rate": 0.5}},
        {"name": "renamed"},
        {"machine": {"precision": "auto", "accelerator": "cpu"}},
    ],
)
def test_settings_that_do_not_matter_to_a_stage_may_change(
    changed: dict[str, Any], settings: Settings, whole: dict[str, Any], tmp_path: Path
) -> None:
    shutil.copytree(whole["folder"], tmp_path, dirs_exist_ok=True)
    assert pretrain(Run(settings(**changed), tmp_path)).steps == 6


def test_changed_data_is_refused(
    settings: Settings, whole: dict[str, Any], volumes: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(whole["folder"], tmp_path / "run")
    image = np.load(volumes / "a.npy")
    image[0, 0, 0] += 1
    for name in ("v", "v_label", "a_label"):
        np.save(tmp_path / f"{name}.npy", np.load(volumes / f"{name}.npy"))
    np.save(tmp_path / "a.npy", image)
    with pytest.raises(CheckpointError, match=r"data\.labelled/a: "):
        pretrain(Run(settings(data={"root": str(tmp_path)}), run))


def test_config_and_provenance_are_written_down(whole: dict[str, Any], settings: Settings) -> None:
    assert load_config(whole["folder"] / "config.yaml") == settings()
    for name in STAGES:
        record = json.loads((whole["folder"] / name / "provenance.json").read_text())
        assert record["seed"] == 0
        assert set(record["inputs"]) == {
            *("labelled/a", "labelled/a/label"),
            *("validation/v", "validation/v/label"),
        }


# ---------------------------------------------------------------------------------------- upstream


def test_finetune_starts_from_the_pretrained_teacher(settings: Settings, upstream: Path) -> None:
    first = Losses()
    finetune(Run(settings(finetune=SHORT), upstream, first))
    other = upstream / "other"
    second = Losses()
    off = {"enabled": False}
    finetune(Run(settings(finetune=SHORT, pretrain=off), other, second))
    assert first.seen[0][1]["loss"] != second.seen[0][1]["loss"]


def test_finetune_without_pretraining_says_so(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no model at .*pretrain"):
        finetune(Run(settings(), tmp_path))


def test_finetune_refuses_another_teacher(settings: Settings, upstream: Path) -> None:
    with pytest.raises(CheckpointError, match="teacher or codebook of other settings"):
        finetune(Run(settings(codebook={"size": 32}), upstream))


def test_distill_without_teacher_says_so(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no model at .*teacher\.safetensors"):
        distill(Run(settings(), tmp_path))


def test_supervised_student_needs_no_teacher(settings: Settings, tmp_path: Path) -> None:
    losses = Losses()
    train(Run(settings(distill={**SHORT, **SUPERVISED}), tmp_path, losses))
    assert not (tmp_path / "pretrain").exists()
    assert not (tmp_path / "teacher.safetensors").exists()
    assert not (tmp_path / "labels").exists()
    assert [set(values) for _, values in losses.seen] == [{"loss", "seg"}] * 2
    assert load_model(tmp_path).kind == "student"


def test_supervised_and_distilled_student_start_alike(settings: Settings, upstream: Path) -> None:
    """Same net, same labelled patches, same first step: only the teacher differs."""
    first: list[float] = []
    for folder, changed in ((upstream, {}), (upstream / "supervised", SUPERVISED)):
        losses = Losses()
        # A tiny batch without the teacher's patches would normalise otherwise: compare weights.
        distill(Run(settings(distill={**SHORT, **changed, "learning_rate": 1e-12}), folder, losses))
        weight = load_model(folder).net.state_dict()["down.0.weight"]
        first.append(float(weight.double().sum()))
    assert first[0] == pytest.approx(first[1], rel=1e-6)


def test_another_teacher_can_be_named(settings: Settings, upstream: Path, tmp_path: Path) -> None:
    folder = tmp_path / "student_only"
    distill(Run(settings(distill=SHORT), folder), upstream / "teacher.safetensors")
    assert load_model(folder).kind == "student"
    with pytest.raises(CheckpointError, match="holds a student, but a teacher is needed"):
        distill(Run(settings(distill=SHORT), tmp_path / "x"), folder / "student.safetensors")


def test_what_a_teacher_said_is_shared_between_runs(
    settings: Settings, upstream: Path, tmp_path: Path
) -> None:
    teacher = load_model(upstream, "teacher")
    guide(Run(settings(), upstream), teacher, keep_encodings=True)
    said = {p: p.stat().st_mtime_ns for p in (upstream / "labels").rglob("*") if p.is_file()}
    first = Losses()
    student = tmp_path / "student"
    distill(Run(settings(distill=SHORT), student, first), upstream, upstream / "labels")
    assert not (student / "labels").exists()
    assert {p: p.stat().st_mtime_ns for p in said} == said
    alone = Losses()
    distill(Run(settings(distill=SHORT), tmp_path / "alone", alone), upstream)
    assert first.seen == alone.seen


# ---------------------------------------------------------------------------------------- variants


@pytest.mark.parametrize("target", ["code_vectors", "code_assignments", "features", "none"])
def test_every_distillation_target(target: str, settings: Settings, upstream: Path) -> None:
    losses = Losses()
    distill(Run(settings(distill={**SHORT, "target": target}), upstream, losses))
    expected = {"loss", "seg", "semi"} | (set() if target == "none" else {"dis"})
    assert [set(values) for _, values in losses.seen] == [expected] * 2
    assert all(np.isfinite(list(values.values())).all() for _, values in losses.seen)
    names = load_model(upstream).net.state_dict()
    assert not any("projection" in name or "table" in name for name in names)


def test_distillation_without_pseudo_labels(settings: Settings, upstream: Path) -> None:
    losses = Losses()
    distill(Run(settings(distill={**SHORT, "semi_weight": 0.0}), upstream, losses))
    assert [set(values) for _, values in losses.seen] == [{"loss", "seg", "dis"}] * 2


@pytest.mark.parametrize("quantiser", ["ema", "gradient", "fsq", "none"])
def test_every_quantiser_goes_through_all_stages(
    quantiser: str, settings: Settings, tmp_path: Path
) -> None:
    target = {"target": "features"} if quantiser == "none" else {}
    config = settings(
        codebook={"quantiser": quantiser},
        pretrain=SHORT,
        finetune=SHORT,
        distill={**SHORT, **target},
    )
    run = Run(config, tmp_path)
    assert [result.steps for result in train(run)] == [2, 2, 2]
    teacher = load_model(tmp_path, "teacher")
    assert teacher.net.codebook.config.quantiser == quantiser  # type: ignore[union-attr]
    assert load_model(tmp_path).net.config == config.student


def test_runs_on_simulated_volumes_alone(settings: Settings, tmp_path: Path) -> None:
    alone = {**SHORT, "simulated_share": 1.0}
    run = Run(
        settings(
            data={"labelled": [], "validation": []},
            pretrain=alone,
            finetune=alone,
            distill=alone,
            simulate={"shape_voxels": (16, 24, 24), "images_per_anatomy": 4},
        ),
        tmp_path,
    )
    try:
        train(run)
    except CollapseError as error:
        # Two steps teach a teacher nothing; what is at stake here is what it was asked about.
        assert "teacher" in str(error)
    labelled = sorted(p.name for p in (tmp_path / "labels").iterdir() if p.is_dir())
    assert labelled == [f"{i:03d}_simulated_{i}" for i in range(4)]
    shown = {json.loads(p.read_text())["image"] for p in (tmp_path / "labels").glob("*/done.json")}
    held_out = {v.image.fingerprint() for v in run.validation}
    assert len(shown) == 4
    assert not shown & held_out, "the student is taught on the volumes that it is validated on"
    assert all(v.truth(Box.whole(v.shape)).any() for v in run.validation)


# ---------------------------------------------------------------------------------------- collapse


def test_diverging_training_stops_with_advice(settings: Settings, tmp_path: Path) -> None:
    wild = {"learning_rate": 1e30, "steps": 6, "warmup_share": 0.0, "validate_every": 100}
    with pytest.raises(CollapseError, match=r"became (nan|inf).*lower distill\.learning_rate"):
        distill(Run(settings(distill={**wild, **SUPERVISED}), tmp_path))


@pytest.mark.parametrize("name", ["pretrain", "finetune"])
def test_collapsed_codebook_stops_with_advice(
    name: str, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Dull(Teacher):
        """Encodes everything alike."""

        def __init__(self, config: TeacherConfig, codebook: CodebookConfig) -> None:
            super().__init__(config, codebook)
            for parameter in self.to_code.parameters():
                torch.nn.init.zeros_(parameter.requires_grad_(False))

    monkeypatch.setattr("vpbsd.stages.run.Teacher", Dull)
    config = settings(pretrain={**SHORT, "enabled": name == "pretrain"}, finetune=SHORT)
    with pytest.raises(CollapseError, match=r"the codebook collapsed.*16 codes.*revive_below"):
        STAGES[name](Run(config, tmp_path))
    assert not (tmp_path / WEIGHTS[name]).exists()


# ------------------------------------------------------------------------------------------- ranks

TWO_RANKS = """
import sys
from pathlib import Path
import torch
from vpbsd.config import load_config
from vpbsd.stages import Run, train
from vpbsd.stages import run as stages

torch.set_num_threads(1)
folder = Path(sys.argv[2])
original = stages.run_stage

def spy(stage, where, fabric, on_step=None):
    result = original(stage, where, fabric, on_step)
    torch.save(stage.objective.state_dict(), folder / f"{stage.name}_{fabric.global_rank}.pt")
    assert fabric.world_size == 2
    return result

stages.run_stage = spy
train(Run(load_config(sys.argv[1]), folder))
"""


@pytest.mark.slow
def test_two_ranks_end_with_the_same_weights(tree: Callable[..., Any], tmp_path: Path) -> None:
    stages = {name: {**SHORT, "steps": 3} for name in STAGES}
    (tmp_path / "script.py").write_text(TWO_RANKS)
    plain = json.loads(json.dumps(tree(**stages)))
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(plain))
    run = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", "2", "script.py", "recipe.yaml", str(tmp_path)),
        ],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    for name in STAGES:
        first, second = (
            torch.load(tmp_path / f"{name}_{rank}.pt", weights_only=True) for rank in range(2)
        )
        # Each rank's batches have their own statistics; those of the first rank are kept.
        own = ("running_mean", "running_var")
        differing = [
            k for k in first if not k.endswith(own) and not torch.equal(first[k], second[k])
        ]
        assert differing == []
        assert any("codebook" in k for k in first) == (name != "distill")
        kept = load_file(tmp_path / name / "last.safetensors")
        assert all(torch.equal(kept[f"module.{k}"], v) for k, v in first.items())
    steps = [r["step"] for r in read_metrics(tmp_path / "distill" / "metrics.jsonl")]
    assert steps == [2, 3, 3], "both ranks have written the log"
    assert load_model(tmp_path).kind == "student"
