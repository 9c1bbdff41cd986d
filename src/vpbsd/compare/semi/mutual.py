r"""Two nets that label for each other; what CPS and cross teaching have in common.

.. math::

    L = L_{seg}(s_l, y) + L_{seg}(t_l, y)
        + \lambda(r) \left( D(s_u, [t_u > 0]) + D(t_u, [s_u > 0]) \right)

with s and t the logits of the student and of its partner on labelled (l) and unlabelled (u)
patches, and no gradient through what one net decides for the other.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from vpbsd.compare.loop.student import StudentObjective
from vpbsd.compare.semi.consistency import CONSISTENCY_WEIGHT, pseudo_label, ramp_up
from vpbsd.losses.segmentation import segmentation_loss
from vpbsd.models import Student

__all__ = ["MutualTeaching"]


class MutualTeaching(StudentObjective):
    """The student and a partner that is thrown away after training.

    Parameters
    ----------
    student
        Trained and deployed.
    partner
        Maps (B, C, D, H, W) to (B, 1, D, H, W) logits.
    weight
        Lambda.
    """

    needs = "unlabelled"

    def __init__(
        self, student: Student, partner: nn.Module, weight: float = CONSISTENCY_WEIGHT
    ) -> None:
        super().__init__(student)
        self.partner, self.weight = partner, weight

    @abstractmethod
    def disagreement(self, logits: Tensor, decided: Tensor) -> Tensor:
        """Return D, a scalar, of logits and another net's decision (U, 1, D, H, W), 0 or 1."""

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return ``loss``, and ``seg`` and ``semi`` of student and partner."""
        seen = self.look(batch)
        count = len(batch["image"])
        logits = self.partner(torch.cat([batch["image"], batch["unlabelled"]]))
        labelled, unlabelled = logits[:count], logits[count:]
        parts = {
            "seg": segmentation_loss(seen.labelled, batch["label"]),
            "partner_seg": segmentation_loss(labelled, batch["label"]),
            "semi": self.disagreement(seen.unlabelled, pseudo_label(unlabelled)),
            "partner_semi": self.disagreement(unlabelled, pseudo_label(seen.unlabelled)),
        }
        semi = parts["semi"] + parts["partner_semi"]
        seg = parts["seg"] + parts["partner_seg"]
        return {"loss": seg + self.weight * ramp_up(batch["ramp"]) * semi, **parts}
