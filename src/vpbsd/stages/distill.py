r"""Stage 3: the light student learns from labels, pseudo-labels and the teacher's codes.

.. math::

    L = L_{seg}^S + \lambda_{semi} L_{semi}^S + \lambda_{dis} L_{dis}^S, \qquad
    q = (1 - \mu) q_T + \mu q_{\bar S}

with q what pseudo-labels are made of (:mod:`vpbsd.losses.pseudo_label`): the teacher's probability
and, with a share mu, that of the student's own moving average, each shifted so that 1/2 is where
its net decides best on the validation volumes (:mod:`vpbsd.stages.self_teaching`). A large teacher
that learnt few labels errs on microscopes it has no label of; a small student that learns from many
such patches averages its accidents out, and where the two disagree neither is trusted much. But
where the teacher is the better of the two this costs more than it brings, so mu is 0 by default, as
in the paper; the average is the mean teacher of Tarvainen & Valpola (2017).

A student without any teacher (``semi_weight`` 0, ``target`` none) is the supervised-only student
that it is compared with: same net, same labels, same steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from vpbsd.config import DistillConfig
from vpbsd.data.collection import TrainingVolume
from vpbsd.data.patches import UNLABELLED_STREAM, PatchSampler, draw_aligned
from vpbsd.losses.distillation import assignment_distillation_loss, vector_distillation_loss
from vpbsd.losses.pseudo_label import calibrated, pseudo_label_loss
from vpbsd.losses.segmentation import segmentation_loss
from vpbsd.machine import Device, Precision
from vpbsd.models import Model, Projection, Student, Teacher, save_model
from vpbsd.segment import TorchRuntime
from vpbsd.stages.label import TeacherLabels
from vpbsd.stages.loop import Validation
from vpbsd.stages.self_teaching import SelfTeacher
from vpbsd.stages.validation import validate_segmentation

__all__ = ["DistillObjective", "DistillStage", "Guidance"]


class Guidance:
    """The volumes that a teacher has labelled, and what it said about them.

    Parameters
    ----------
    teacher
        With the threshold that its pseudo-labels are cut at.
    volumes, labels
        Images and the teacher's outputs, in the same order.
    """

    def __init__(
        self, teacher: Model, volumes: Sequence[TrainingVolume], labels: Sequence[TeacherLabels]
    ) -> None:
        self.net = cast(Teacher, teacher.net)
        self.threshold = teacher.threshold
        self.volumes, self.labels = volumes, labels

    def patch(self, rng: np.random.Generator, shape: tuple[int, int, int]) -> dict[str, Tensor]:
        """Cut a patch with the teacher's ``probability``, ``codes`` and, if kept, ``encodings``."""
        stride = self.net.config.code_stride
        patch = draw_aligned(self.volumes, rng, shape, stride)
        return {"unlabelled": patch.image, **self.labels[patch.volume].cut(patch.box)}

    def batch(
        self, number: int, size: int, *, patch: tuple[int, int, int], seed: int
    ) -> dict[str, Tensor]:
        """Stack ``size`` patches, the first of them patch ``number`` of ``seed``."""
        found = [
            self.patch(np.random.default_rng((UNLABELLED_STREAM, seed, number + i)), patch)
            for i in range(size)
        ]
        return {key: torch.stack([one[key] for one in found]) for key in found[0]}


class DistillObjective(nn.Module):
    """L_seg + lambda_semi L_semi + lambda_dis L_dis of a mixed batch."""

    def __init__(self, student: Student, config: DistillConfig, guidance: Guidance | None) -> None:
        super().__init__()
        self.student, self.config = student, config
        self.threshold = 0.5 if guidance is None else guidance.threshold
        self.average: SelfTeacher[Student] | None = None
        if guidance is not None and config.semi_weight > 0 and config.self_teaching > 0:
            self.average = SelfTeacher(student, recalibrate=config.recalibrate)
        self.projection: Projection | None = None
        if guidance is not None and config.uses_codes:
            codebook = guidance.net.codebook
            self.projection = Projection(
                student.config, guidance.net.config.code_stride, codebook.config.dimension
            )
            if config.target != "features":
                self.register_buffer("table", codebook.table.detach().float().clone())

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return ``loss``, ``seg`` and, with a teacher, ``semi`` and ``dis``."""
        images, labelled = batch["image"], len(batch["image"])
        if "unlabelled" in batch:
            images = torch.cat([images, batch["unlabelled"]])
        features = self.student.features(images)
        logits = self.student.head(images, features)
        losses = {"seg": segmentation_loss(logits[:labelled], batch["label"])}
        total = losses["seg"]
        if "unlabelled" in batch and self.config.semi_weight > 0:
            losses["semi"] = pseudo_label_loss(
                logits[labelled:], self._pseudo_probability(batch), self.config.pseudo_labels
            )
            total = total + self.config.semi_weight * batch["ramp"] * losses["semi"]
        if "unlabelled" in batch and self.projection is not None:
            unlabelled = [f[labelled:] for f in features]
            losses["dis"] = self._distillation(unlabelled, batch)
            total = total + self.config.distill_weight * losses["dis"]
        return {"loss": total, **losses}

    def _pseudo_probability(self, batch: Mapping[str, Tensor]) -> Tensor:
        probability = calibrated(batch["probability"], self.threshold)
        if self.average is None:
            return probability
        self.average.follow(self.student)
        share = self.config.self_teaching * batch["ramp"]
        return torch.lerp(probability, self.average(batch["unlabelled"]), share)

    def _distillation(self, features: list[Tensor], batch: Mapping[str, Tensor]) -> Tensor:
        codes = batch["codes"]
        d, h, w = codes.shape[1:]
        projection = cast(Projection, self.projection)(features, (d, h, w))
        if self.config.target == "features":
            return vector_distillation_loss(projection, batch["encodings"])
        table = cast(Tensor, self.table)
        if self.config.target == "code_vectors":
            return vector_distillation_loss(projection, table[codes].movedim(-1, 1))
        return assignment_distillation_loss(projection, codes, table, self.config.temperature)


class DistillStage:
    """Training of ``student``, guided or not."""

    name = "distill"

    def __init__(
        self,
        student: Student,
        sampler: PatchSampler,
        guidance: Guidance | None,
        validation: tuple[TrainingVolume, ...],
        config: DistillConfig,
        identity: Mapping[str, Any],
        file: Path,
    ) -> None:
        self.settings, self.identity = config, identity
        self.objective = DistillObjective(student, config, guidance)
        self._student, self._sampler, self._guidance = student, sampler, guidance
        self._validation, self._file = validation, file
        self.precision: Precision = "fp32"
        self.device: Device = "cpu"

    def batch(self, step: int, rank: int, ranks: int) -> dict[str, Tensor]:
        """Return labelled patches and, with a teacher, patches that it has labelled."""
        config = self.settings
        patches = self._sampler.batch(step, config.batch_size, rank, ranks)
        batch = {"image": patches.image, "label": patches.label}
        if self._guidance is None:
            return batch
        size = config.unlabelled_batch_size
        batch |= self._guidance.batch(
            (step * ranks + rank) * size,
            size,
            patch=config.patch_voxels,
            seed=self._sampler.seed,
        )
        return {**batch, "ramp": torch.tensor(config.ramp(step))}

    def validate(self) -> Validation:
        """Score whole validation volumes as the deployed net would segment them."""
        runtime = TorchRuntime(self._student, self.precision, self.device)
        return validate_segmentation(runtime, self._validation, stage=self.name)

    def heed(self, threshold: float) -> None:
        """Let the student's average label at the threshold that validation found."""
        if self.objective.average is not None:
            self.objective.average.heed(threshold)

    def keep(self, validation: Validation, step: int) -> None:
        """Save the student, without the projection."""
        save_model(
            self._file,
            self._student,
            threshold=validation.threshold,
            metadata={"stage": self.name, "step": step, "scores": dict(validation.metrics)},
        )
