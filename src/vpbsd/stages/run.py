"""The three stages of a run, each resumable on its own, and all of them in a row.

::

    RUN/config.yaml               the effective configuration
    RUN/provenance.json           versions, machine, fingerprints of the input
    RUN/pretrain/                 last.safetensors (to go on from), metrics.jsonl,
                                  teacher.safetensors
    RUN/finetune/                 last.safetensors, metrics.jsonl
    RUN/teacher.safetensors       the fine-tuned teacher
    RUN/labels/                   what the teacher says about each volume
    RUN/distill/                  last.safetensors, metrics.jsonl
    RUN/student.safetensors       what ``vpbsd segment`` uses
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric import Fabric

from vpbsd.config import RunConfig, StageConfig, save_config
from vpbsd.data.collection import Collection, TrainingVolume, open_collection
from vpbsd.data.patches import PatchSampler, simulated_volume
from vpbsd.errors import CheckpointError
from vpbsd.machine import (
    Device,
    Precision,
    choose_device,
    choose_precision,
    describe_machine,
)
from vpbsd.models import Model, Student, Teacher, load_model
from vpbsd.provenance import provenance, write_json_atomic
from vpbsd.stages.checkpoint import refuse_other_run
from vpbsd.stages.distill import DistillStage, Guidance
from vpbsd.stages.finetune import FinetuneStage
from vpbsd.stages.label import TeacherRuntime, label_volumes
from vpbsd.stages.loop import CHECKPOINT, OnStep, Stage, StageResult, run_stage
from vpbsd.stages.pretrain import PretrainStage

__all__ = ["Run", "distill", "finetune", "pretrain", "train"]

logger = logging.getLogger(__name__)

# Each stage draws from its own stream of random numbers.
_STREAMS = {"pretrain": 1, "finetune": 2, "distill": 3, "validation": 4, "guidance": 5}
_SIMULATED_VALIDATION = 2


@dataclass(frozen=True)
class Run:
    """A configuration and the folder that its stages fill.

    Attributes
    ----------
    config
        What to do.
    folder
        Where; created when needed.
    on_step
        Called after each training step, for a progress bar.
    """

    config: RunConfig
    folder: Path
    on_step: OnStep | None = None

    @property
    def device(self) -> Device:
        """Where tensors live."""
        return choose_device(self.config.machine.accelerator)

    @property
    def precision(self) -> Precision:
        """How products are computed."""
        return choose_precision(self.config.machine.precision, self.device)

    @cached_property
    def collection(self) -> Collection:
        """The volumes, opened and checked."""
        return open_collection(self.config.data, self.config.teacher.channels)

    @cached_property
    def validation(self) -> tuple[TrainingVolume, ...]:
        """Validation volumes; simulated ones, never trained on, where none is listed."""
        if self.collection.validation:
            return self.collection.validation
        seed = _stream(self.config.seed, "validation")
        return tuple(
            simulated_volume(self.config.simulate, seed, i) for i in range(_SIMULATED_VALIDATION)
        )

    @cached_property
    def fabric(self) -> Fabric:
        """Device, precision and, under ``torchrun``, the ranks."""
        ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        fabric = Fabric(
            accelerator=self.device,
            devices=ranks,
            num_nodes=int(os.environ.get("GROUP_WORLD_SIZE", "1")),
            strategy="ddp" if "LOCAL_WORLD_SIZE" in os.environ else "auto",
            precision="bf16-mixed" if self.precision == "bf16" else "32-true",
        )
        fabric.launch()
        return fabric

    def sampler(self, volumes: tuple[TrainingVolume, ...], stage: str) -> PatchSampler:
        """Return the source of augmented patches of ``stage``."""
        settings: StageConfig = getattr(self.config, stage)
        return PatchSampler(
            volumes,
            self.config.simulate,
            simulated_share=settings.simulated_share,
            patch=settings.patch_voxels,
            seed=_stream(self.config.seed, stage),
        )

    def identity(self, *sections: str, **upstream: str) -> dict[str, Any]:
        """Return what decides a stage's result: sections of the configuration, data, upstream."""
        tree = self.config.model_dump(mode="json")
        chosen = {name: tree[name] for name in ("seed", "simulate", *sections)}
        for section in chosen.values():
            if isinstance(section, dict):
                section.pop("checkpoint_every", None)
        return {**chosen, "data": self.collection.fingerprints(), **upstream}

    def runtime(self, teacher: Teacher) -> TeacherRuntime:
        """Return what evaluates ``teacher`` on whole volumes."""
        return TeacherRuntime(teacher, self.precision, self.device)

    def begin(self, stage: str) -> None:
        """Start the ranks and the random numbers of ``stage``, before its nets are made.

        A codebook made before the ranks know of each other would learn from the first one's
        patches alone.
        """
        self.fabric.barrier()
        torch.manual_seed(_stream(self.config.seed, stage))

    def execute(self, stage: Stage) -> StageResult:
        """Train ``stage`` in its folder, after writing down what is run."""
        refuse_other_run(self.folder / stage.name / CHECKPOINT, stage.identity)
        if self.fabric.is_global_zero:
            (self.folder / stage.name).mkdir(parents=True, exist_ok=True)
            save_config(self.config, self.folder / "config.yaml")
            record = provenance(
                stage.name,
                inputs=self.collection.fingerprints(),
                seed=self.config.seed,
                machine=describe_machine(),
            )
            write_json_atomic(self.folder / stage.name / "provenance.json", record)
        result = run_stage(stage, self.folder / stage.name, self.fabric, self.on_step)
        logger.info(
            "%s: best score %.4f at step %d, %.0f s",
            stage.name,
            result.best_score,
            result.best_step,
            result.seconds,
        )
        return result


def pretrain(run: Run) -> StageResult:
    """Stage 1: learn the codebook from all images; see :mod:`vpbsd.stages.pretrain`."""
    config = run.config
    run.begin("pretrain")
    teacher = Teacher(config.teacher, config.codebook)
    stage = PretrainStage(
        teacher,
        run.sampler(run.collection.images, "pretrain"),
        run.validation,
        config.pretrain,
        run.identity("teacher", "codebook", "pretrain"),
        run.folder / "pretrain" / "teacher.safetensors",
    )
    return run.execute(stage)


def finetune(run: Run) -> StageResult:
    """Stage 2: learn to segment from the labelled patches; see :mod:`vpbsd.stages.finetune`.

    Raises
    ------
    CheckpointError
        If pretraining is on but has not been run in this folder, or with other nets.
    """
    config = run.config
    run.begin("finetune")
    teacher = Teacher(config.teacher, config.codebook)
    upstream = "none"
    if config.pretrain.enabled:
        first = load_model(run.folder / "pretrain" / "teacher.safetensors", "teacher")
        net = cast(Teacher, first.net)
        if (net.config, net.codebook.config) != (config.teacher, config.codebook):
            raise CheckpointError(
                f"{run.folder / 'pretrain'} holds a teacher or codebook of other settings: run "
                "vpbsd pretrain again in another folder"
            )
        teacher, upstream = net, first.fingerprint
    stage = FinetuneStage(
        teacher,
        run.sampler(run.collection.labelled, "finetune"),
        run.validation,
        config.finetune,
        run.identity("teacher", "codebook", "finetune", pretrained=upstream),
        run.runtime(teacher),
        run.folder / "teacher.safetensors",
    )
    return run.execute(stage)


def distill(run: Run, teacher: Path | None = None) -> StageResult:
    """Stage 3: train the student; see :mod:`vpbsd.stages.distill`.

    Parameters
    ----------
    run
        Its folder gets ``student.safetensors``.
    teacher
        File or run folder of the teacher; that of ``run`` if not given. Not looked at by a
        student without a teacher.

    Raises
    ------
    CheckpointError
        If there is no teacher, or a damaged one.
    """
    config = run.config
    guidance, upstream = None, "none"
    if config.distill.uses_teacher:
        model = load_model(teacher or run.folder, "teacher")
        guidance, upstream = _guidance(run, model), model.fingerprint
    run.begin("distill")
    stage = DistillStage(
        Student(config.student),
        run.sampler(run.collection.labelled, "distill"),
        guidance,
        run.validation,
        config.distill,
        run.identity("student", "distill", teacher=upstream),
        run.folder / "student.safetensors",
    )
    stage.precision, stage.device = run.precision, run.device
    return run.execute(stage)


def train(run: Run) -> list[StageResult]:
    """All stages that the configuration asks for, each from where it stands."""
    before = []
    if run.config.distill.uses_teacher:
        if run.config.pretrain.enabled:
            before.append(pretrain(run))
        before.append(finetune(run))
    return [*before, distill(run)]


def _guidance(run: Run, teacher: Model) -> Guidance:
    volumes = run.collection.images
    if not volumes:
        seed = _stream(run.config.seed, "guidance")
        volumes = tuple(
            simulated_volume(run.config.simulate, seed, i, labelled=False) for i in range(4)
        )
    net = cast(Teacher, teacher.net)
    settings = run.config.distill
    # The first rank labels; the others wait, then open what it has written.
    if not run.fabric.is_global_zero:
        run.fabric.barrier()
    labels = label_volumes(
        teacher,
        volumes,
        run.folder / "labels",
        runtime=run.runtime(net),
        patch=settings.patch_voxels,
        keep_encodings=settings.target == "features",
    )
    if run.fabric.is_global_zero:
        run.fabric.barrier()
    return Guidance(teacher, volumes, labels)


def _stream(seed: int, name: str) -> int:
    return seed * 1000 + _STREAMS[name]
