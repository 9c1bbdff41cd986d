r"""The moving average of a net as its teacher, cut where validation found that it decides best.

.. math:: q = \sigma(\mathrm{logit}(p) - \mathrm{logit}(t))

with p the probability of the averaged net and t the threshold of the last validation, 1/2 before
the first. Labels of one microscope make a net see too much in another, or too little; where it
then teaches itself by p > 1/2, it gets more and more so. With t it is led back: once it sees too
little, the next validation finds a lower threshold.
"""

from __future__ import annotations

from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from vpbsd.losses.pseudo_label import calibrated
from vpbsd.models.ema import EmaTeacher

__all__ = ["SelfTeacher"]

Net = TypeVar("Net", bound=nn.Module)

# A net whose best threshold lies beyond is trusted no further: the shift would be over 3.9 in
# logits, and few voxels are left that say what it can tell apart.
_LOWEST, _HIGHEST = 0.02, 0.98


class SelfTeacher(EmaTeacher[Net]):
    """Moving average of a net in training whose probabilities are shifted to its threshold.

    Parameters
    ----------
    student
        Where the average starts.
    recalibrate
        Whether :meth:`heed` does anything.
    """

    def __init__(self, student: Net, *, recalibrate: bool = True) -> None:
        super().__init__(student)
        self._recalibrate = recalibrate
        # Part of the training state: a resumed run goes on with it, and ranks share it.
        self.register_buffer("threshold", torch.tensor(0.5))

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Return probabilities (B, 1, D, H, W), above 1/2 where the threshold is passed."""
        return calibrated(super().forward(images), float(cast(Tensor, self.threshold)))

    def heed(self, threshold: float) -> None:
        """Cut at a threshold that validation has chosen, from now on."""
        if self._recalibrate:
            cast(Tensor, self.threshold).fill_(min(max(threshold, _LOWEST), _HIGHEST))
