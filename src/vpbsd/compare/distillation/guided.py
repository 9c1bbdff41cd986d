r"""What distillation methods share: labels, what the teacher said once, and where it is compared.

.. math:: L = L_{seg} + \lambda L_{dis}

L_seg is that of the labelled patches, L_dis that of the patches a teacher has labelled. There are
no pseudo-labels: each method stands for its own loss.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor

from vpbsd.compare.loop.student import Seen, StudentObjective
from vpbsd.config import RunConfig, StudentConfig
from vpbsd.errors import ConfigError
from vpbsd.geometry import Triplet, as_triplet
from vpbsd.losses.segmentation import segmentation_loss
from vpbsd.models import Projection, Student, Teacher
from vpbsd.models.projection import code_level, on_code_grid
from vpbsd.stages.distill import Guidance

__all__ = [
    "GuidedObjective",
    "ProjectedObjective",
    "features_on_grid",
    "make_student",
    "teacher_logits",
    "teacher_of",
]

# The teacher's probability is kept in 8 bits.
_HALF_A_STEP = 0.5 / 255


class GuidedObjective(StudentObjective):
    """The student, and one loss against what the teacher said.

    Parameters
    ----------
    student
        Trained and deployed.
    weight
        Lambda.
    """

    needs = "teacher"

    def __init__(self, student: Student, weight: float) -> None:
        super().__init__(student)
        self.weight = weight

    @abstractmethod
    def distillation(self, seen: Seen, batch: Mapping[str, Tensor]) -> Tensor:
        """Return L_dis, a scalar."""

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return ``loss``, ``seg`` and ``dis``."""
        seen = self.look(batch)
        seg = segmentation_loss(seen.labelled, batch["label"])
        # Distances and softmaxes over many positions need more than 8 bits of mantissa.
        with torch.autocast(seg.device.type, enabled=False):
            dis = self.distillation(seen, batch)
        return {"loss": seg + self.weight * dis, "seg": seg, "dis": dis}


class ProjectedObjective(GuidedObjective):
    """A method that compares encodings with projected features of the same dimension.

    Parameters
    ----------
    student
        Trained and deployed.
    teacher
        Gives code stride and dimension; not kept.
    weight
        Lambda.
    """

    def __init__(self, student: Student, teacher: Teacher, weight: float) -> None:
        super().__init__(student, weight)
        dimension = teacher.codebook.config.dimension
        self.projection = Projection(student.config, teacher.config.code_stride, dimension)

    def projected(self, seen: Seen, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the student's features as (U, dimension, d, h, w), as the encodings are."""
        features = [level.float() for level in seen.features]
        grid = as_triplet(batch["encodings"].shape[2:])
        return cast(Tensor, self.projection(features, grid))


def features_on_grid(
    config: StudentConfig, code_stride: Triplet, seen: Seen, batch: Mapping[str, Tensor]
) -> Tensor:
    """Return the student's own features (U, width, d, h, w) on the grid of the encodings."""
    level = seen.features[code_level(config, code_stride)]
    return on_code_grid(level.float(), as_triplet(batch["encodings"].shape[2:]))


def teacher_logits(probability: Tensor) -> Tensor:
    """Return the teacher's logits, which end half a step from probability 0 and 1, at 6.2."""
    return torch.logit(probability.float(), eps=_HALF_A_STEP)


def make_student(config: RunConfig) -> Student:
    """Return the student of a distillation rival, with random weights.

    Raises
    ------
    ConfigError
        If batches would hold no patch that a teacher has labelled.
    """
    if config.distill.unlabelled_batch_size == 0:
        raise ConfigError(
            "distill.unlabelled_batch_size is 0, but distillation learns from patches that a "
            "teacher has labelled: set it to 1 or more, or train the supervised-only student"
        )
    return Student(config.student)


def teacher_of(guidance: Guidance | None, method: str, *, encodings: bool = True) -> Teacher:
    """Return the net whose outputs a method learns from.

    Raises
    ------
    ConfigError
        If there is none, or its encodings are needed and were not kept.
    """
    if guidance is None:
        raise ConfigError(
            f"{method} learns from a teacher, but none was given: train one (vpbsd finetune) and "
            "let it label the volumes first"
        )
    if encodings and any(labels.encodings is None for labels in guidance.labels):
        raise ConfigError(
            f"{method} learns from the teacher's encodings, but its labels were made without "
            "them: label the volumes again with keep_encodings"
        )
    return guidance.net
