r"""What semi-supervised methods share: the weight of their consistency term, and hard labels.

The weight rises with the share r of a warm-up that is done (Laine & Aila 2017, as in SSL4MIS):

.. math:: \lambda(r) = \lambda \exp(-5 (1 - r)^2)

SSL4MIS lets it rise over the whole training, here it rises over ``distill.semi_warmup_share`` of
the steps, as the weight of our own pseudo-labels does.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vpbsd.config import RunConfig
from vpbsd.errors import ConfigError
from vpbsd.models import Student

__all__ = ["CONSISTENCY_WEIGHT", "make_student", "pseudo_label", "ramp_up"]

CONSISTENCY_WEIGHT = 0.2
"""Lambda beside L_seg = Dice + cross-entropy: the 0.1 of UA-MT and SSL4MIS stands beside half of
that sum. ``distill.semi_weight`` multiplies it."""

_STEEPNESS = 5.0


def ramp_up(share: Tensor) -> Tensor:
    """Return exp(-5 (1 - share)^2) of a scalar that rises from 0 to 1."""
    return torch.exp(-_STEEPNESS * (1 - share).square())


def pseudo_label(logits: Tensor) -> Tensor:
    """Return the class that a net decides for, 0 or 1, without gradient."""
    return (logits.detach() > 0).float()


def make_student(config: RunConfig) -> Student:
    """Return the student of a semi-supervised rival, with random weights.

    Raises
    ------
    ConfigError
        If batches would hold no unlabelled patch.
    """
    if config.distill.unlabelled_batch_size == 0:
        raise ConfigError(
            "distill.unlabelled_batch_size is 0, but a semi-supervised method learns from "
            "unlabelled patches: set it to 1 or more, or train the supervised-only student"
        )
    return Student(config.student)
