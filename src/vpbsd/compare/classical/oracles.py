"""Classical yardsticks: the best that one threshold can reach with the truth in hand.

An oracle, not a method: it chooses its threshold by the truth of the very volume it is scored
on, so that no way of setting a threshold on that response can do better.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpbsd.compare.classical.filters import finite_volume, require_contrast, sato_response
from vpbsd.errors import ConfigError
from vpbsd.metrics import ThresholdCurve, ThresholdScore, best_index

__all__ = [
    "ClassicalOracles",
    "OracleResult",
    "classical_oracles",
    "oracle_threshold",
]

# Foreground shares between which thresholds are tried: vessels fill 1 to 45 % of the tissue.
_LEAST_SHARE, _MOST_SHARE = 0.002, 0.6


@dataclass(frozen=True, slots=True)
class OracleResult:
    """The best thresholds on one response, each with both its scores."""

    best_for_dice: ThresholdScore
    """The threshold with the highest Dice, and its clDice."""

    best_for_mean: ThresholdScore
    """The threshold with the highest mean of Dice and clDice."""


@dataclass(frozen=True, slots=True)
class ClassicalOracles:
    """Oracle thresholds on the raw intensity and on Sato filters of one volume."""

    intensity: OracleResult

    sato: OracleResult
    """Sato filter of the intensity: favours bright vessels."""

    sato_of_log: OracleResult
    """Sato filter of the logarithm of the intensity: treats dim vessels as bright ones."""


def classical_oracles(
    image: NDArray[Any], truth: NDArray[Any], *, per_plane: bool = False, n_thresholds: int = 64
) -> ClassicalOracles:
    """Return the oracle thresholds on the intensity and on two Sato responses of an image.

    Parameters
    ----------
    image
        (z, y, x), bright vessels. Its logarithm, like any increasing function of it, has the
        same intensity oracle, but another Sato response. The logarithm is taken of 1 plus the
        intensity; images with negative values are raised to start at 0.
    truth
        Mask (z, y, x).
    per_plane
        Filter plane by plane, see `sato_response`.
    n_thresholds
        See `oracle_threshold`.

    Raises
    ------
    DataError
        If the shapes differ, the image is not (z, y, x), or it is constant or not finite.
    ConfigError
        If there are fewer than 2 thresholds.
    """
    values = finite_volume(image).astype(np.float32)
    log = np.log1p(values - min(0.0, float(values.min(initial=0.0))))

    def oracle(response: NDArray[Any]) -> OracleResult:
        return oracle_threshold(response, truth, n_thresholds=n_thresholds)

    return ClassicalOracles(
        intensity=oracle(values),
        sato=oracle(sato_response(values, per_plane=per_plane)),
        sato_of_log=oracle(sato_response(log, per_plane=per_plane)),
    )


def oracle_threshold(
    response: NDArray[Any], truth: NDArray[Any], *, n_thresholds: int = 64
) -> OracleResult:
    """Return the thresholds on a response that are best for the given truth.

    The candidates are quantiles of the response, so that their masks grow by an equal factor
    from 0.2 % to 60 % of the volume whatever the scale of the values.

    Parameters
    ----------
    response
        (z, y, x), high on vessels.
    truth
        Mask (z, y, x).
    n_thresholds
        Number of candidates; 64 means steps of 9 % in foreground.

    Raises
    ------
    DataError
        If the shapes differ, the response is not (z, y, x), or it is constant or not finite.
    ConfigError
        If there are fewer than 2 thresholds.
    """
    if n_thresholds < 2:
        raise ConfigError(f"an oracle needs at least 2 thresholds, got {n_thresholds}")
    values = finite_volume(response)
    require_contrast(values)
    shares = np.geomspace(_LEAST_SHARE, _MOST_SHARE, n_thresholds)
    levels = np.unique(np.quantile(values, 1 - shares))
    curve = ThresholdCurve(values, truth, [float(level) for level in levels])

    def at(index: int) -> ThresholdScore:
        return ThresholdScore(float(levels[index]), curve.dice(index), curve.cldice(index))

    return OracleResult(
        best_for_dice=at(best_index([curve], "dice")),
        best_for_mean=at(best_index([curve], "mean")),
    )
