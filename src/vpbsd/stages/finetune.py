r"""Stage 2: the teacher learns to segment from labelled patches.

.. math:: L = L_{seg}(\hat Y, Y) + w_{cb} L_{cb}

The small second term keeps codes in use while the encoder moves.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from vpbsd.config import FinetuneConfig
from vpbsd.data.collection import TrainingVolume
from vpbsd.data.patches import PatchSampler
from vpbsd.losses.segmentation import segmentation_loss
from vpbsd.models import CodeUsage, Teacher, save_model
from vpbsd.stages.codes import (
    batch_perplexity,
    codebook_terms,
    refuse_collapsed_codebook,
    usage_metrics,
)
from vpbsd.stages.label import TeacherRuntime
from vpbsd.stages.loop import Validation
from vpbsd.stages.validation import validate_segmentation

__all__ = ["FinetuneObjective", "FinetuneStage"]


class FinetuneObjective(nn.Module):
    """L_seg and L_cb of a labelled batch."""

    def __init__(self, teacher: Teacher, config: FinetuneConfig) -> None:
        super().__init__()
        self.teacher, self.codebook_weight = teacher, config.codebook_weight
        teacher.train_only("segment")

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return ``loss``, ``seg``, ``cb`` and the batch's code ``perplexity``."""
        out = self.teacher(batch["image"], "segment")
        seg = segmentation_loss(out.image, batch["label"])
        cb = codebook_terms(self.teacher, out.quantised)
        return {
            "loss": seg + self.codebook_weight * cb,
            "seg": seg,
            "cb": cb,
            "perplexity": batch_perplexity(self.teacher, out.quantised.indices),
        }


class FinetuneStage:
    """Fine-tuning of ``teacher`` on labelled patches."""

    name = "finetune"

    def __init__(
        self,
        teacher: Teacher,
        sampler: PatchSampler,
        validation: tuple[TrainingVolume, ...],
        config: FinetuneConfig,
        identity: Mapping[str, Any],
        runtime: TeacherRuntime,
        file: Path,
    ) -> None:
        self.settings, self.identity = config, identity
        self.objective = FinetuneObjective(teacher, config)
        self._teacher, self._sampler, self._file = teacher, sampler, file
        self._validation, self._runtime = validation, runtime

    def batch(self, step: int, rank: int, ranks: int) -> dict[str, Tensor]:
        """Return augmented images and labels."""
        patches = self._sampler.batch(step, self.settings.batch_size, rank, ranks)
        return {"image": patches.image, "label": patches.label}

    def validate(self) -> Validation:
        """Score whole validation volumes; the codebook must not have collapsed."""
        usage = CodeUsage(self._teacher.codebook.size)
        self._runtime.usage = usage
        found = validate_segmentation(
            self._runtime, self._validation, stage=self.name, block_voxels=self._runtime.block
        )
        self._runtime.usage = None
        refuse_collapsed_codebook(self._teacher, usage)
        metrics = {**found.metrics, **usage_metrics(usage)}
        return Validation(found.score, metrics, found.threshold)

    def keep(self, validation: Validation, step: int) -> None:
        """Save the teacher."""
        save_model(
            self._file,
            self._teacher,
            threshold=validation.threshold,
            metadata={"stage": self.name, "step": step, "scores": dict(validation.metrics)},
        )
