r"""L_semi: L_seg against what a teacher says of unlabelled voxels.

.. math:: q_T = \sigma(\mathrm{logit}(p_T) - \mathrm{logit}(t_T))

with p_T the teacher's probability and t_T the threshold chosen for the teacher on validation
volumes, so that q_T = 1/2 lies where the teacher decides. Of a probability q, the teacher's or one
in which others have a say too, target and weight are

.. math::

    \text{soft:} \quad y = q, \; w = 1 \qquad\qquad
    \text{hard:} \quad y = [q > \tfrac12], \; w = |2 q - 1|
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from vpbsd.losses.segmentation import segmentation_loss

__all__ = ["calibrated", "pseudo_label_loss"]


def calibrated(probability: Tensor, threshold: float) -> Tensor:
    """Shift probabilities in logit space so that ``threshold`` becomes 1/2."""
    shift = math.log(threshold / (1 - threshold))
    return torch.sigmoid(torch.logit(probability.float(), eps=1e-3) - shift)


def pseudo_label_loss(
    logits: Tensor, probability: Tensor, kind: Literal["soft", "hard"] = "hard"
) -> Tensor:
    """Return L_semi, a scalar.

    Parameters
    ----------
    logits
        (B, 1, D, H, W) of the student.
    probability
        q (B, 1, D, H, W), 0 to 1, of vessel where it is above 1/2; no gradient reaches it.
    kind
        Whether the student learns the probability, or the decision as far as it is sure.
    """
    q = probability.detach()
    if kind == "soft":
        return segmentation_loss(logits, q)
    return segmentation_loss(logits, (q > 0.5).float(), (2 * q - 1).abs())
