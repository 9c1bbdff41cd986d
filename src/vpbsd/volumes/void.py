"""Which part of a sample lies in tissue, where much of the volume is void around it.

More than half of a whole cleared brain's bounding box shows the camera's offset and noise. With a
background taken from all of it, the tissue itself would be "bright", unlike in the crops that a
model was trained on. So the sample is cut into small parts, and percentiles ``p`` of each (``m``
its median) tell whether there is void:

1. *Two classes.* The levels ``asinh(m / noise)``, about the logarithms of ``m``, are cut where the
   variance between the classes is largest (Otsu 1979, IEEE Trans. SMC 9:62); it must be at least
   0.85 of all variance. Levels of one kind of tissue, however uneven, give 0.64 (normal) to 0.75
   (uniform).
2. *Apart.* Half of the darker parts have their ``p99`` below the median of the brighter ones.
3. *Vessels are in the tissue.* The tail on the vessels' side, ``(p99 - p50) / (p50 - p10)``, where
   vessels are dark ``(p50 - p1) / (p90 - p50)``, is at least 1.1 times as long in the brighter
   class. Void is noise, about 1.9; tissue with vessels has mostly 3 and more. This tells tissue in
   the void from large bright vessels in tissue, which look the same to the other rules: inside a
   vessel there is no such tail.
4. *Not only a rim.* At least a fifth of the parts are bright, and at least half of those hold
   less than a twentieth of void. What is void in a part is counted at and below the void's own
   median, which hardly a voxel of the tissue reaches.

Only parts of the last kind are tissue; those at the rim belong to neither class. If one rule fails,
no void is found, and nothing is left out. Where vessels are dark, the inside of the largest may
count as void; it is no background either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Tissue", "find_tissue"]

Values = NDArray[np.float64]

# Small, so that few parts lie across the brain's surface.
_PART_EDGE_VOXELS = 16
_LEAST_PART_VOXELS = 64
# Few numbers often fall into two groups by chance.
_LEAST_PARTS = 64
_LEAST_SEPARABILITY = 0.85
# 1.1: two classes of mere noise, as solid vessels without capillaries have, differ by less.
_LEAST_TAIL_RATIO = 1.1
_LEAST_BRIGHT_SHARE = 0.2
_LEAST_INNER_SHARE = 0.5
_MOST_VOID_IN_TISSUE = 0.05


@dataclass(frozen=True, eq=False)
class Tissue:
    """What of a sample is tissue.

    Attributes
    ----------
    values
        (n,) the voxels of the parts that lie in tissue, in the sample's own type.
    void_share
        Estimated share of the sample that is void or padding, above 0.
    """

    values: NDArray[Any]
    void_share: float


def find_tissue(boxes: Sequence[NDArray[Any]], *, invert: bool = False) -> Tissue | None:
    """Return the tissue in a sample of boxes, or None where no void is found.

    Parameters
    ----------
    boxes
        (z, y, x) each, one channel, finite, in the volume's own intensities. Voxels that are
        exactly 0 are padding and are not looked at.
    invert
        Whether vessels are darker than their surroundings; void is dark in any case.
    """
    parts = [values[values != 0] for box in boxes for values in _parts(box)]
    cut = len(parts)
    parts = [values for values in parts if values.size >= _LEAST_PART_VOXELS]
    if len(parts) < _LEAST_PARTS:
        return None
    # (5, parts)
    p = np.array([np.percentile(values, (1, 10, 50, 90, 99)) for values in parts]).T
    medians, p99 = p[2], p[4]
    bright = _brighter_class(medians, medians - p[1])
    if bright is None or bright.mean() < _LEAST_BRIGHT_SHARE:
        return None
    apart = np.median(p99[~bright]) <= np.median(medians[bright])
    step = 1.0 if parts[0].dtype.kind in "ui" else 0.0
    tails = _tails(p, step, invert=invert)
    tail = float(np.median(tails[bright]))
    if not apart or tail < _LEAST_TAIL_RATIO * float(np.median(tails[~bright])):
        return None
    void = _void_shares(parts, bright, float(np.median(medians[~bright])))
    inner = bright & (void <= _MOST_VOID_IN_TISSUE)
    if inner.sum() < _LEAST_INNER_SHARE * bright.sum():
        return None
    values = np.concatenate([parts[i] for i in np.flatnonzero(inner)])
    return Tissue(values, float(void.sum() + cut - len(parts)) / cut)


def _parts(box: NDArray[Any]) -> list[NDArray[Any]]:
    """Cut a box into equal parts with edges of 16 to 31 voxels; a shorter axis is not cut."""
    cuts = []
    for n in box.shape:
        count = max(1, n // _PART_EDGE_VOXELS)
        cuts.append([slice(a, b) for a, b in pairwise(i * n // count for i in range(count + 1))])
    return [box[part] for part in product(*cuts)]


def _brighter_class(medians: Values, spreads: Values) -> NDArray[np.bool_] | None:
    """Return which parts are of the brighter class; None where there are no two classes."""
    # The quietest parts' noise; where a camera's offset is constant, a thousandth of the range.
    noise = max(float(np.quantile(spreads, 0.1)), 1e-3 * float(np.abs(medians).max()))
    levels = np.arcsinh(medians / noise)
    ordered = np.sort(levels)
    total = ordered.var()
    if ordered[0] == ordered[-1]:
        return None
    n = ordered.size
    below = np.arange(1, n)
    sums = np.cumsum(ordered)
    step = (sums[-1] - sums[:-1]) / (n - below) - sums[:-1] / below
    between = below / n * (1 - below / n) * step**2
    best = int(between.argmax())
    if between[best] < _LEAST_SEPARABILITY * total:
        return None
    bright: NDArray[np.bool_] = levels > ordered[best]
    return bright


def _tails(p: Values, step: float, *, invert: bool) -> Values:
    """Return how long the tail on the vessels' side is, in spreads of the other side.

    ``step`` is that between neighbouring grey values: no spread is known better.
    """
    p1, p10, p50, p90, p99 = p
    tail, spread = (p50 - p1, p90 - p50) if invert else (p99 - p50, p50 - p10)
    least = np.finfo(np.float64).tiny
    tails: Values = (tail + step + least) / (spread + step + least)
    return tails


def _void_shares(parts: Sequence[NDArray[Any]], bright: NDArray[np.bool_], level: float) -> Values:
    """Return the share of each part that is void, whose median is ``level``."""
    below = np.array([np.count_nonzero(values <= level) / values.size for values in parts])
    # Half of the void by definition; more where its few grey values coincide.
    shares: Values = np.minimum(below / np.median(below[~bright]), 1.0)
    return shares
