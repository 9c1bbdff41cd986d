"""Dice and clDice of one volume as its threshold moves, computing no more than is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from vpbsd.errors import ConfigError, DataError
from vpbsd.metrics.centreline import centreline, share_inside
from vpbsd.metrics.masks import Mask, as_mask
from vpbsd.metrics.matches import harmonic_mean
from vpbsd.metrics.overlap import Overlap

__all__ = ["Criterion", "ThresholdCurve", "ThresholdScore", "best_index", "criterion_value"]

Criterion = Literal["harmonic", "mean", "dice", "cldice"]
"""What a threshold is chosen by: a score, or the harmonic or arithmetic mean of Dice and clDice.

The centreline of a mask that fills the volume shrinks to a few voxels, which may well lie inside
the truth: clDice 1. The arithmetic mean then prefers "everything is vessel" to an honest
prediction; the harmonic mean does not.
"""


@dataclass(frozen=True, slots=True)
class ThresholdScore:
    """Dice and clDice of the mask ``value >= threshold``."""

    threshold: float
    dice: float
    cldice: float


class ThresholdCurve:
    """Scores of the masks ``response >= level`` for a list of levels.

    The masks are nested, so that one pass sorts every voxel between two levels; Dice and the
    topology sensitivity of all levels follow from counting. Only the topology precision needs
    a centreline for each level, and that is computed when it is asked for.

    Parameters
    ----------
    response
        Any real values (z, y, x).
    truth
        Mask (z, y, x) of the same shape.
    levels
        In any order. They are rounded to the type of a floating-point response, as
        ``response >= level`` would.

    Raises
    ------
    DataError
        If the shapes differ, the truth is no mask, or the response holds NaN.
    ConfigError
        If there is no level, or a level is not finite.
    """

    def __init__(
        self, response: NDArray[Any], truth: NDArray[Any], levels: Sequence[float]
    ) -> None:
        self._truth = as_mask(truth, "truth")
        values = np.asarray(response)
        _check(values, self._truth, levels)
        cuts = np.asarray(levels, dtype=np.float64)
        if np.issubdtype(values.dtype, np.floating):
            cuts = cuts.astype(values.dtype)
        ascending, position = np.unique(cuts, return_inverse=True)
        self._position = position
        # rank: how many levels a voxel reaches; it is in the mask of level k if rank > k.
        rank = np.searchsorted(ascending, values, side="right")
        self._rank = rank.astype(np.min_scalar_type(ascending.size))
        self._predicted = _voxels_above(self._rank, ascending.size)
        self._common = _voxels_above(self._rank[self._truth], ascending.size)
        self._truth_size = int(np.count_nonzero(self._truth))
        line = centreline(self._truth)
        self._true_line = _voxels_above(self._rank[line], ascending.size)
        self._true_line_length = int(np.count_nonzero(line))
        self._precision: dict[int, float] = {}

    def __len__(self) -> int:
        """Return the number of levels."""
        return self._position.size

    def mask(self, index: int) -> Mask:
        """Return the mask (z, y, x) at a level."""
        return np.asarray(self._rank > self._position[index], dtype=np.bool_)

    def overlap(self, index: int) -> Overlap:
        """Return the voxel overlap at a level."""
        k = self._position[index]
        both = int(self._common[k])
        return Overlap(
            true_positive=both,
            false_positive=int(self._predicted[k]) - both,
            false_negative=self._truth_size - both,
        )

    def dice(self, index: int) -> float:
        """Return the Dice at a level."""
        return self.overlap(index).dice

    def cldice(self, index: int) -> float:
        """Return the clDice at a level."""
        predicted = int(self._predicted[self._position[index]])
        if not self._true_line_length:
            return 0.0 if predicted else 1.0
        # Nested masks of one size are equal: a plateau needs one centreline.
        if predicted not in self._precision:
            line = centreline(self.mask(index))
            self._precision[predicted] = share_inside(line, self._truth)
        return harmonic_mean(self._precision[predicted], self._sensitivity(index))

    def cldice_bound(self, index: int) -> float:
        """Return what clDice would be if the predicted centreline were all inside the truth."""
        if not self._true_line_length:
            return self.cldice(index)
        return harmonic_mean(1.0, self._sensitivity(index))

    def _sensitivity(self, index: int) -> float:
        return float(self._true_line[self._position[index]]) / self._true_line_length


def criterion_value(dice: float, cldice: float, by: Criterion) -> float:
    """Return the figure that a threshold is chosen by.

    Raises
    ------
    ConfigError
        If the criterion is unknown.
    """
    if by == "harmonic":
        return harmonic_mean(dice, cldice)
    if by == "mean":
        return (dice + cldice) / 2
    if by == "dice":
        return dice
    if by == "cldice":
        return cldice
    raise ConfigError(f"a threshold is chosen by one of {get_args(Criterion)}, got {by!r}")


def best_index(curves: Sequence[ThresholdCurve], by: Criterion = "harmonic") -> int:
    """Return the level that is best for the mean over several volumes; the first of equals.

    Levels are visited in order of the best they could reach, so that centrelines are
    computed only where they can decide. The result is that of trying every level.

    Raises
    ------
    ConfigError
        If there is no curve, their numbers of levels differ, or the criterion is unknown.
    """
    if not curves or len({len(curve) for curve in curves}) != 1:
        raise ConfigError(
            f"thresholds need at least one volume and one list of levels for all, got "
            f"{len(curves)} volumes with {sorted({len(curve) for curve in curves})} levels"
        )

    def bound(index: int) -> float:
        return _mean(criterion_value(c.dice(index), c.cldice_bound(index), by) for c in curves)

    def value(index: int) -> float:
        if by == "dice":
            return bound(index)
        return _mean(criterion_value(c.dice(index), c.cldice(index), by) for c in curves)

    bounds = [bound(index) for index in range(len(curves[0]))]
    best, winner = -1.0, -1
    for index in sorted(range(len(bounds)), key=lambda i: (-bounds[i], i)):
        if bounds[index] < best:
            break
        reached = value(index)
        if reached > best or (reached == best and index < winner):
            best, winner = reached, index
    return winner


def _mean(values: Any) -> float:
    return float(np.mean(list(values)))


def _voxels_above(rank: NDArray[Any], n_levels: int) -> NDArray[np.int64]:
    per_rank = np.bincount(rank.ravel(), minlength=n_levels + 1)
    return np.asarray(per_rank[::-1].cumsum()[::-1][1:], dtype=np.int64)


def _check(values: NDArray[Any], truth: Mask, levels: Sequence[float]) -> None:
    if values.shape != truth.shape:
        raise DataError(
            f"the volume to threshold and its truth have different shapes, {values.shape} and "
            f"{truth.shape} (z, y, x): they are probably not of the same volume"
        )
    if np.issubdtype(values.dtype, np.floating) and np.isnan(values).any():
        raise DataError(
            f"{int(np.isnan(values).sum())} of {values.size} voxels of the volume to threshold "
            "are NaN: repair what made it, or replace them"
        )
    if not len(levels) or not np.isfinite(np.asarray(levels, dtype=np.float64)).all():
        raise ConfigError(f"thresholds must be one or more finite numbers, got {list(levels)}")
