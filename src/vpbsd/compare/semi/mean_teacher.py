r"""Mean Teacher: agree with the moving average of yourself (Tarvainen & Valpola 2017).

.. math::

    L = L_{seg} + \lambda(r) \frac{1}{N} \sum_v \left(\sigma(f_\theta(\tilde x_v))
        - \sigma(f_{\theta'}(x_v))\right)^2

with :math:`\theta'` the moving average of :math:`\theta` and :math:`\tilde x` the unlabelled patch
x with augmented intensities. The original perturbs the input of both nets and takes labelled
samples in; SSL4MIS perturbs the teacher's alone. Here the teacher sees the patch as it is, so that
its target is the better one.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from vpbsd.compare.loop.rival import Rival
from vpbsd.compare.loop.student import StudentObjective
from vpbsd.compare.semi.consistency import CONSISTENCY_WEIGHT, make_student, ramp_up
from vpbsd.config import RunConfig
from vpbsd.losses.segmentation import segmentation_loss
from vpbsd.models import Student
from vpbsd.models.ema import EmaTeacher
from vpbsd.stages.distill import Guidance

__all__ = ["MEAN_TEACHER", "MeanTeacher", "consistency_loss"]


def consistency_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared difference of probabilities, a scalar.

    Parameters
    ----------
    logits
        (U, 1, D, H, W) of the student.
    target
        (U, 1, D, H, W) probabilities, 0 to 1.
    """
    return (logits.float().sigmoid() - target).square().mean()


class MeanTeacher(StudentObjective):
    """The student, its moving average, and their disagreement.

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
        seen = self.look(batch)
        seg = segmentation_loss(seen.labelled, batch["label"])
        semi = consistency_loss(seen.unlabelled, self.teacher(batch["plain"]))
        return {
            "loss": seg + self.weight * ramp_up(batch["ramp"]) * semi,
            "seg": seg,
            "semi": semi,
        }


def _build(config: RunConfig, guidance: Guidance | None) -> MeanTeacher:
    return MeanTeacher(make_student(config), CONSISTENCY_WEIGHT * config.distill.semi_weight)


MEAN_TEACHER = Rival(
    "mean_teacher",
    "agree with the moving average of yourself (Tarvainen & Valpola 2017)",
    _build,
)
