"""Any mask, of whatever software, as vessels (true) and background (false)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpbsd.errors import DataError

__all__ = ["as_vessels"]

_MOST_VALUES = 256


def as_vessels(array: NDArray[Any], name: str = "the mask") -> NDArray[np.bool_]:
    """Return the vessels of a mask: every voxel above 0.

    Taken are bool, 0/1, 0/255 and any other whole numbers (labels above 0 are vessel, as of a
    segmentation that tells vessels apart), also when at most 256 different ones are stored as
    floating point.

    Parameters
    ----------
    array
        (Z, Y, X) mask.
    name
        Of the mask, for messages.

    Raises
    ------
    DataError
        If the name is empty, the array is not 3D, not numbers, holds NaN, infinite or negative
        values, values between whole numbers (probabilities, an image), or too many different ones
        as floating point.
    """
    if not name.strip():
        raise DataError("a mask needs a name for messages, got an empty one")
    if array.ndim != 3:
        raise DataError(
            f"{name} must have three axes (z, y, x), got shape {array.shape}; "
            "pick one channel or one time point"
        )
    if array.dtype == np.bool_:
        return array
    if array.dtype.kind == "u":
        return array > 0
    if array.dtype.kind not in "if":
        raise DataError(f"{name} must hold numbers, got {array.dtype}; save it as 0 and 1")
    lowest = array.min(initial=0)
    if array.dtype.kind == "f":
        _require_whole_numbers(array, name)
    if lowest < 0:
        raise DataError(
            f"{name} holds negative values (down to {lowest:g}), so it is no mask; save vessels "
            "as 1 and background as 0"
        )
    return array > 0


def _require_whole_numbers(array: NDArray[Any], name: str) -> None:
    """Raise where a floating-point array holds anything but few whole numbers."""
    values: NDArray[Any] = np.empty(0, array.dtype)
    for plane in array:
        if not np.isfinite(plane).all():
            raise DataError(
                f"{name} holds NaN or infinite values, so vessel and background cannot be told "
                "apart; replace them with 0"
            )
        between = plane != np.floor(plane)
        if between.any():
            raise DataError(
                f"{name} holds {plane[between][0]:g}, a value between whole numbers, so it is an "
                "image or a map of probabilities and no mask; threshold it first, for example "
                "`mask = probabilities > 0.5`"
            )
        values = np.union1d(values, plane[plane != 0])
        if len(values) > _MOST_VALUES:
            raise DataError(
                f"{name} holds more than {_MOST_VALUES} different values as floating point, so it "
                "is taken for an image and no mask; threshold it, or save labels as integers"
            )
