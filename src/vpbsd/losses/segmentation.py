r"""L_seg: soft Dice plus binary cross-entropy.

.. math::

    L_{seg} = 1 - \frac{2 \sum w \min(p, y) + s}{\sum w p + \sum w y + s}
              + \frac{\sum w \, \mathrm{BCE}(p, y)}{\sum w}

with p the predicted probability, y the label, w a weight per voxel and s a smoothing that keeps
empty patches defined. Where y is 0 or 1 the first part is the soft Dice of Milletari et al. (V-Net,
2016), whose product p y it is there. Where y is itself a probability the product is smallest at a p
of 0 or 1, the minimum at p = y (the Dice semimetric losses of Wang et al. 2023).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

__all__ = ["segmentation_loss", "soft_dice_loss"]

_SMOOTH_VOXELS = 16.0


def segmentation_loss(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return L_seg, a scalar.

    Parameters
    ----------
    logits
        (B, 1, D, H, W).
    target
        (B, 1, D, H, W), 0 to 1.
    weight
        (B, 1, D, H, W), at least 0; each voxel counts 1 if absent.
    """
    logits, target = logits.float(), target.float()
    w = torch.ones_like(target) if weight is None else weight.float()
    bce = binary_cross_entropy_with_logits(logits, target, weight=w, reduction="sum")
    return soft_dice_loss(logits, target, w) + bce / w.sum().clamp(min=1.0)


def soft_dice_loss(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the first part of L_seg, a scalar; parameters as of :func:`segmentation_loss`."""
    logits, target = logits.float(), target.float()
    w = torch.ones_like(target) if weight is None else weight.float()
    p = torch.sigmoid(logits)
    voxels = (1, 2, 3, 4)
    overlap = 2 * (w * torch.minimum(p, target)).sum(voxels) + _SMOOTH_VOXELS
    dice = overlap / ((w * p).sum(voxels) + (w * target).sum(voxels) + _SMOOTH_VOXELS)
    return (1 - dice).mean()
