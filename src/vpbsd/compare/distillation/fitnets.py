r"""FitNets: regress the teacher's features from the student's (Romero et al. 2015).

.. math:: L_{dis} = \frac{1}{N C} \sum_{v, c} \left( r(h)_{vc} - z_{vc} \right)^2

with z the teacher's encodings before the codebook, C their dimension, h the student's features and
r a learnt regressor: the two 1x1x1 convolutions of our own projection. The original trains on hints
first and on soft targets after; here hints and labels are learnt together, as in later comparisons.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.nn.functional import mse_loss

from vpbsd.compare.distillation.guided import ProjectedObjective, make_student, teacher_of
from vpbsd.compare.loop.rival import Rival
from vpbsd.compare.loop.student import Seen
from vpbsd.config import RunConfig
from vpbsd.stages.distill import Guidance

__all__ = ["FITNETS", "FitNets", "hint_loss"]

WEIGHT = 1.0
"""Encodings have unit variance in each dimension, so that L_dis starts near 1, about the size of
L_seg; RepDistiller's 100 is for features without such a scale. ``distill.distill_weight``
multiplies it."""


def hint_loss(features: Tensor, encodings: Tensor) -> Tensor:
    """Return the mean squared difference of (U, C, d, h, w), a scalar."""
    return mse_loss(features.float(), encodings.float())


class FitNets(ProjectedObjective):
    """The student's projected features imitate the teacher's encodings."""

    def distillation(self, seen: Seen, batch: Mapping[str, Tensor]) -> Tensor:
        """Return L_dis, a scalar."""
        return hint_loss(self.projected(seen, batch), batch["encodings"])


def _build(config: RunConfig, guidance: Guidance | None) -> FitNets:
    teacher = teacher_of(guidance, FITNETS.name)
    return FitNets(make_student(config), teacher, WEIGHT * config.distill.distill_weight)


FITNETS = Rival("fitnets", "the teacher's features, regressed (Romero et al. 2015)", _build)
