"""Dice and clDice of counts that were pooled over any set of sub-blocks.

::

    Dice        = 2 TP / (2 TP + FP + FN)                                          (Dice 1945)
    precision   = |S(P) ∩ T| / |S(P)|        sensitivity = |S(T) ∩ P| / |S(T)|
    clDice      = 2 · precision · sensitivity / (precision + sensitivity)
                                                            (Shit et al., clDice, CVPR 2021)

The counts are summed before anything is divided, so that a sub-block weighs as much as the vessels
in it, and one without any weighs nothing.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

__all__ = ["POOLED", "PooledScore", "pooled_scores"]

PooledScore = Literal["dice", "cldice"]

POOLED: tuple[PooledScore, ...] = get_args(PooledScore)
"""The scores that counts make, in the order of the last axis of `pooled_scores`."""


def pooled_scores(counts: NDArray[Any]) -> NDArray[np.float64]:
    """Return Dice and clDice of summed counts.

    Parameters
    ----------
    counts
        (..., 7), one for each of `vpbsd.compare.results.lines.COUNTS`.

    Returns
    -------
    ndarray
        (..., 2), Dice and clDice. Nothing in either mask: both 1, as for two empty masks; a
        centreline in one of the two alone: clDice 0.
    """
    tp, fp, fn, predicted, predicted_inside, true, true_inside = np.moveaxis(
        np.asarray(counts, np.float64), -1, 0
    )
    dice = _share(2 * tp, 2 * tp + fp + fn, empty=1.0)
    precision = _share(predicted_inside, predicted, empty=0.0)
    sensitivity = _share(true_inside, true, empty=0.0)
    cldice = _share(2 * precision * sensitivity, precision + sensitivity, empty=0.0)
    cldice = np.where((predicted == 0) & (true == 0), 1.0, cldice)
    return np.stack([dice, cldice], axis=-1)


def _share(
    part: NDArray[np.float64], whole: NDArray[np.float64], *, empty: float
) -> NDArray[np.float64]:
    found = np.full(np.shape(whole), empty)
    np.divide(part, whole, out=found, where=whole > 0)
    return found
