r"""A net trained on labels alone: with deep supervision, and a loss of topology beside it.

.. math:: L = (1 - \alpha) \sum_i w_i L_{seg}(\hat Y_i, Y) + \alpha L_{clDice}(\hat Y_0, Y)
          \qquad\text{or}\qquad
          L = \sum_i w_i L_{seg}(\hat Y_i, Y) + L_{skel}(\hat Y_0, Y)

with the logits of a net that gives several, finest first, brought to full resolution, and

.. math:: w_i = 2^{-i} \Big/ \sum_j 2^{-j}

as in nnU-Net (Isensee et al. 2021). L_seg is that of our student: soft Dice and cross-entropy.
alpha = 1/2 is the heaviest that the authors of clDice tried; skeleton recall weighs 1 as published.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from vpbsd.compare.loop.objective import Objective
from vpbsd.compare.loop.tubes import tubed_skeleton
from vpbsd.losses.cldice import soft_cldice_loss
from vpbsd.losses.segmentation import segmentation_loss
from vpbsd.losses.skeleton_recall import skeleton_recall_loss

__all__ = ["SupervisedObjective", "Topology"]

Topology = Literal["none", "cldice", "skeleton_recall"]

_CLDICE_SHARE = 0.5
_ONE_RESULT, _SEVERAL_RESULTS = 5, 6


class SupervisedObjective(Objective):
    """Any net on labelled patches.

    Parameters
    ----------
    net
        Maps (B, C, D, H, W) to logits (B, 1, D, H, W), or in training to (B, heads, 1, D, H, W).
    topology
        What is added to L_seg.
    augment
        Applied to the images of each batch while training.
    """

    needs = "label"

    def __init__(
        self,
        net: nn.Module,
        *,
        topology: Topology = "none",
        augment: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.net = net
        self._topology, self._augment = topology, augment

    @property
    def deployed(self) -> nn.Module:
        """The net."""
        return self.net

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return ``loss``, ``seg`` and what was added to it, by name."""
        image, label = batch["image"], batch["label"]
        if self._augment is not None and self.training:
            image = self._augment(image)
        heads = _heads(self.net(image))
        each = torch.stack([segmentation_loss(head, label) for head in heads])
        weights = 0.5 ** torch.arange(len(heads), device=each.device)
        seg = (weights * each).sum() / weights.sum()
        if self._topology == "cldice":
            line = soft_cldice_loss(heads[0], label)
            total = (1 - _CLDICE_SHARE) * seg + _CLDICE_SHARE * line
            return {"loss": total, "seg": seg, "cldice": line}
        if self._topology == "skeleton_recall":
            line = skeleton_recall_loss(heads[0], tubed_skeleton(label))
            return {"loss": seg + line, "seg": seg, "skeleton_recall": line}
        return {"loss": seg, "seg": seg}


def _heads(out: Tensor) -> tuple[Tensor, ...]:
    if out.ndim == _SEVERAL_RESULTS:
        return torch.unbind(out, dim=1)
    assert out.ndim == _ONE_RESULT, f"a net gives (B, 1, D, H, W) logits, got {tuple(out.shape)}"
    return (out,)
