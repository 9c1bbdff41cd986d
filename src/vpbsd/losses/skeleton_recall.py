r"""Skeleton recall: how much of a tube around the true centreline is found.

.. math:: L_{skel} = 1 - \frac{\sum p\,t + s}{\sum t + s}

with p the predicted probability, t the tube (1 on the dilated centreline of the label, inside the
label, else 0) and s a smoothing that makes a patch without vessels cost nothing. The centreline is
that of the label and needs no gradient, so that no soft thinning of the prediction is computed.
Kirchhoff et al., *Skeleton Recall Loss*, ECCV 2024. It sees what is missed and nothing else:
use it beside a loss of overlap.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["skeleton_recall_loss"]

_SMOOTH_VOXELS = 1.0


def skeleton_recall_loss(logits: Tensor, tube: Tensor) -> Tensor:
    """Return L_skel, a scalar: the mean over the volumes of a batch.

    Parameters
    ----------
    logits
        (B, 1, D, H, W).
    tube
        (B, 1, D, H, W), 0 or 1: a dilated centreline of the label.
    """
    p, t = torch.sigmoid(logits.float()), tube.float()
    voxels = (1, 2, 3, 4)
    recall = ((p * t).sum(voxels) + _SMOOTH_VOXELS) / (t.sum(voxels) + _SMOOTH_VOXELS)
    return (1 - recall).mean()
