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
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric import Fabric

from vpbsd.config import RunConfig, StageConfig, save_config
from vpbsd.data.collection import Collection, TrainingVolume, open_collection
from vpbsd.data.patches import PatchSampler, UnlabelledPatches, simulated_volume
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
from vpbsd.stages.finetune import FinetuneData, FinetuneStage
from vpbsd.stages.label import TeacherRuntime, label_volumes, labelling_threshold
from vpbsd.stages.loop import CHECKPOINT, OnStep, Stage, StageResult, run_stage
from vpbsd.stages.pretrain import PretrainStage

__all__ = [
    "Run",
    "distill",
    "distill_stage",
    "finetune",
    "guide",
    "pretrain",
    "stage_identity",
    "train",
]

logger = logging.getLogger(__name__)

# Each stage draws from its own stream of random numbers.
_STREAMS = {"pretrain": 1, "finetune": 2, "distill": 3, "validation": 4, "guidance": 5}
_SIMULATED_VALIDATION, _SIMULATED_UNLABELLED = 2, 4


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
    def images(self) -> tuple[TrainingVolume, ...]:
        """Volumes to learn from without labels; simulated ones where none is listed."""
        if self.collection.images:
            return self.collection.images
        seed = _stream(self.config.seed, "guidance")
        return tuple(
            simulated_volume(self.config.simulate, seed, i, labelled=False)
            for i in range(_SIMULATED_UNLABELLED)
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
        return stage_identity(self.config, self.collection.fingerprints(), *sections, **upstream)

    def runtime(self, teacher: Teacher, *, mirrors: bool = False) -> TeacherRuntime:
        """Return what evaluates ``teacher`` on whole volumes."""
        return TeacherRuntime(teacher, self.precision, self.device, mirrors=mirrors)

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


def stage_identity(
    config: RunConfig, fingerprints: Mapping[str, str], *sections: str, **upstream: str
) -> dict[str, Any]:
    """Return what decides a stage's result; see :meth:`Run.identity`.

    Parameters
    ----------
    config
        Of the run.
    fingerprints
        Of the data, from :meth:`vpbsd.data.collection.Collection.fingerprints`.
    sections
        Of the configuration, beside ``seed`` and ``simulate``.
    upstream
        Fingerprints of what other stages made.
    """
    tree = config.model_dump(mode="json")
    chosen = {name: tree[name] for name in ("seed", "simulate", *sections)}
    for section in chosen.values():
        if isinstance(section, dict):
            section.pop("checkpoint_every", None)
    return {**chosen, "data": dict(fingerprints), **upstream}


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
    sampler = run.sampler(run.collection.labelled, "finetune")
    loose = UnlabelledPatches(run.images, config.finetune.patch_voxels, sampler.seed)
    stage = FinetuneStage(
        teacher,
        FinetuneData(sampler, loose, run.validation),
        config.finetune,
        run.identity("teacher", "codebook", "finetune", pretrained=upstream),
        run.runtime(teacher),
        run.folder / "teacher.safetensors",
    )
    return run.execute(stage)


def distill(run: Run, teacher: Path | None = None, labels: Path | None = None) -> StageResult:
    """Stage 3: train the student; see :mod:`vpbsd.stages.distill`.

    Parameters
    ----------
    run
        Its folder gets ``student.safetensors``.
    teacher
        File or run folder of the teacher; that of ``run`` if not given. Not looked at by a
        student without a teacher.
    labels
        Folder of what the teacher says about each volume, if another run has it already.

    Raises
    ------
    CheckpointError
        If there is no teacher, or a damaged one.
    """
    return run.execute(distill_stage(run, teacher, labels))


def distill_stage(
    run: Run, teacher: Path | None = None, labels: Path | None = None
) -> DistillStage:
    """Return stage 3 before its first step; see :func:`distill`."""
    config = run.config
    guidance, upstream = None, "none"
    if config.distill.uses_teacher:
        model = load_model(teacher or run.folder, "teacher")
        keep = config.distill.target == "features"
        guidance = guide(run, model, labels, keep_encodings=keep)
        upstream = model.fingerprint
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
    return stage


def train(run: Run) -> list[StageResult]:
    """All stages that the configuration asks for, each from where it stands."""
    before = []
    if run.config.distill.uses_teacher:
        if run.config.pretrain.enabled:
            before.append(pretrain(run))
        before.append(finetune(run))
    return [*before, distill(run)]


def guide(
    run: Run, teacher: Model, labels: Path | None = None, *, keep_encodings: bool
) -> Guidance:
    """Let a teacher say what it sees in every volume, once, and return that for training.

    Parameters
    ----------
    run
        Whose volumes, and the patches that will be cut from them.
    teacher
        With the threshold of its pseudo-labels.
    labels
        Folder to find them in, or to write them to; by default in that of ``run``.
    keep_encodings
        Also keep what stands before the codebook.

    Raises
    ------
    CollapseError
        If the teacher finds no vessel anywhere, or vessels everywhere.
    """
    runtime = run.runtime(cast(Teacher, teacher.net), mirrors=run.config.distill.mirrors)
    folder = labels or run.folder / "labels"
    # The first rank labels; the others wait, then open what it has written.
    if not run.fabric.is_global_zero:
        run.fabric.barrier()
    threshold = labelling_threshold(teacher, run.validation, folder, runtime=runtime)
    teacher = replace(teacher, threshold=threshold)
    found = label_volumes(
        teacher,
        run.images,
        folder,
        runtime=runtime,
        patch=run.config.distill.patch_voxels,
        keep_encodings=keep_encodings,
    )
    if run.fabric.is_global_zero:
        run.fabric.barrier()
    return Guidance(teacher, run.images, found)


def _stream(seed: int, name: str) -> int:
    return seed * 1000 + _STREAMS[name]
