"""What every score does with a mask first: check it, find its extent, part its pieces."""

from __future__ import annotations

from typing import Any, Literal

import cc3d
import numpy as np
from numpy.typing import NDArray

from vpbsd.errors import DataError

__all__ = ["Mask", "as_mask", "mask_pair", "occupied_box", "pieces"]

Mask = NDArray[np.bool_]


def as_mask(array: NDArray[Any], role: str) -> Mask:
    """Return ``array`` as a boolean volume.

    Parameters
    ----------
    array
        (z, y, x), boolean or integer; any integer other than 0 is foreground.
    role
        What the array is, for the error message: "prediction", "truth", ...

    Raises
    ------
    DataError
        If the array is not three-dimensional, or holds floating-point values.
    """
    volume = np.asarray(array)
    if volume.ndim != 3:
        raise DataError(
            f"the {role} has shape {volume.shape}, but scores need one (z, y, x) volume: "
            "pick one channel, or give a single plane the shape (1, y, x)"
        )
    if volume.dtype == np.bool_:
        return volume
    if not np.issubdtype(volume.dtype, np.integer):
        raise DataError(
            f"the {role} holds {volume.dtype} values, probably probabilities, but scores need "
            "a mask: apply a threshold first"
        )
    return np.asarray(volume != 0, dtype=np.bool_)


def mask_pair(prediction: NDArray[Any], truth: NDArray[Any]) -> tuple[Mask, Mask]:
    """Return both arrays as boolean volumes of one shape.

    Raises
    ------
    DataError
        If the shapes differ, or `as_mask` refuses one of them.
    """
    predicted, true = as_mask(prediction, "prediction"), as_mask(truth, "truth")
    if predicted.shape != true.shape:
        raise DataError(
            f"prediction and truth have different shapes, {predicted.shape} and {true.shape} "
            "(z, y, x): they are probably not of the same volume or not at the same "
            "resolution; crop or resample one to the other"
        )
    return predicted, true


def occupied_box(mask: Mask) -> tuple[slice, slice, slice]:
    """Return the slices of the smallest box that holds all foreground of a (z, y, x) mask.

    An empty mask gives an empty box.
    """
    spans = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        hits = np.flatnonzero(mask.any(axis=others))
        spans.append(slice(int(hits[0]), int(hits[-1]) + 1) if hits.size else slice(0, 0))
    z, y, x = spans
    return (z, y, x)


def pieces(mask: Mask, neighbours: Literal[6, 26]) -> tuple[NDArray[np.integer[Any]], int]:
    """Label the connected pieces of a (z, y, x) mask from 1; 0 stays background.

    Returns
    -------
    tuple
        The labels (z, y, x) and how many pieces there are.
    """
    # As bytes, not booleans: cc3d 4.1 reserves too few labels for some boolean volumes that
    # are one voxel thick, and raises.
    as_bytes = np.ascontiguousarray(mask).view(np.uint8)
    labels, count = cc3d.connected_components(as_bytes, connectivity=neighbours, return_N=True)
    return labels, int(count)
