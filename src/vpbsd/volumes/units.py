"""Lengths in the spellings that microscopy files use, to micrometres."""

from __future__ import annotations

import math
from collections.abc import Sequence

from vpbsd.geometry import VoxelSize

__all__ = ["micrometres_per", "voxel_size_from"]

# They look alike and are two characters.
_MICRO_SIGN, _GREEK_MU = "\u00b5", "\u03bc"

_MICROMETRES = {
    "pm": 1e-6,
    "picometer": 1e-6,
    "å": 1e-4,
    "angstrom": 1e-4,
    "nm": 1e-3,
    "nanometer": 1e-3,
    "um": 1.0,
    f"{_MICRO_SIGN}m": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "mm": 1e3,
    "millimeter": 1e3,
    "cm": 1e4,
    "centimeter": 1e4,
    "m": 1e6,
    "meter": 1e6,
    "in": 25_400.0,
    "inch": 25_400.0,
}


def micrometres_per(unit: str | None) -> float | None:
    r"""Return how many micrometres one ``unit`` is; None for pixels and unknown words.

    Case does not count, the British spelling and both code points of µ are understood, and so
    is ImageJ's escaped ``\u00B5m``.
    """
    if unit is None:
        return None
    word = unit.strip().lower().replace("\\u00b5", _MICRO_SIGN).replace(_GREEK_MU, _MICRO_SIGN)
    if word.endswith(("metre", "metres", "meters")):
        word = word.rstrip("s").replace("metre", "meter")
    return _MICROMETRES.get(word)


def voxel_size_from(
    sizes_zyx: Sequence[float | None], units_zyx: Sequence[str | None]
) -> VoxelSize | None:
    """Return the voxel size, or None where a size or unit is missing or senseless.

    Parameters
    ----------
    sizes_zyx : sequence of float or None
        Distance between voxel centres along (z, y, x), in the units given.
    units_zyx : sequence of str or None
        The unit of each size.
    """
    sizes_um = []
    for size, unit in zip(sizes_zyx, units_zyx, strict=True):
        factor = micrometres_per(unit)
        if size is None or factor is None or not math.isfinite(size) or size == 0:
            return None
        # Flipped axes have negative steps (NIfTI, some Imaris exports); the distance is positive.
        sizes_um.append(abs(float(size)) * factor)
    return VoxelSize.of(sizes_um)
