"""All scores of a prediction at once, and the choice of a threshold on probabilities."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vpbsd.errors import ConfigError, DataError
from vpbsd.geometry import VoxelSize
from vpbsd.metrics.centreline import cldice
from vpbsd.metrics.masks import Mask, mask_pair
from vpbsd.metrics.overlap import overlap
from vpbsd.metrics.surface import surface_distances
from vpbsd.metrics.thresholds import (
    Criterion,
    ThresholdCurve,
    ThresholdScore,
    best_index,
    criterion_value,
)

__all__ = [
    "Scores",
    "best_threshold",
    "probability_mask",
    "score",
    "sweep_threshold",
    "validation_score",
]


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of one prediction; shares from 0 to 1, distances in µm."""

    dice: float
    precision: float
    recall: float
    cldice: float
    topology_precision: float
    topology_sensitivity: float
    surface_dice_1_voxel: float
    surface_dice_2_voxels: float
    hd95_um: float | None
    """95th percentile of the surface distances; None when it is infinite."""

    assd_um: float | None
    """Average symmetric surface distance; None when it is infinite."""

    foreground_prediction: float
    """Share of the volume that the prediction marks."""

    foreground_truth: float
    """Share of the volume that the truth marks."""

    note: str | None = None
    """Which mask is empty, if one is, and how the scores are then defined."""

    def to_dict(self) -> dict[str, float | str | None]:
        """Return the scores by name, fit for JSON."""
        return dataclasses.asdict(self)


class _HasDiceAndCldice(Protocol):
    @property
    def dice(self) -> float: ...
    @property
    def cldice(self) -> float: ...


def score(prediction: NDArray[Any], truth: NDArray[Any], voxel_size_um: VoxelSize) -> Scores:
    """Score a predicted mask against the true one.

    Parameters
    ----------
    prediction, truth
        Masks (z, y, x) of one shape.
    voxel_size_um
        Used for ``hd95_um`` and ``assd_um`` only; surface Dice is in voxels.

    Raises
    ------
    DataError
        If the arrays are not masks of one shape.
    """
    predicted, true = mask_pair(prediction, truth)
    voxels = overlap(predicted, true)
    lines = cldice(predicted, true)
    in_voxels = surface_distances(predicted, true, VoxelSize(1, 1, 1))
    in_um = surface_distances(predicted, true, voxel_size_um)
    size = max(1, true.size)
    return Scores(
        dice=voxels.dice,
        precision=voxels.precision,
        recall=voxels.recall,
        cldice=lines.cldice,
        topology_precision=lines.topology_precision,
        topology_sensitivity=lines.topology_sensitivity,
        surface_dice_1_voxel=in_voxels.dice(1),
        surface_dice_2_voxels=in_voxels.dice(2),
        hd95_um=in_um.hausdorff(95),
        assd_um=in_um.mean(),
        foreground_prediction=int(np.count_nonzero(predicted)) / size,
        foreground_truth=int(np.count_nonzero(true)) / size,
        note=_note_on_empty(predicted, true),
    )


def validation_score(scores: Iterable[_HasDiceAndCldice]) -> float:
    """Return the mean over volumes of ``2 dice cldice / (dice + cldice)``; picks checkpoints.

    Parameters
    ----------
    scores
        One `Scores` or `ThresholdScore` for each validation volume.

    Raises
    ------
    ConfigError
        If there is no volume.
    """
    values = [criterion_value(s.dice, s.cldice, "harmonic") for s in scores]
    if not values:
        raise ConfigError("a validation score needs at least one validation volume, got none")
    return math.fsum(values) / len(values)


def probability_mask(probability: NDArray[Any], threshold: float) -> Mask:
    """Return the mask ``probability >= threshold``.

    Parameters
    ----------
    probability
        Floating point from 0 to 1, or uint8 where 255 stands for 1; any shape.
    threshold
        A probability from 0 to 1, also for uint8.

    Raises
    ------
    DataError
        If the values cannot be probabilities.
    ConfigError
        If the threshold is outside 0 to 1.
    """
    (level,) = _levels(probability, [threshold])
    return np.asarray(probability >= np.asarray(level, dtype=_comparable(probability)))


def sweep_threshold(
    probability: NDArray[Any], truth: NDArray[Any], thresholds: Sequence[float]
) -> list[ThresholdScore]:
    """Return Dice and clDice of ``probability >= threshold`` for each threshold.

    Parameters
    ----------
    probability
        (z, y, x), floating point from 0 to 1, or uint8 where 255 stands for 1.
    truth
        Mask (z, y, x).
    thresholds
        Probabilities from 0 to 1, also for uint8.

    Raises
    ------
    DataError
        If the values cannot be probabilities, or the shapes differ.
    ConfigError
        If a threshold is outside 0 to 1, or there is none.
    """
    curve = ThresholdCurve(probability, truth, _levels(probability, thresholds))
    return [
        ThresholdScore(float(threshold), curve.dice(index), curve.cldice(index))
        for index, threshold in enumerate(thresholds)
    ]


def best_threshold(
    pairs: Iterable[tuple[NDArray[Any], NDArray[Any]]],
    thresholds: Sequence[float],
    *,
    by: Criterion = "harmonic",
) -> float:
    """Return the one threshold that is best for the mean over several volumes.

    Parameters
    ----------
    pairs
        (probability, truth) of each volume, as for `sweep_threshold`. Volumes count equally,
        whatever their size.
    thresholds
        The candidates, from 0 to 1; the first of equals wins.
    by
        "harmonic" or arithmetic "mean" of Dice and clDice, "dice" or "cldice".

    Raises
    ------
    DataError
        If the values cannot be probabilities, or the shapes differ.
    ConfigError
        If a threshold is outside 0 to 1, or there is no threshold or no volume.
    """
    curves = [ThresholdCurve(p, truth, _levels(p, thresholds)) for p, truth in pairs]
    return float(thresholds[best_index(curves, by)])


def _levels(probability: NDArray[Any], thresholds: Sequence[float]) -> list[float]:
    """Return the thresholds in the units of the stored values."""
    outside = [t for t in thresholds if not 0 <= t <= 1]
    if outside:
        raise ConfigError(f"thresholds are probabilities from 0 to 1, got {outside}")
    if probability.dtype == np.uint8:
        return [float(t * 255) for t in thresholds]
    if not np.issubdtype(probability.dtype, np.floating):
        raise DataError(
            f"probabilities must be floating point (0 to 1) or uint8 (0 to 255), "
            f"got {probability.dtype}"
        )
    if probability.size and not (probability.min() >= 0 and probability.max() <= 1):
        raise DataError(
            f"probabilities must lie from 0 to 1, got {probability.min():g} to "
            f"{probability.max():g}: these may be logits, which need a sigmoid"
        )
    return [float(t) for t in thresholds]


def _comparable(probability: NDArray[Any]) -> np.dtype[Any]:
    floating = np.issubdtype(probability.dtype, np.floating)
    return probability.dtype if floating else np.dtype(np.float64)


def _note_on_empty(predicted: Mask, true: Mask) -> str | None:
    empty = [name for name, mask in (("prediction", predicted), ("truth", true)) if not mask.any()]
    if len(empty) == 2:
        return "prediction and truth are both empty: they agree, so scores are 1, distances 0"
    if empty:
        return f"the {empty[0]} is empty: scores are 0 and distances infinite, given as null"
    return None
