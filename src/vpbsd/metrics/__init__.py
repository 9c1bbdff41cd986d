"""Scores of a vessel mask against the truth: overlap, centreline, surface, topology.

All take masks (z, y, x) of one shape and refuse others. Empty masks are defined once, here,
for every score:

==================  ======================  ============================================
masks               scores (1 is perfect)   distances (0 is perfect)
==================  ======================  ============================================
both empty          1.0                     0.0
just one empty      0.0                     None: infinite, which JSON cannot hold (null)
==================  ======================  ============================================

So a prediction that marks vessels in a volume without any scores 0, and one that rightly
marks none scores 1; precision and recall follow the same two lines. ``Scores.note`` says when
one of the two applied.

::

    overlap      Dice, precision, recall, IoU: counts that add up over blocks
    centreline   clDice and its two halves
    surface      surface Dice at a tolerance, HD95, mean distance
    topology     Betti numbers and their errors
    thresholds   Dice and clDice along a threshold
    scores       the lot at once; the best threshold for several volumes
"""

from __future__ import annotations

from vpbsd.metrics.centreline import CentrelineDice, centreline, cldice
from vpbsd.metrics.overlap import Overlap, overlap
from vpbsd.metrics.scores import (
    Scores,
    best_threshold,
    probability_mask,
    score,
    sweep_threshold,
    validation_score,
)
from vpbsd.metrics.surface import (
    SurfaceDistances,
    surface_dice,
    surface_dice_voxels,
    surface_distances,
)
from vpbsd.metrics.thresholds import Criterion, ThresholdCurve, ThresholdScore, best_index
from vpbsd.metrics.topology import BettiErrors, BettiNumbers, betti_errors, betti_numbers

__all__ = [
    "BettiErrors",
    "BettiNumbers",
    "CentrelineDice",
    "Criterion",
    "Overlap",
    "Scores",
    "SurfaceDistances",
    "ThresholdCurve",
    "ThresholdScore",
    "best_index",
    "best_threshold",
    "betti_errors",
    "betti_numbers",
    "centreline",
    "cldice",
    "overlap",
    "probability_mask",
    "score",
    "surface_dice",
    "surface_dice_voxels",
    "surface_distances",
    "sweep_threshold",
    "validation_score",
]
