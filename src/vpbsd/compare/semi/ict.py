r"""ICT: the prediction of a mixture is the mixture of the predictions (Verma et al. 2019).

.. math::

    L = L_{seg} + \lambda(r) \frac{1}{N} \sum_v \left( \sigma(f_\theta(m_\mu(u_j, u_k)))
        - m_\mu(\sigma(f_{\theta'}(u_j)), \sigma(f_{\theta'}(u_k))) \right)^2, \qquad
    m_\mu(a, b) = \mu a + (1 - \mu) b, \qquad \mu \sim \mathrm{Beta}(\alpha, \alpha)

with :math:`\theta'` the moving average of the student's weights :math:`\theta`. A batch may hold a
single unlabelled patch: partners are the next unlabelled patch, and for the last one the first
labelled patch, whose label is not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.distributions import Beta

from vpbsd.compare.loop.rival import Rival
from vpbsd.compare.loop.student import StudentObjective
from vpbsd.compare.semi.consistency import CONSISTENCY_WEIGHT, make_student, ramp_up
from vpbsd.compare.semi.mean_teacher import consistency_loss
from vpbsd.config import RunConfig
from vpbsd.losses.segmentation import segmentation_loss
from vpbsd.models import Student
from vpbsd.models.ema import EmaTeacher
from vpbsd.stages.distill import Guidance

__all__ = ["ICT", "InterpolationConsistency", "mixed", "partners"]

ALPHA = 0.2
"""As in SSL4MIS."""


def mixed(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """Return share * first + (1 - share) * second; shares are (U,), one a patch."""
    mu = share.view(-1, *[1] * (first.ndim - 1))
    return mu * first + (1 - mu) * second


def partners(unlabelled: Tensor, labelled: Tensor) -> Tensor:
    """Return (U, C, D, H, W): what each unlabelled patch is mixed with."""
    return torch.cat([unlabelled[1:], labelled[:1]])


class InterpolationConsistency(StudentObjective):
    """The student on mixtures, against the mixtures of its moving average's predictions.

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
        self.teacher = EmaTeacher(student)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return ``loss``, ``seg`` and ``semi``."""
        self.teacher.follow(self.student)
        first = batch["unlabelled"]
        second = partners(first, batch["image"])
        # From torch's global generator, which a resumed run restores.
        share = Beta(ALPHA, ALPHA).sample((len(first),)).to(first.device)
        target = mixed(self.teacher(first), self.teacher(second), share)
        seen = self.look({**batch, "unlabelled": mixed(first, second, share)})
        seg = segmentation_loss(seen.labelled, batch["label"])
        semi = consistency_loss(seen.unlabelled, target)
        return {
            "loss": seg + self.weight * ramp_up(batch["ramp"]) * semi,
            "seg": seg,
            "semi": semi,
        }


def _build(config: RunConfig, guidance: Guidance | None) -> InterpolationConsistency:
    weight = CONSISTENCY_WEIGHT * config.distill.semi_weight
    return InterpolationConsistency(make_student(config), weight)


ICT = Rival(
    "ict",
    "the prediction of a mixture is the mixture of predictions (Verma et al. 2019)",
    _build,
)
