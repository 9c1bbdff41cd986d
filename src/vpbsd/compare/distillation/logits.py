r"""Soft targets: the teacher's probabilities, softened by a temperature (Hinton et al. 2015).

Two classes with logits (0, z) have :math:`\mathrm{softmax}(0, z)_1 = \sigma(z)`, so that a
temperature acts on the one logit we have:

.. math::

    L_{dis} = T^2 \frac{1}{N} \sum_v q_v \log \frac{q_v}{p_v}
              + (1 - q_v) \log \frac{1 - q_v}{1 - p_v}, \qquad
    p = \sigma(z_S / T), \qquad q = \sigma(z_T / T), \qquad z_T = \mathrm{logit}(p_T)

T squared keeps the size of the gradient whatever the temperature. The teacher's probability is kept
in 8 bits, so its logit ends half a step from 0 and 1, at 6.2.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.nn.functional import logsigmoid

from vpbsd.compare.distillation.guided import (
    GuidedObjective,
    make_student,
    teacher_logits,
    teacher_of,
)
from vpbsd.compare.loop.rival import Rival
from vpbsd.compare.loop.student import Seen
from vpbsd.config import RunConfig
from vpbsd.stages.distill import Guidance

__all__ = ["LOGITS", "LogitDistillation", "logit_distillation_loss"]

TEMPERATURE = 4.0
"""As in RepDistiller (Tian et al. 2020)."""
WEIGHT = 9.0
"""0.9 of the soft beside 0.1 of the hard targets in RepDistiller; ``distill.distill_weight``
multiplies it."""


def logit_distillation_loss(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return L_dis, a scalar.

    Parameters
    ----------
    logits
        (U, 1, D, H, W) of the student.
    teacher
        (U, 1, D, H, W) probability, 0 to 1.
    temperature
        T.
    """
    z = teacher_logits(teacher) / temperature
    s = logits.float() / temperature
    q = z.sigmoid()
    divergence = q * (logsigmoid(z) - logsigmoid(s))
    divergence = divergence + (1 - q) * (logsigmoid(-z) - logsigmoid(-s))
    return temperature**2 * divergence.mean()


class LogitDistillation(GuidedObjective):
    """The student learns the teacher's softened probabilities."""

    def distillation(self, seen: Seen, batch: Mapping[str, Tensor]) -> Tensor:
        """Return L_dis, a scalar."""
        return logit_distillation_loss(seen.unlabelled, batch["probability"], TEMPERATURE)


def _build(config: RunConfig, guidance: Guidance | None) -> LogitDistillation:
    teacher_of(guidance, LOGITS.name, encodings=False)
    return LogitDistillation(make_student(config), WEIGHT * config.distill.distill_weight)


LOGITS = Rival("logits", "the teacher's softened probabilities (Hinton et al. 2015)", _build)
