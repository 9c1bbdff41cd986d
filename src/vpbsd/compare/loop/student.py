"""What all rivals share that deploy the plain student: the net, and one pass over both patches.

Labelled and unlabelled patches go through the student together, as in our own distillation, so
that batch normalisation sees both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from vpbsd.compare.loop.objective import Objective
from vpbsd.models import Student

__all__ = ["Seen", "StudentObjective"]


@dataclass(frozen=True, slots=True)
class Seen:
    """What the student makes of a batch.

    Attributes
    ----------
    labelled
        (B, 1, D, H, W) logits of the labelled patches.
    unlabelled
        (U, 1, D, H, W) logits of the unlabelled patches.
    features
        Decoder features of the unlabelled patches, finest level first, as of
        :meth:`vpbsd.models.Student.features`.
    """

    labelled: Tensor
    unlabelled: Tensor
    features: list[Tensor]


class StudentObjective(Objective):
    """Base of the rivals that differ from ours in how the student is trained, and in nothing else.

    Parameters
    ----------
    student
        The net that is trained and deployed.
    """

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    @property
    def deployed(self) -> Student:
        """The student itself; what helped to train it stays behind."""
        return self.student

    def look(self, batch: Mapping[str, Tensor]) -> Seen:
        """Pass labelled and unlabelled patches through the student at once."""
        count = len(batch["image"])
        images = torch.cat([batch["image"], batch["unlabelled"]])
        features = self.student.features(images)
        logits = self.student.head(images, features)
        return Seen(logits[:count], logits[count:], [level[count:] for level in features])
