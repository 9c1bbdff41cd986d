r"""Stage 1: the teacher learns vessel patterns without labels.

Every patch is reconstructed from its codes alone:

.. math:: L_{pre} = L_{rec} + \alpha L_{cb}
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vpbsd.config import PretrainConfig
from vpbsd.data.collection import TrainingVolume
from vpbsd.data.patches import PatchSampler, aligned_box
from vpbsd.losses.reconstruction import reconstruction_loss
from vpbsd.models import CodeUsage, Teacher, save_model
from vpbsd.segment import read_padded
from vpbsd.stages.codes import (
    batch_perplexity,
    codebook_terms,
    refuse_collapsed_codebook,
    usage_metrics,
)
from vpbsd.stages.loop import Validation

__all__ = ["PretrainObjective", "PretrainStage"]

_HELD_OUT_PATCHES = 4


class PretrainObjective(nn.Module):
    """L_pre of a batch of images."""

    def __init__(self, teacher: Teacher, config: PretrainConfig) -> None:
        super().__init__()
        self.teacher, self.alpha = teacher, config.alpha
        teacher.train_only("reconstruct")

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return ``loss``, ``rec``, ``cb`` and the batch's code ``perplexity``."""
        out = self.teacher(batch["image"], "reconstruct")
        rec = reconstruction_loss(out.image, batch["image"])
        cb = codebook_terms(self.teacher, out.quantised)
        return {
            "loss": rec + self.alpha * cb,
            "rec": rec,
            "cb": cb,
            "perplexity": batch_perplexity(self.teacher, out.quantised.indices),
        }


class PretrainStage:
    """Pretraining of ``teacher`` on images."""

    name = "pretrain"

    def __init__(
        self,
        teacher: Teacher,
        sampler: PatchSampler,
        held_out: tuple[TrainingVolume, ...],
        config: PretrainConfig,
        identity: Mapping[str, Any],
        file: Path,
    ) -> None:
        self.settings, self.identity = config, identity
        self.objective = PretrainObjective(teacher, config)
        self._teacher, self._sampler, self._file = teacher, sampler, file
        self._held_out = [_patches(v, config.patch_voxels, teacher) for v in held_out]

    def batch(self, step: int, rank: int, ranks: int) -> dict[str, Tensor]:
        """Return augmented images."""
        return {"image": self._sampler.batch(step, self.settings.batch_size, rank, ranks).image}

    def validate(self) -> Validation:
        """Score the reconstruction of held-out images; the codebook must not have collapsed."""
        usage = CodeUsage(self._teacher.codebook.size)
        losses = []
        device = next(self._teacher.parameters()).device
        with torch.inference_mode():
            for held_out in self._held_out:
                patches = held_out.to(device)
                out = self._teacher(patches, "reconstruct")
                usage.add(out.quantised.indices)
                losses.append(float(reconstruction_loss(out.image, patches)))
        metrics = {"rec": float(np.mean(losses)), **usage_metrics(usage)}
        refuse_collapsed_codebook(self._teacher, usage)
        return Validation(-metrics["rec"], metrics)

    def heed(self, threshold: float) -> None:
        """Go on as before: nothing is segmented yet."""

    def keep(self, validation: Validation, step: int) -> None:
        """Save the teacher."""
        metadata = {"stage": self.name, "step": step, "scores": dict(validation.metrics)}
        save_model(self._file, self._teacher, threshold=0.5, metadata=metadata)


def _patches(volume: TrainingVolume, patch: tuple[int, int, int], teacher: Teacher) -> Tensor:
    rng = np.random.default_rng(0)
    boxes = [
        aligned_box(rng, volume.shape, patch, teacher.stride) for _ in range(_HELD_OUT_PATCHES)
    ]
    cut = [volume.scale.apply(read_padded(volume.image, box)) for box in boxes]
    return torch.from_numpy(np.stack(cut))
