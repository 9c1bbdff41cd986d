"""Betti numbers and Euler number: how many pieces, loops and cavities a mask has.

Foreground voxels touch through faces, edges and corners (26 neighbours), background through
faces (6 neighbours): the pair that keeps the counts consistent with each other.

Errors are differences of counts. Over a whole volume a loop too many here makes up for one too few
there; the usual remedy is to count in sub-blocks and take the mean of their errors (Hu, Li, Samaras
and Chen 2019, *Topology-preserving deep image segmentation*).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpbsd.geometry import as_triplet, tile
from vpbsd.metrics.euler import euler_characteristic
from vpbsd.metrics.masks import as_mask, mask_pair, occupied_box, pieces

__all__ = [
    "BETTI_BLOCK_VOXELS",
    "BettiErrors",
    "BettiNumbers",
    "BlockBettiErrors",
    "betti_errors",
    "betti_errors_per_block",
    "betti_numbers",
]

BETTI_BLOCK_VOXELS = 64
"""Edge of the sub-blocks whose Betti errors are averaged, unless something else is said."""


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
    """Absolute differences between the numbers of a prediction and those of the truth."""

    betti_0: int
    betti_1: int
    betti_2: int
    euler: int
    """Of the Euler characteristic; of its own, since the other errors may have either sign."""

    def __add__(self, other: BettiErrors) -> BettiErrors:
        """Sum the errors of two blocks or volumes."""
        return BettiErrors(
            self.betti_0 + other.betti_0,
            self.betti_1 + other.betti_1,
            self.betti_2 + other.betti_2,
            self.euler + other.euler,
        )


@dataclass(frozen=True, slots=True)
class BlockBettiErrors:
    """Betti errors of sub-blocks, summed; adds up over disjoint volumes."""

    summed: BettiErrors
    blocks: int
    """Number of sub-blocks, those without any vessel included."""

    def __add__(self, other: BlockBettiErrors) -> BlockBettiErrors:
        """Pool the sub-blocks of two volumes."""
        return BlockBettiErrors(self.summed + other.summed, self.blocks + other.blocks)

    @property
    def betti_0(self) -> float:
        """Mean error of Betti-0 over the sub-blocks."""
        return self.summed.betti_0 / max(1, self.blocks)

    @property
    def betti_1(self) -> float:
        """Mean error of Betti-1 over the sub-blocks."""
        return self.summed.betti_1 / max(1, self.blocks)

    @property
    def betti_2(self) -> float:
        """Mean error of Betti-2 over the sub-blocks."""
        return self.summed.betti_2 / max(1, self.blocks)

    @property
    def euler(self) -> float:
        """Mean error of the Euler characteristic over the sub-blocks."""
        return self.summed.euler / max(1, self.blocks)


def betti_numbers(mask: NDArray[Any]) -> BettiNumbers:
    """Count the pieces, loops and cavities of a mask.

    Pieces and cavities are counted as connected components; the loops follow from the
    Euler characteristic χ::

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
    loops = components + cavities - euler_characteristic(inside)
    return BettiNumbers(components, loops, cavities)


def betti_errors(prediction: NDArray[Any], truth: NDArray[Any]) -> BettiErrors:
    """Return by how much the Betti numbers of two masks differ, counted on the whole volume.

    Errors of opposite sign at different places cancel; see `betti_errors_per_block`.

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
        euler=abs(p.euler - t.euler),
    )


def betti_errors_per_block(
    prediction: NDArray[Any],
    truth: NDArray[Any],
    edge_voxels: int | Sequence[int] = BETTI_BLOCK_VOXELS,
) -> BlockBettiErrors:
    """Return the Betti errors of sub-blocks of two masks, each counted on its own.

    Parameters
    ----------
    prediction, truth
        Masks (z, y, x) of one shape.
    edge_voxels
        Edges (z, y, x) of the sub-blocks; those at the far sides may be smaller. A larger edge
        gives larger errors: compare only what was counted with one edge.

    Raises
    ------
    DataError
        If the arrays are not masks of one shape.
    ConfigError
        If an edge is not positive.
    """
    predicted, true = mask_pair(prediction, truth)
    found = BlockBettiErrors(BettiErrors(0, 0, 0, 0), 0)
    for box in tile(true.shape, as_triplet(edge_voxels)):
        errors = betti_errors(predicted[box.slices], true[box.slices])
        found += BlockBettiErrors(errors, 1)
    return found
