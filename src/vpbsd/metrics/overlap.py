"""Voxel overlap: Dice, precision, recall and intersection over union."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpbsd.metrics.masks import mask_pair

__all__ = ["Overlap", "overlap"]


@dataclass(frozen=True, slots=True)
class Overlap:
    """Voxel counts of agreement; the sum of two is the overlap of both volumes together."""

    true_positive: int
    """Voxels in both masks."""

    false_positive: int
    """Voxels in the prediction only."""

    false_negative: int
    """Voxels in the truth only."""

    def __add__(self, other: Overlap) -> Overlap:
        """Pool the counts of two disjoint blocks or volumes."""
        return Overlap(
            self.true_positive + other.true_positive,
            self.false_positive + other.false_positive,
            self.false_negative + other.false_negative,
        )

    @property
    def dice(self) -> float:
        """``2 TP / (2 TP + FP + FN)`` (Dice 1945); both masks empty: 1."""
        return self._share(
            2 * self.true_positive,
            2 * self.true_positive + self.false_positive + self.false_negative,
        )

    @property
    def precision(self) -> float:
        """``TP / (TP + FP)``; both masks empty: 1, only the prediction empty: 0."""
        return self._share(self.true_positive, self.true_positive + self.false_positive)

    @property
    def recall(self) -> float:
        """``TP / (TP + FN)``; both masks empty: 1, only the truth empty: 0."""
        return self._share(self.true_positive, self.true_positive + self.false_negative)

    @property
    def iou(self) -> float:
        """``TP / (TP + FP + FN)`` (Jaccard 1901); both masks empty: 1."""
        return self._share(
            self.true_positive, self.true_positive + self.false_positive + self.false_negative
        )

    def _share(self, part: int, whole: int) -> float:
        if whole:
            return part / whole
        return 0.0 if self.false_positive or self.false_negative else 1.0


def overlap(prediction: NDArray[Any], truth: NDArray[Any]) -> Overlap:
    """Count the voxels on which two masks agree and differ.

    Parameters
    ----------
    prediction, truth
        Masks (z, y, x) of one shape.

    Raises
    ------
    DataError
        If the arrays are not masks of one shape.
    """
    predicted, true = mask_pair(prediction, truth)
    both = int(np.count_nonzero(predicted & true))
    return Overlap(
        true_positive=both,
        false_positive=int(np.count_nonzero(predicted)) - both,
        false_negative=int(np.count_nonzero(true)) - both,
    )
