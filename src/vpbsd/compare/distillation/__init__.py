"""Distillation rivals: the same teacher and student, other ways to learn from what it said.

::

    logits               its probabilities, softened
    fitnets              its features, regressed
    attention_transfer   where it is active
    rkd                  distances and angles between positions
    cwd                  each channel as a distribution over positions

Pseudo-labels with encodings but no codebook is no rival but a setting of ours:
``distill.target: features``.
"""

from __future__ import annotations

from vpbsd.compare.distillation.attention_transfer import ATTENTION_TRANSFER
from vpbsd.compare.distillation.cwd import CWD
from vpbsd.compare.distillation.fitnets import FITNETS
from vpbsd.compare.distillation.logits import LOGITS
from vpbsd.compare.distillation.rkd import RKD
from vpbsd.compare.loop.rival import Rival

__all__ = ["DISTILLATION"]

DISTILLATION: dict[str, Rival] = {
    rival.name: rival for rival in (LOGITS, FITNETS, ATTENTION_TRANSFER, RKD, CWD)
}
"""Distillation rivals by name."""
