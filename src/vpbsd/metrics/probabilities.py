"""Volumes of probabilities: the mask at a threshold, its scores along it, and the best one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vpbsd.errors import ConfigError, DataError
from vpbsd.metrics.masks import Mask
from vpbsd.metrics.thresholds import (
    Criterion,
    ThresholdCurve,
    ThresholdScore,
    best_index,
    criterion_value,
)

__all__ = [
    "best_threshold",
    "probability_mask",
    "require_probabilities",
    "sweep_threshold",
    "validation_score",
]


class _HasDiceAndCldice(Protocol):
    @property
    def dice(self) -> float: ...
    @property
    def cldice(self) -> float: ...


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
    require_probabilities(probability)
    if probability.dtype == np.uint8:
        return [float(t * 255) for t in thresholds]
    return [float(t) for t in thresholds]


def require_probabilities(probability: NDArray[Any]) -> None:
    """Refuse values that cannot be probabilities.

    Raises
    ------
    DataError
        If they are neither floating point from 0 to 1 nor uint8, where 255 stands for 1.
    """
    if probability.dtype == np.uint8:
        return
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


def _comparable(probability: NDArray[Any]) -> np.dtype[Any]:
    floating = np.issubdtype(probability.dtype, np.floating)
    return probability.dtype if floating else np.dtype(np.float64)
