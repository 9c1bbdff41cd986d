r"""CPS: two students, each trained on what the other decides (Chen et al. 2021).

The D of :mod:`vpbsd.compare.semi.mutual` is the cross-entropy with the other's hard labels:

.. math:: D(z, y) = -\frac{1}{N} \sum_v y_v \log \sigma(z_v) + (1 - y_v) \log(1 - \sigma(z_v))

Both students have the same shape and differ in their random weights; the first is deployed. As in
SSL4MIS they label unlabelled patches for each other, where the original takes labelled ones in, and
without the original's CutMix.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from vpbsd.compare.loop.rival import Rival
from vpbsd.compare.semi.consistency import CONSISTENCY_WEIGHT, make_student
from vpbsd.compare.semi.mutual import MutualTeaching
from vpbsd.config import RunConfig
from vpbsd.stages.distill import Guidance

__all__ = ["CPS", "CrossPseudoSupervision"]


class CrossPseudoSupervision(MutualTeaching):
    """Two students that label for each other by cross-entropy."""

    def disagreement(self, logits: Tensor, decided: Tensor) -> Tensor:
        """Return the cross-entropy, a scalar."""
        return binary_cross_entropy_with_logits(logits.float(), decided)


def _build(config: RunConfig, guidance: Guidance | None) -> CrossPseudoSupervision:
    weight = CONSISTENCY_WEIGHT * config.distill.semi_weight
    return CrossPseudoSupervision(make_student(config), make_student(config), weight)


CPS = Rival("cps", "two students label for each other (Chen et al. 2021)", _build)
