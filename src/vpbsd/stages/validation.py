"""Scores of a net on whole validation volumes, at the one threshold that suits them best."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from vpbsd.data.collection import TrainingVolume
from vpbsd.errors import CollapseError
from vpbsd.geometry import Box, Triplet, VoxelSize
from vpbsd.metrics import best_threshold, probability_mask, score, validation_score
from vpbsd.segment import Predictor, predict_volume
from vpbsd.stages.loop import Validation

__all__ = ["THRESHOLDS", "validate_segmentation"]

logger = logging.getLogger(__name__)

THRESHOLDS = (
    0.005,
    0.01,
    0.02,
    0.05,
    0.1,
    0.15,
    0.2,
    0.25,
    0.3,
    0.4,
    0.5,
    0.6,
    0.7,
    0.8,
    0.9,
    0.95,
)
"""Probabilities that are tried as threshold on the validation volumes."""

# Scores in µm are not part of validation; a unit size stands in where a file states none.
_UNIT = VoxelSize(1.0, 1.0, 1.0)


def validate_segmentation(
    runtime: Predictor,
    volumes: Sequence[TrainingVolume],
    *,
    stage: str,
    block_voxels: Triplet | None = None,
) -> Validation:
    """Segment every volume, choose one threshold for all, and score the masks.

    The score is the mean over volumes of the harmonic mean of Dice and clDice.

    Raises
    ------
    CollapseError
        If the net finds no vessel anywhere, at any threshold, though there are some.
    """
    pairs = []
    for volume in volumes:
        probability = predict_volume(
            volume.image, runtime, scale=volume.scale, block_voxels=block_voxels
        )
        pairs.append((probability, volume.truth(Box.whole(volume.shape))))
    threshold = best_threshold(pairs, THRESHOLDS)
    scores, metrics = [], {"threshold": threshold}
    for volume, (probability, truth) in zip(volumes, pairs, strict=True):
        size = volume.image.voxel_size_um or _UNIT
        found = score(probability_mask(probability, threshold), truth, size)
        scores.append(found)
        for name in ("dice", "cldice", "precision", "recall"):
            metrics[f"{volume.name}.{name}"] = getattr(found, name)
    for name in ("dice", "cldice"):
        metrics[name] = float(np.mean([getattr(s, name) for s in scores]))
    _refuse_background(pairs, threshold, stage)
    return Validation(validation_score(scores), metrics, threshold)


def _refuse_background(
    pairs: Sequence[tuple[np.ndarray, np.ndarray]], threshold: float, stage: str
) -> None:
    if all(not (p >= threshold).any() and t.any() for p, t in pairs):
        raise CollapseError(
            f"after this much of {stage} the net calls every voxel background, even at threshold "
            f"{threshold}: train longer, lower {stage}.learning_rate, check that label voxels "
            "above 0 are vessel, or set invert for dark vessels"
        )
