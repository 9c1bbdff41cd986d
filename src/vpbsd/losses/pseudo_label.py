r"""L_semi: L_seg against the teacher's pseudo ground truth, weighted by its confidence.

.. math::

    \hat y = [q > \tfrac12], \qquad w = |2 q - 1|, \qquad
    q = \sigma(\mathrm{logit}(p_T) - \mathrm{logit}(t_T))

with p_T the teacher's probability and t_T the threshold chosen for the teacher on validation
volumes, so that q = 1/2 lies where the teacher decides.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vpbsd.losses.segmentation import segmentation_loss

__all__ = ["calibrated", "pseudo_label_loss"]


def calibrated(probability: Tensor, threshold: float) -> Tensor:
    """Shift probabilities in logit space so that ``threshold`` becomes 1/2."""
    shift = math.log(threshold / (1 - threshold))
    return torch.sigmoid(torch.logit(probability.float(), eps=1e-3) - shift)


def pseudo_label_loss(logits: Tensor, teacher: Tensor, threshold: float) -> Tensor:
    """Return L_semi, a scalar.

    Parameters
    ----------
    logits
        (B, 1, D, H, W) of the student.
    teacher
        (B, 1, D, H, W) teacher's probability, 0 to 1.
    threshold
        The teacher's decision threshold, between 0 and 1.
    """
    q = calibrated(teacher.detach(), threshold)
    return segmentation_loss(logits, (q > 0.5).float(), (2 * q - 1).abs())
