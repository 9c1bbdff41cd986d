r"""A teacher that is the moving average of its student (Tarvainen & Valpola 2017, section 2).

.. math:: \theta'_t = \alpha_t \theta'_{t-1} + (1 - \alpha_t) \theta_t, \qquad
          \alpha_t = \min\left(1 - \frac{1}{t + 1}, \alpha\right)

for step t = 0, 1, ...: the plain mean of all weights so far until the exponential one takes over.
Running statistics of batch normalisation are averaged as weights are, and the teacher always
normalises by them (as in EMAN, Cai et al. 2021), where the original let it measure its own: one
unlabelled patch at a time is too few to measure on.
"""

from __future__ import annotations

import copy
from typing import Generic, Self, TypeVar, cast

import torch
from torch import Tensor, nn

__all__ = ["EMA_DECAY", "EmaTeacher"]

EMA_DECAY = 0.99
"""Largest alpha: UA-MT, SSL4MIS and BCP all use it."""


Net = TypeVar("Net", bound=nn.Module)


class EmaTeacher(nn.Module, Generic[Net]):
    """Moving average of a net in training, part of the training state but never of the gradient.

    Parameters
    ----------
    student
        Where the average starts; a net that maps (B, C, D, H, W) to logits (B, 1, D, H, W), or see
        :meth:`logits`.
    decay
        Largest alpha, 0 to below 1.
    """

    def __init__(self, student: Net, decay: float = EMA_DECAY) -> None:
        super().__init__()
        self.net: Net = copy.deepcopy(student).requires_grad_(False)
        self.decay = decay
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self.train(False)

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode whatever the student does."""
        return super().train(False)

    @torch.no_grad()
    def follow(self, student: nn.Module) -> None:
        """Move towards the student; the first time, become its copy."""
        updates = cast(Tensor, self.updates)
        alpha = min(1 - 1 / (int(updates) + 1), self.decay)
        theirs = student.state_dict()
        for name, mine in self.net.state_dict().items():
            if mine.is_floating_point():
                mine.lerp_(theirs[name], 1 - alpha)
            else:
                mine.copy_(theirs[name])
        updates += 1

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Return vessel probabilities (B, 1, D, H, W) of (B, C, D, H, W), without gradient."""
        return self.logits(images).float().sigmoid()

    def logits(self, images: Tensor) -> Tensor:
        """Return what the averaged net says; for nets with more to say than that, override it."""
        return cast(Tensor, self.net(images))
