"""Two sets of voxels (centrelines, surfaces), and how many of each find a match."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpbsd.errors import ConfigError

__all__ = ["Matches", "harmonic_mean", "require_tolerance"]


@dataclass(frozen=True, slots=True)
class Matches:
    """Counts of predicted and true voxels; the sum of two is that of both volumes together.

    What a match is, the maker says: to lie inside the other mask, or near the other line.
    """

    predicted: int
    """Predicted voxels."""

    predicted_matched: int
    """Those of them that match the truth."""

    true: int
    """True voxels."""

    true_matched: int
    """Those of them that match the prediction."""

    @classmethod
    def within(
        cls,
        prediction_to_truth: NDArray[Any],
        truth_to_prediction: NDArray[Any],
        tolerance: float,
        rounding: float,
    ) -> Matches:
        """Count the distances that are no longer than a tolerance.

        Parameters
        ----------
        prediction_to_truth, truth_to_prediction
            How far each voxel of one set is from the other set.
        tolerance
            In the unit of the distances.
        rounding
            Share by which a distance may be longer, since sums of squares are rounded.

        Raises
        ------
        ConfigError
            If the tolerance is negative or not finite.
        """
        reach = require_tolerance(tolerance) * (1 + rounding)
        return cls(
            predicted=prediction_to_truth.size,
            predicted_matched=int(np.count_nonzero(prediction_to_truth <= reach)),
            true=truth_to_prediction.size,
            true_matched=int(np.count_nonzero(truth_to_prediction <= reach)),
        )

    def __add__(self, other: Matches) -> Matches:
        """Pool the counts of two disjoint blocks or volumes."""
        return Matches(
            self.predicted + other.predicted,
            self.predicted_matched + other.predicted_matched,
            self.true + other.true,
            self.true_matched + other.true_matched,
        )

    def __sub__(self, part: Matches) -> Matches:
        """Return what is left without a part."""
        return Matches(
            self.predicted - part.predicted,
            self.predicted_matched - part.predicted_matched,
            self.true - part.true,
            self.true_matched - part.true_matched,
        )

    @property
    def precision(self) -> float:
        """Matched share of the prediction; both sets empty: 1, only the prediction empty: 0."""
        return self._share(self.predicted_matched, self.predicted)

    @property
    def recall(self) -> float:
        """Matched share of the truth; both sets empty: 1, only the truth empty: 0."""
        return self._share(self.true_matched, self.true)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return harmonic_mean(self.precision, self.recall)

    @property
    def dice(self) -> float:
        """Matched share of both sets together; both empty: 1."""
        return self._share(self.predicted_matched + self.true_matched, self.predicted + self.true)

    def _share(self, part: int, whole: int) -> float:
        if whole:
            return part / whole
        return 0.0 if self.predicted or self.true else 1.0


def harmonic_mean(a: float, b: float) -> float:
    """Return ``2ab / (a + b)`` of two shares, 0 when both are 0."""
    return 2 * a * b / (a + b) if a + b > 0 else 0.0


def require_tolerance(tolerance: float) -> float:
    """Return the tolerance of a match, if it is one.

    Raises
    ------
    ConfigError
        If it is negative or not finite.
    """
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise ConfigError(f"a tolerance must be a finite distance of 0 or more, got {tolerance}")
    return tolerance
