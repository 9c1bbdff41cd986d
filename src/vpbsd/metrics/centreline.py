"""Centreline Dice: how much of the centreline of each mask lies inside the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.morphology import skeletonize

from vpbsd.metrics.masks import Mask, as_mask, mask_pair, occupied_box, pieces
from vpbsd.metrics.matches import Matches, harmonic_mean

__all__ = ["CentrelineDice", "centreline", "cldice", "lines_inside", "share_inside"]


@dataclass(frozen=True, slots=True)
class CentrelineDice:
    """clDice and its two halves, each from 0 to 1."""

    topology_precision: float
    """Share of the predicted centreline that lies inside the true mask."""

    topology_sensitivity: float
    """Share of the true centreline that lies inside the predicted mask."""

    @property
    def cldice(self) -> float:
        """Harmonic mean of the two."""
        return harmonic_mean(self.topology_precision, self.topology_sensitivity)


def centreline(mask: NDArray[Any]) -> Mask:
    """Thin a mask to its centreline, one voxel wide, keeping its components and loops.

    Lee, Kashyap and Chu (1994), as in scikit-image. There, some pieces of an even number of
    voxels across vanish without trace (scikit-image issue 3757); such a piece keeps the one
    voxel nearest to its centre of mass, so that finding it or missing it still counts.

    Parameters
    ----------
    mask
        (z, y, x).

    Returns
    -------
    Mask
        (z, y, x); a subset of ``mask``, empty only if ``mask`` is.

    Raises
    ------
    DataError
        If the array is not a mask.
    """
    foreground = as_mask(mask, "mask")
    thin = np.zeros(foreground.shape, dtype=np.bool_)
    box = occupied_box(foreground)
    if foreground[box].size:
        # Thinning scans the whole array many times and pads it itself: the box is enough.
        thin[box] = skeletonize(foreground[box], method="lee") != 0
        _keep_vanished_pieces(thin[box], foreground[box])
    return thin


def _keep_vanished_pieces(thin: Mask, foreground: Mask) -> None:
    """Mark one voxel in ``thin``, in place, for each piece of ``foreground`` without any."""
    labels, count = pieces(foreground, 26)
    present = np.zeros(count + 1, dtype=np.bool_)
    present[0] = True
    present[labels[thin]] = True
    if present.all():
        return
    voxels = np.argwhere(~present[labels])
    _, piece = np.unique(labels[tuple(voxels.T)], return_inverse=True)
    sums = [np.bincount(piece, weights=voxels[:, axis]) for axis in range(3)]
    centre = np.stack(sums, axis=1) / np.bincount(piece)[:, None]
    offset = np.square(voxels - centre[piece]).sum(axis=1)
    nearest_first = np.lexsort((offset, piece))
    _, first = np.unique(piece[nearest_first], return_index=True)
    thin[tuple(voxels[nearest_first[first]].T)] = True


def cldice(prediction: NDArray[Any], truth: NDArray[Any]) -> CentrelineDice:
    """Score how well two masks P and T hold each other's centrelines S(P) and S(T).

    ::

        precision   = |S(P) ∩ T| / |S(P)|
        sensitivity = |S(T) ∩ P| / |S(T)|
        clDice      = 2 · precision · sensitivity / (precision + sensitivity)

    Shit et al., *clDice*, CVPR 2021. Both masks empty: all 1; one empty: all 0.

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
    found = lines_inside(centreline(predicted), centreline(true), predicted, true)
    return CentrelineDice(found.precision, found.recall)


def lines_inside(line_predicted: Mask, line_true: Mask, predicted: Mask, true: Mask) -> Matches:
    """Count the voxels of each centreline, and those that lie inside the other mask.

    All four are (z, y, x) of one shape: whole volumes, or a block of them.
    """
    return Matches(
        predicted=int(np.count_nonzero(line_predicted)),
        predicted_matched=int(np.count_nonzero(line_predicted & true)),
        true=int(np.count_nonzero(line_true)),
        true_matched=int(np.count_nonzero(line_true & predicted)),
    )


def share_inside(line: Mask, region: Mask) -> float:
    """Return the share of the voxels of ``line`` that lie in ``region``; 0 for an empty line."""
    length = int(np.count_nonzero(line))
    return int(np.count_nonzero(line & region)) / length if length else 0.0
