r"""CWD: each channel is looked at as a distribution over positions (Shu et al. 2021).

.. math::

    L_{cwd}(h, z) = \frac{T^2}{C} \sum_c \sum_v \phi(z_c)_v \log \frac{\phi(z_c)_v}{\phi(h_c)_v},
    \qquad \phi(f)_v = \frac{\exp(f_v / T)}{\sum_u \exp(f_u / T)}

    L_{dis} = \lambda_{map} L_{cwd}(s, \mathrm{logit}(p_T)) + \lambda_{code} L_{cwd}(r(h), z)

The original distils the map of class scores or a feature map; both of the teacher's are kept, so
both are learnt from: s are the student's logits (one channel), r(h) its projected features and z
the teacher's encodings.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.nn.functional import log_softmax

from vpbsd.compare.distillation.guided import (
    ProjectedObjective,
    make_student,
    teacher_logits,
    teacher_of,
)
from vpbsd.compare.loop.rival import Rival
from vpbsd.compare.loop.student import Seen
from vpbsd.config import RunConfig
from vpbsd.stages.distill import Guidance

__all__ = ["CWD", "ChannelWiseDistillation", "channel_wise_loss"]

TEMPERATURE = 4.0
"""Of the original."""
MAP_WEIGHT = 3.0
"""Of the original, for the map of scores; ``distill.distill_weight`` multiplies both."""
CODE_WEIGHT = 1.0
"""Encodings have unit variance in each dimension, so that this part starts near 1, about the size
of L_seg; the 50 that is usual with this method is for features without such a scale."""


def channel_wise_loss(features: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return L_cwd, a scalar, of (U, C, d, h, w) features of student and teacher."""
    h = log_softmax(features.float().flatten(2) / temperature, dim=-1)
    z = log_softmax(teacher.float().flatten(2) / temperature, dim=-1)
    return temperature**2 * (z.exp() * (z - h)).sum(-1).mean()


class ChannelWiseDistillation(ProjectedObjective):
    """The student's channels have their peaks where the teacher's have theirs."""

    def distillation(self, seen: Seen, batch: Mapping[str, Tensor]) -> Tensor:
        """Return L_dis, a scalar."""
        scores = teacher_logits(batch["probability"])
        of_map = channel_wise_loss(seen.unlabelled, scores, TEMPERATURE)
        of_codes = channel_wise_loss(self.projected(seen, batch), batch["encodings"], TEMPERATURE)
        return MAP_WEIGHT * of_map + CODE_WEIGHT * of_codes


def _build(config: RunConfig, guidance: Guidance | None) -> ChannelWiseDistillation:
    teacher = teacher_of(guidance, CWD.name)
    return ChannelWiseDistillation(make_student(config), teacher, config.distill.distill_weight)


CWD = Rival("cwd", "each channel as a distribution over positions (Shu et al. 2021)", _build)
