r"""URPC: predictions of all scales agree, the sooner where they differ less (Luo et al. 2021).

With :math:`p_s` the probability at scale s, upsampled to full resolution, and :math:`\bar p` the
mean over the S scales:

.. math::

    L_{semi} = \frac{1}{S} \sum_s \left( \frac{\sum_v w_s (p_s - \bar p)^2}{\sum_v w_s}
               + \frac{1}{N} \sum_v D_s \right), \qquad w_s = e^{-D_s}, \qquad
    D_s = \bar p \log \frac{\bar p}{p_s} + (1 - \bar p) \log \frac{1 - \bar p}{1 - p_s}

and L_seg is the mean over all scales. Scales are the student's own output and a 1x1x1 convolution
on the decoder features of each level, which is thrown away after training; formulas as in the
authors' code (SSL4MIS). The noise and dropout that it puts before the lower scales are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, logsigmoid

from vpbsd.compare.loop.rival import Rival
from vpbsd.compare.loop.student import StudentObjective
from vpbsd.compare.semi.consistency import CONSISTENCY_WEIGHT, make_student, ramp_up
from vpbsd.config import RunConfig
from vpbsd.losses.segmentation import segmentation_loss
from vpbsd.models import Student
from vpbsd.models.layers import foreground_bias
from vpbsd.stages.distill import Guidance

__all__ = ["URPC", "PyramidConsistency", "pyramid_consistency_loss"]

_FIRST_GUESS = 0.1
_LEAST = 1e-6


def pyramid_consistency_loss(logits: Sequence[Tensor]) -> Tensor:
    """Return L_semi, a scalar, of logits (U, 1, D, H, W), one a scale."""
    scales = torch.stack([one.float() for one in logits])
    p = scales.sigmoid()
    mean = p.mean(0).clamp(_LEAST, 1 - _LEAST)
    divergence = mean * (mean.log() - logsigmoid(scales))
    divergence = divergence + (1 - mean) * ((1 - mean).log() - logsigmoid(-scales))
    weight = torch.exp(-divergence)
    voxels = tuple(range(1, scales.ndim))
    squares = (weight * (p - mean).square()).sum(voxels) / weight.sum(voxels)
    return (squares + divergence.mean(voxels)).mean()


class PyramidConsistency(StudentObjective):
    """The student with a training-only head on each level of its decoder.

    Parameters
    ----------
    student
        Trained and deployed.
    weight
        Lambda.
    """

    needs = "unlabelled"

    def __init__(self, student: Student, weight: float = CONSISTENCY_WEIGHT) -> None:
        super().__init__(student)
        self.weight = weight
        self.heads = nn.ModuleList(nn.Conv3d(width, 1, 1) for width in student.config.widths)
        for head in self.heads:
            nn.init.constant_(cast(Tensor, head.bias), foreground_bias(_FIRST_GUESS))

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return ``loss``, ``seg`` and ``semi``."""
        count = len(batch["image"])
        scales = self.scales(torch.cat([batch["image"], batch["unlabelled"]]))
        seg = torch.stack([segmentation_loss(s[:count], batch["label"]) for s in scales]).mean()
        semi = pyramid_consistency_loss([s[count:] for s in scales])
        return {
            "loss": seg + self.weight * ramp_up(batch["ramp"]) * semi,
            "seg": seg,
            "semi": semi,
        }

    def scales(self, images: Tensor) -> list[Tensor]:
        """Return logits (B, 1, D, H, W) of each scale, the student's own first."""
        features = self.student.features(images)
        found = [self.student.head(images, features)]
        for head, level in zip(self.heads, features, strict=True):
            coarse = head(level).float()
            found.append(interpolate(coarse, images.shape[2:], mode="trilinear"))
        return found


def _build(config: RunConfig, guidance: Guidance | None) -> PyramidConsistency:
    weight = CONSISTENCY_WEIGHT * config.distill.semi_weight
    return PyramidConsistency(make_student(config), weight)


URPC = Rival("urpc", "predictions of all scales agree (Luo et al. 2021)", _build)
