"""Scores of a vessel mask against the truth: overlap, centreline, surface, topology, calibration.

All take masks (z, y, x) of one shape and refuse others. Foreground touches through faces, edges
and corners (26 neighbours), background through faces (6). Empty masks are defined once, here, for
every score:

==================  ======================  ============================================
masks               scores (1 is perfect)   distances (0 is perfect)
==================  ======================  ============================================
both empty          1.0                     0.0
just one empty      0.0                     None: infinite, which JSON cannot hold (null)
==================  ======================  ============================================

So a prediction that marks vessels in a volume without any scores 0, and one that rightly
marks none scores 1; precision and recall follow the same two lines. ``Scores.note`` says when
one of the two applied. Errors of topology are counts, which an empty mask makes no exception of;
a score of capillaries (or of larger vessels) is None where a mask holds vessels, but none of them.

::

    overlap        Dice, precision, recall, IoU: counts that add up over blocks
    centreline     clDice and its two halves
    tolerance      centreline precision and recall with a tolerance, in µm or voxels
    calibre        centreline precision and recall of capillaries and of larger vessels
    surface        surface Dice at a tolerance, HD95, mean distance
    topology       Betti numbers, Euler characteristic and their errors, also per sub-block
    calibration    calibration error, Brier score and reliability curve of probabilities
    thresholds     Dice and clDice along a threshold
    probabilities  the mask at a threshold; the best threshold for several volumes
    scores         the lot at once
    blocks         Dice and clDice of any choice of sub-blocks, for statistics
    by_block       the lot for volumes larger than memory, block by block
    evaluate       the lot for files
"""

from __future__ import annotations

from vpbsd.metrics.blocks import BlockCounts, block_counts
from vpbsd.metrics.calibration import Calibration, ReliabilityBin, calibration
from vpbsd.metrics.calibre import CalibreScores, calibre_scores
from vpbsd.metrics.centreline import CentrelineDice, centreline, cldice
from vpbsd.metrics.euler import euler_characteristic
from vpbsd.metrics.matches import Matches
from vpbsd.metrics.overlap import Overlap, overlap
from vpbsd.metrics.probabilities import (
    best_threshold,
    probability_mask,
    sweep_threshold,
    validation_score,
)
from vpbsd.metrics.scores import Scores, score
from vpbsd.metrics.surface import (
    SurfaceDistances,
    surface_dice,
    surface_dice_voxels,
    surface_distances,
)
from vpbsd.metrics.thresholds import Criterion, ThresholdCurve, ThresholdScore, best_index
from vpbsd.metrics.tolerance import (
    CentrelineDistances,
    centreline_distances,
    centreline_match,
    centreline_match_voxels,
)
from vpbsd.metrics.topology import (
    BettiErrors,
    BettiNumbers,
    BlockBettiErrors,
    betti_errors,
    betti_errors_per_block,
    betti_numbers,
)

__all__ = [
    "BettiErrors",
    "BettiNumbers",
    "BlockBettiErrors",
    "BlockCounts",
    "Calibration",
    "CalibreScores",
    "CentrelineDice",
    "CentrelineDistances",
    "Criterion",
    "Matches",
    "Overlap",
    "ReliabilityBin",
    "Scores",
    "SurfaceDistances",
    "ThresholdCurve",
    "ThresholdScore",
    "best_index",
    "best_threshold",
    "betti_errors",
    "betti_errors_per_block",
    "betti_numbers",
    "block_counts",
    "calibration",
    "calibre_scores",
    "centreline",
    "centreline_distances",
    "centreline_match",
    "centreline_match_voxels",
    "cldice",
    "euler_characteristic",
    "overlap",
    "probability_mask",
    "score",
    "surface_dice",
    "surface_dice_voxels",
    "surface_distances",
    "sweep_threshold",
    "validation_score",
]
