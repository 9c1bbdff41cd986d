"""What a rival method hands to the training loop: the losses of a batch, and the net it deploys.

A method is one module. It gets batches of tensors by name:

==================  =====================  =====================================================
name                shape                  what it is
==================  =====================  =====================================================
``image``           (B, C, D, H, W)        labelled patches, augmented
``label``           (B, 1, D, H, W)        their labels, 0 or 1
``unlabelled``      (U, C, D, H, W)        unlabelled patches, intensities augmented
``plain``           (U, C, D, H, W)        the same voxels without that augmentation
``probability``     (U, 1, D, H, W)        a teacher's probability on ``unlabelled``, 0 to 1
``codes``           (U, d, h, w)           its codes
``encodings``       (U, dimension, d, h, w)  its encodings before the codebook
``ramp``            scalar                 rises from 0 to 1 while training warms up
``progress``        scalar                 share of the steps that are done, 0 to 1
==================  =====================  =====================================================

Which of them there are is what the method ``needs``: ``label`` stops after the second line,
``unlabelled`` has no teacher's, ``teacher`` has all but ``plain``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Literal

from torch import Tensor, nn

__all__ = ["Needs", "Objective"]

Needs = Literal["label", "unlabelled", "teacher"]


class Objective(nn.Module, ABC):
    """Base of all rival methods; one idea a file, its formula above its code."""

    needs: ClassVar[Needs] = "label"
    """What its batches hold."""

    @property
    @abstractmethod
    def deployed(self) -> nn.Module:
        """The net that segments after training: maps (B, C, D, H, W) to (B, 1, D, H, W) logits."""

    @abstractmethod
    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return ``loss``, the scalar to descend, and its parts by name for the log.

        Called once a step, in training mode; a moving average of weights is taken forward here,
        before anything is computed from it.
        """
