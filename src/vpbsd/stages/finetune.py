r"""Stage 2: the teacher learns to segment from labelled patches, and from what it makes of others.

.. math:: L = L_{seg}(\hat Y, Y) + \lambda_{semi} L_{semi}(\hat Y_u, q_{\bar T}) + w_{cb} L_{cb}

with :math:`q_{\bar T}` the probability that the moving average of the teacher's own weights sees in
an unlabelled patch before its intensities are augmented, cut at its threshold
(:mod:`vpbsd.stages.self_teaching`). In the paper :math:`\lambda_{semi}` is 0; but a net of this
size learns a few labelled patches by heart, and then errs on microscopes that they do not show. The
last term keeps codes in use while the encoder moves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from vpbsd.config import FinetuneConfig
from vpbsd.data.collection import TrainingVolume
from vpbsd.data.patches import PatchSampler, UnlabelledPatches
from vpbsd.losses.pseudo_label import pseudo_label_loss
from vpbsd.losses.segmentation import segmentation_loss
from vpbsd.models import CodeUsage, Teacher, save_model
from vpbsd.models.teacher import TeacherOutput
from vpbsd.stages.codes import (
    batch_perplexity,
    codebook_terms,
    refuse_collapsed_codebook,
    usage_metrics,
)
from vpbsd.stages.label import TeacherRuntime
from vpbsd.stages.loop import Validation
from vpbsd.stages.self_teaching import SelfTeacher
from vpbsd.stages.validation import validate_segmentation

__all__ = ["FinetuneData", "FinetuneObjective", "FinetuneStage"]


class _AveragedTeacher(SelfTeacher[Teacher]):
    """The moving average of the teacher, which segments."""

    def logits(self, images: Tensor) -> Tensor:
        return cast(TeacherOutput, self.net(images, "segment")).image


class FinetuneObjective(nn.Module):
    """L_seg, L_semi and L_cb of a mixed batch."""

    def __init__(self, teacher: Teacher, config: FinetuneConfig) -> None:
        super().__init__()
        self.teacher, self.config = teacher, config
        teacher.train_only("segment")
        self.average: _AveragedTeacher | None = None
        if config.semi_weight > 0:
            self.average = _AveragedTeacher(teacher, recalibrate=config.recalibrate)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return ``loss``, ``seg``, ``cb``, the batch's code ``perplexity`` and mostly ``semi``."""
        images, labelled = batch["image"], len(batch["image"])
        if self.average is not None:
            images = torch.cat([images, batch["unlabelled"]])
        out = self.teacher(images, "segment")
        seg = segmentation_loss(out.image[:labelled], batch["label"])
        cb = codebook_terms(self.teacher, out.quantised)
        losses = {
            "seg": seg,
            "cb": cb,
            "perplexity": batch_perplexity(self.teacher, out.quantised.indices),
        }
        total = seg + self.config.codebook_weight * cb
        if self.average is not None:
            self.average.follow(self.teacher)
            losses["semi"] = pseudo_label_loss(out.image[labelled:], self.average(batch["plain"]))
            total = total + self.config.semi_weight * batch["ramp"] * losses["semi"]
        return {"loss": total, **losses}


@dataclass(frozen=True)
class FinetuneData:
    """What the teacher learns from.

    Attributes
    ----------
    labelled, unlabelled
        Patches.
    validation
        Volumes that choose the threshold.
    """

    labelled: PatchSampler
    unlabelled: UnlabelledPatches
    validation: tuple[TrainingVolume, ...]


class FinetuneStage:
    """Fine-tuning of ``teacher`` on labelled and unlabelled patches."""

    name = "finetune"

    def __init__(
        self,
        teacher: Teacher,
        data: FinetuneData,
        config: FinetuneConfig,
        identity: Mapping[str, Any],
        runtime: TeacherRuntime,
        file: Path,
    ) -> None:
        self.settings, self.identity = config, identity
        self.objective = FinetuneObjective(teacher, config)
        self._teacher, self._data = teacher, data
        self._runtime, self._file = runtime, file

    def batch(self, step: int, rank: int, ranks: int) -> dict[str, Tensor]:
        """Return augmented images and labels, and unlabelled patches where they are learnt from."""
        config = self.settings
        patches = self._data.labelled.batch(step, config.batch_size, rank, ranks)
        batch = {"image": patches.image, "label": patches.label}
        if config.semi_weight == 0:
            return batch
        loose = self._data.unlabelled.batch(step, config.unlabelled_batch_size, rank, ranks)
        return {**batch, **loose, "ramp": torch.tensor(config.ramp(step))}

    def validate(self) -> Validation:
        """Score whole validation volumes; the codebook must not have collapsed."""
        usage = CodeUsage(self._teacher.codebook.size)
        self._runtime.usage = usage
        found = validate_segmentation(
            self._runtime, self._data.validation, stage=self.name, block_voxels=self._runtime.block
        )
        self._runtime.usage = None
        refuse_collapsed_codebook(self._teacher, usage)
        metrics = {**found.metrics, **usage_metrics(usage)}
        return Validation(found.score, metrics, found.threshold)

    def heed(self, threshold: float) -> None:
        """Let the teacher's average label at the threshold that validation found."""
        if self.objective.average is not None:
            self.objective.average.heed(threshold)

    def keep(self, validation: Validation, step: int) -> None:
        """Save the teacher."""
        save_model(
            self._file,
            self._teacher,
            threshold=validation.threshold,
            metadata={"stage": self.name, "step": step, "scores": dict(validation.metrics)},
        )
