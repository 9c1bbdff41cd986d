"""Which intensities a viewer shows black and white, from a bounded sample."""

from __future__ import annotations

import math

import numpy as np

from vpbsd.geometry import Box
from vpbsd.views.layer import pyramid
from vpbsd.volumes import Volume

__all__ = ["intensity_range"]

_SAMPLE_VOXELS = 2_000_000
_DARK_PERCENT, _BRIGHT_PERCENT = 1.0, 99.8


def intensity_range(volume: Volume, channel: int = 0) -> tuple[float, float]:
    """Return the intensities that are shown black and white.

    Those of the finest level that is small enough to be read whole, else of the middle of the
    volume; the second is above the first.
    """
    levels = [v for v in pyramid(volume) if math.prod(v.shape_zyx) <= _SAMPLE_VOXELS]
    if levels:
        chosen, box = levels[0], Box.whole(levels[0].shape_zyx)
    else:
        edge = round(_SAMPLE_VOXELS ** (1 / 3))
        shape = [min(n, edge) for n in volume.shape_zyx]
        start = [(n - e) // 2 for n, e in zip(volume.shape_zyx, shape, strict=True)]
        chosen, box = volume, Box.at(start, shape)
    values = chosen.read(box, (channel,))
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return (0.0, 1.0)
    dark, bright = (float(v) for v in np.percentile(finite, (_DARK_PERCENT, _BRIGHT_PERCENT)))
    return (dark, bright) if bright > dark else (dark, dark + 1.0)
