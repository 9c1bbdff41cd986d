r"""Soft clDice: the centreline of each mask inside the other, by differentiable thinning.

With P the predicted probabilities, Y the label and S(.) the soft skeleton:

.. math::

    T_{prec} = \frac{\sum S(P)\,Y + s}{\sum S(P) + s}, \qquad
    T_{sens} = \frac{\sum S(Y)\,P + s}{\sum S(Y) + s}, \qquad
    L_{clDice} = 1 - 2\,\frac{T_{prec}\,T_{sens}}{T_{prec} + T_{sens}}

The soft skeleton keeps what an opening removes, over and over while the mask is eroded:

.. math::

    S_0 = \rho(I_0 - I_0 \circ B), \qquad
    I_k = I_{k-1} \ominus B, \qquad
    S_k = S_{k-1} + \rho\big(\delta_k - S_{k-1}\,\delta_k\big), \quad
    \delta_k = \rho(I_k - I_k \circ B)

with rho = ReLU, erosion a minimum over the six face neighbours, and dilation a maximum over the
3x3x3 neighbours. Shit et al., *clDice*, CVPR 2021, algorithm 1.

A mask that fills the patch has no soft skeleton and holds every true one, hence costs nothing: use
it beside a loss of overlap.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import max_pool3d, relu

__all__ = ["soft_cldice_loss", "soft_skeleton"]

_SMOOTH_VOXELS = 1.0


def soft_cldice_loss(logits: Tensor, target: Tensor, *, iterations: int = 5) -> Tensor:
    """Return L_clDice, a scalar: the mean over the volumes of a batch.

    Parameters
    ----------
    logits
        (B, 1, D, H, W).
    target
        (B, 1, D, H, W), 0 or 1.
    iterations
        Erosions of the soft skeleton. A vessel is thinned to its centreline if its radius in
        voxels is at most this; of a thicker one, part of the inside remains.
    """
    p, y = torch.sigmoid(logits.float()), target.float()
    precision = _share_inside(soft_skeleton(p, iterations), y)
    sensitivity = _share_inside(soft_skeleton(y, iterations), p)
    return (1 - 2 * precision * sensitivity / (precision + sensitivity)).mean()


def soft_skeleton(mask: Tensor, iterations: int) -> Tensor:
    """Thin a soft mask (B, C, D, H, W) of values from 0 to 1; the same shape and range."""
    skeleton = _opening_removes(mask)
    for _ in range(iterations):
        mask = _eroded(mask)
        removed = _opening_removes(mask)
        skeleton = skeleton + relu(removed - skeleton * removed)
    return skeleton


def _share_inside(line: Tensor, region: Tensor) -> Tensor:
    voxels = (1, 2, 3, 4)
    inside = (line * region).sum(voxels)
    return (inside + _SMOOTH_VOXELS) / (line.sum(voxels) + _SMOOTH_VOXELS)


def _opening_removes(mask: Tensor) -> Tensor:
    return relu(mask - max_pool3d(_eroded(mask), 3, stride=1, padding=1))


def _eroded(mask: Tensor) -> Tensor:
    # Pooling pads with -inf: beyond the border there is nothing that could erode.
    negative = -mask
    along_z = max_pool3d(negative, (3, 1, 1), stride=1, padding=(1, 0, 0))
    along_y = max_pool3d(negative, (1, 3, 1), stride=1, padding=(0, 1, 0))
    along_x = max_pool3d(negative, (1, 1, 3), stride=1, padding=(0, 0, 1))
    return -torch.maximum(torch.maximum(along_z, along_y), along_x)
