r"""Attention transfer: be active where the teacher is (Zagoruyko & Komodakis 2017).

.. math::

    L_{dis} = \frac{1}{N} \left\| \frac{a(h)}{\|a(h)\|} - \frac{a(z)}{\|a(z)\|} \right\|^2, \qquad
    a(f)_v = \frac{1}{C} \sum_c f_{vc}^2

with z the teacher's encodings, h the student's features on the same grid of N positions, and one
map a per patch. There is nothing to learn between the two: the maps have no channels.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.nn.functional import normalize

from vpbsd.compare.distillation.guided import (
    GuidedObjective,
    features_on_grid,
    make_student,
    teacher_of,
)
from vpbsd.compare.loop.rival import Rival
from vpbsd.compare.loop.student import Seen
from vpbsd.config import RunConfig
from vpbsd.geometry import Triplet
from vpbsd.models import Student
from vpbsd.stages.distill import Guidance

__all__ = ["ATTENTION_TRANSFER", "AttentionTransfer", "attention_transfer_loss"]

WEIGHT = 1000.0
"""As in RepDistiller; ``distill.distill_weight`` multiplies it."""


def attention_transfer_loss(features: Tensor, encodings: Tensor) -> Tensor:
    """Return L_dis, a scalar, of (U, width, d, h, w) and (U, dimension, d, h, w)."""
    difference = _attention(features) - _attention(encodings)
    return difference.square().mean()


def _attention(features: Tensor) -> Tensor:
    return normalize(features.float().square().mean(1).flatten(1))


class AttentionTransfer(GuidedObjective):
    """The student's features have their energy where the teacher's encodings have theirs.

    Parameters
    ----------
    student
        Trained and deployed.
    code_stride
        Voxels per code (z, y, x).
    weight
        Lambda.
    """

    def __init__(self, student: Student, code_stride: Triplet, weight: float) -> None:
        super().__init__(student, weight)
        self.code_stride = code_stride

    def distillation(self, seen: Seen, batch: Mapping[str, Tensor]) -> Tensor:
        """Return L_dis, a scalar."""
        features = features_on_grid(self.student.config, self.code_stride, seen, batch)
        return attention_transfer_loss(features, batch["encodings"])


def _build(config: RunConfig, guidance: Guidance | None) -> AttentionTransfer:
    stride = teacher_of(guidance, ATTENTION_TRANSFER.name).config.code_stride
    weight = WEIGHT * config.distill.distill_weight
    return AttentionTransfer(make_student(config), stride, weight)


ATTENTION_TRANSFER = Rival(
    "attention_transfer",
    "be active where the teacher is (Zagoruyko & Komodakis 2017)",
    _build,
)
