r"""BCP: copy and paste between labelled and unlabelled patches, both ways (Bai et al. 2023).

With M a mask that is 0 in a random cuboid of 2/3 of each edge and 1 around it:

.. math::

    x^{in} = x_l \odot M + x_u \odot (1 - M), \qquad x^{out} = x_u \odot M + x_{l'} \odot (1 - M)

.. math::

    L = \tfrac12 \left( L_{seg}(s^{in}, y_l; M) + L_{seg}(s^{out}, y_{l'}; 1 - M) \right)
      + \alpha \tfrac12 \left( L_{seg}(s^{in}, \hat y_u; 1 - M) + L_{seg}(s^{out}, \hat y_u; M)
      \right)

with s the student's logits and :math:`\hat y_u` what its moving average decides on :math:`x_u`. The
first steps mix labelled patches with each other and know no teacher; the teacher starts as a copy
of the student when they end. Pseudo-labels are not cut down to their largest connected component
as in the original: a patch holds many vessels. The teacher decides on the patch without augmented
intensities.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from vpbsd.compare.loop.rival import Rival
from vpbsd.compare.loop.student import StudentObjective
from vpbsd.compare.semi.consistency import make_student
from vpbsd.config import RunConfig
from vpbsd.losses.segmentation import segmentation_loss
from vpbsd.models import Student
from vpbsd.models.ema import EmaTeacher
from vpbsd.stages.distill import Guidance

__all__ = ["BCP", "BidirectionalCopyPaste", "around_a_cuboid", "pasted"]

UNLABELLED_WEIGHT = 0.5
"""Alpha; ``distill.semi_weight`` multiplies it."""
CUBOID_SHARE = 2 / 3
"""Edge of the cuboid in edges of the patch."""
LABELLED_ONLY_SHARE = 2 / 17
"""Share of the steps that mix labelled patches alone: 2,000 of 17,000 in the original."""


def around_a_cuboid(shape: tuple[int, int, int]) -> Tensor:
    """Return M (z, y, x): 0 in a random cuboid, 1 around it.

    The position comes from torch's global generator, which a resumed run restores.
    """
    mask = torch.ones(shape)
    edges = [int(n * CUBOID_SHARE) for n in shape]
    starts = [int(torch.randint(n - e + 1, ())) for n, e in zip(shape, edges, strict=True)]
    mask[tuple(slice(a, a + e) for a, e in zip(starts, edges, strict=True))] = 0
    return mask


def pasted(around: Tensor, inside: Tensor, mask: Tensor) -> Tensor:
    """Return the first patches with the second pasted in where the mask is 0."""
    return around * mask + inside * (1 - mask)


class BidirectionalCopyPaste(StudentObjective):
    """The student on patches that are labelled in part, and its moving average.

    Parameters
    ----------
    student
        Trained and deployed.
    weight
        Alpha.
    """

    needs = "unlabelled"

    def __init__(self, student: Student, weight: float = UNLABELLED_WEIGHT) -> None:
        super().__init__(student)
        self.weight = weight
        self.teacher = EmaTeacher(student)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return ``loss``, ``seg`` on what is labelled and ``semi`` on what is not."""
        z, y, x = batch["image"].shape[2:]
        mask = around_a_cuboid((z, y, x)).to(batch["image"].device)
        if float(batch["progress"]) < LABELLED_ONLY_SHARE:
            return self._labelled_only(batch, mask)
        self.teacher.follow(self.student)
        return self._both_ways(batch, mask)

    def _labelled_only(self, batch: Mapping[str, Tensor], mask: Tensor) -> dict[str, Tensor]:
        image, label = (pasted(batch[k], batch[k].roll(1, 0), mask) for k in ("image", "label"))
        seg = segmentation_loss(self.student(image), label)
        return {"loss": seg, "seg": seg, "semi": torch.zeros_like(seg)}

    def _both_ways(self, batch: Mapping[str, Tensor], mask: Tensor) -> dict[str, Tensor]:
        # Every patch takes part: pairs of labelled patches, each with the next unlabelled one.
        labelled, unlabelled = len(batch["image"]), len(batch["unlabelled"])
        pairs = torch.arange(max(unlabelled, -(-labelled // 2)))
        one, other, free = 2 * pairs % labelled, (2 * pairs + 1) % labelled, pairs % unlabelled
        decided = (self.teacher(batch["plain"]) > 0.5).float()[free]
        loose = batch["unlabelled"][free]
        logits_in, logits_out = self.student(
            torch.cat(
                [
                    pasted(batch["image"][one], loose, mask),
                    pasted(loose, batch["image"][other], mask),
                ]
            )
        ).chunk(2)
        m = mask.expand_as(decided)
        seg = segmentation_loss(logits_in, batch["label"][one], m)
        seg = 0.5 * (seg + segmentation_loss(logits_out, batch["label"][other], 1 - m))
        semi = segmentation_loss(logits_in, decided, 1 - m)
        semi = 0.5 * (semi + segmentation_loss(logits_out, decided, m))
        return {"loss": seg + self.weight * semi, "seg": seg, "semi": semi}


def _build(config: RunConfig, guidance: Guidance | None) -> BidirectionalCopyPaste:
    weight = UNLABELLED_WEIGHT * config.distill.semi_weight
    return BidirectionalCopyPaste(make_student(config), weight)


BCP = Rival(
    "bcp",
    "copy and paste between labelled and unlabelled patches (Bai et al. 2023)",
    _build,
)
