"""Betti numbers: how many pieces, loops and cavities a mask has.

Foreground voxels touch through faces, edges and corners (26 neighbours), background through
faces (6 neighbours): the pair that keeps the counts consistent with each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.measure import euler_number

from vpbsd.metrics.masks import as_mask, mask_pair, occupied_box, pieces

__all__ = ["BettiErrors", "BettiNumbers", "betti_errors", "betti_numbers"]


@dataclass(frozen=True, slots=True)
class BettiNumbers:
    """Counts of topological features of one mask; all 0 for an empty one."""

    components: int
    """Betti-0: connected pieces."""

    loops: int
    """Betti-1: independent loops (tunnels)."""

    cavities: int
    """Betti-2: background enclosed on all sides."""

    @property
    def euler(self) -> int:
        """Euler characteristic, ``components - loops + cavities``."""
        return self.components - self.loops + self.cavities


@dataclass(frozen=True, slots=True)
class BettiErrors:
    """Absolute differences between the Betti numbers of a prediction and the truth."""

    betti_0: int
    betti_1: int
    betti_2: int


def betti_numbers(mask: NDArray[Any]) -> BettiNumbers:
    """Count the pieces, loops and cavities of a mask.

    Pieces and cavities are counted as connected components; the loops follow from the
    Euler characteristic χ, counted from local 2x2x2 patterns::

        loops = components + cavities - χ

    Parameters
    ----------
    mask
        (z, y, x). What lies outside counts as background, so that a hole cut by the border
        is not a cavity.

    Raises
    ------
    DataError
        If the array is not a mask.
    """
    whole = as_mask(mask, "mask")
    inside = whole[occupied_box(whole)]
    if not inside.size:
        return BettiNumbers(0, 0, 0)
    # One voxel of background on all sides joins every outer pocket to one component.
    _, backgrounds = pieces(~np.pad(inside, 1), 6)
    _, components = pieces(inside, 26)
    cavities = backgrounds - 1
    loops = components + cavities - int(euler_number(inside, connectivity=3))
    return BettiNumbers(components, loops, cavities)


def betti_errors(prediction: NDArray[Any], truth: NDArray[Any]) -> BettiErrors:
    """Return by how much the Betti numbers of two masks differ.

    They are counted on the whole volume: errors of opposite sign at different places cancel.

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
    p, t = betti_numbers(predicted), betti_numbers(true)
    return BettiErrors(
        betti_0=abs(p.components - t.components),
        betti_1=abs(p.loops - t.loops),
        betti_2=abs(p.cavities - t.cavities),
    )
