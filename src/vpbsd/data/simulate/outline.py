"""The outline of a brain: two hemispheres, cerebellum, stem and bulbs; fissure and ventricles.

Every part is an ellipsoid, whose depth below the surface is, near the surface,

    depth = (a / 2) · (1 - ((z - z0) / az)² - ((y - y0) / ay)² - ((|x| - x0) / ax)²)

with ``a`` the shortest of its semi-axes; the brain is the largest depth of the tissue parts, cut
off where a void part is deeper. Dorsal is low z, rostral low y; x runs from side to side, and the
outline is the same on both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vpbsd.geometry import Box, Triplet

__all__ = ["HEMISPHERE", "SOFT_VOXELS", "Ellipsoid", "Outline", "relative"]

Floats = NDArray[np.float32]

SOFT_VOXELS = 3.0
"""Width of the outline in the image."""


@dataclass(frozen=True)
class Ellipsoid:
    """Centre and semi-axes (z, y, x), where the volume reaches from -1 to 1 along each axis.

    With ``x`` of the centre above 0 there is one on each side.
    """

    centre: tuple[float, float, float]
    semi_axes: tuple[float, float, float]


HEMISPHERE = Ellipsoid((0.0, -0.12, 0.37), (0.9, 0.74, 0.58))

_TISSUE = (
    HEMISPHERE,
    Ellipsoid((-0.1, 0.66, 0.0), (0.55, 0.29, 0.6)),  # cerebellum
    Ellipsoid((0.42, 0.45, 0.0), (0.42, 0.5, 0.34)),  # stem
    Ellipsoid((0.12, -0.8, 0.17), (0.3, 0.17, 0.15)),  # olfactory bulbs
)
_VOID = (
    Ellipsoid((-0.9, -0.12, 0.0), (0.66, 0.84, 0.03)),  # fissure
    Ellipsoid((-0.2, -0.16, 0.2), (0.16, 0.32, 0.08)),  # lateral ventricles
    Ellipsoid((-0.02, 0.16, 0.36), (0.26, 0.1, 0.08)),  # their horns
    Ellipsoid((0.25, 0.0, 0.0), (0.35, 0.3, 0.022)),  # third ventricle
    Ellipsoid((0.12, 0.6, 0.0), (0.12, 0.16, 0.1)),  # fourth ventricle
)

_Slices = tuple[slice, slice, slice]


def relative(size: int, sides: bool = False) -> NDArray[np.float64]:
    """Return where voxel centres lie between -1 and 1; for ``sides``, how far from the middle."""
    at = (2 * np.arange(size) + 1 - size) / size
    return np.abs(at) if sides else at


class Outline:
    """Depth below the brain's surface, by the voxel.

    Each part is a sum of one number for z, y and x, so that the depth costs a few additions, and
    bounds over a box come from the numbers' extremes: most boxes are seen to be all tissue or all
    void without looking at a voxel. Sums of the same numbers in the same order are the same in
    any box.

    Parameters
    ----------
    shape
        (z, y, x) voxels of the volume.
    """

    def __init__(self, shape: Triplet) -> None:
        self.shape = shape
        parts = [_tables(part, shape, 1.0) for part in _TISSUE]
        parts += [_tables(part, shape, -1.0) for part in _VOID]
        # (parts, n) for each axis; those of tissue come first.
        self._tables = [np.stack(tables) for tables in zip(*parts, strict=True)]

    def depth_voxels(self, box: Box) -> Floats:
        """Return the depth of a box (z, y, x), in about voxels; below 0 in the void."""
        return self._depth(box.slices)

    def void_share(self, samples: int = 96) -> float:
        """Return the share of the volume that is void, from some ``samples``³ voxels."""
        z, y, x = (slice((step := max(1, n // samples)) // 2, None, step) for n in self.shape)
        return float((self._depth((z, y, x)) <= 0).mean())

    def bounds_voxels(self, box: Box) -> tuple[float, float]:
        """Return numbers that no depth in the box is below, and above."""
        low, high = self._bounds(box.slices)
        tissue, void = slice(len(_TISSUE)), slice(len(_TISSUE), None)
        return (
            float(min(low[tissue].max(), low[void].min())),
            float(min(high[tissue].max(), high[void].min())),
        )

    def _bounds(self, where: _Slices) -> tuple[Floats, Floats]:
        """Return what the depth of each part is never below, and above."""
        # Rounding never turns an order round, so the sum of extremes, in the same order, bounds
        # every sum.
        cut = [tables[:, s] for tables, s in zip(self._tables, where, strict=True)]
        low_z, low_y, low_x = (tables.min(axis=1) for tables in cut)
        high_z, high_y, high_x = (tables.max(axis=1) for tables in cut)
        return low_z + low_y + low_x, high_z + high_y + high_x

    def _depth(self, where: _Slices) -> Floats:
        low, high = self._bounds(where)
        # A part that lies below another everywhere cannot be the largest, nor one above the
        # smallest.
        tissue = np.flatnonzero(high[: len(_TISSUE)] >= low[: len(_TISSUE)].max())
        void = np.flatnonzero(low[len(_TISSUE) :] < high[: len(_TISSUE)].max()) + len(_TISSUE)
        depth, *others = (self._sum(part, where) for part in tissue.tolist())
        for other in others:
            np.maximum(depth, other, out=depth)
        for part in void.tolist():
            np.minimum(depth, self._sum(part, where), out=depth)
        return depth

    def _sum(self, part: int, where: _Slices) -> Floats:
        z, y, x = (tables[part, s] for tables, s in zip(self._tables, where, strict=True))
        total: Floats = (z[:, None] + y)[:, :, None] + x
        return total


def _tables(part: Ellipsoid, shape: Triplet, sign: float) -> tuple[Floats, Floats, Floats]:
    """Return the numbers for z, y and x whose sum is the depth, or its negative for a void."""
    at = [relative(n, sides=axis == 2) for axis, n in enumerate(shape)]
    half = sign * min(a * n / 2 for a, n in zip(part.semi_axes, shape, strict=True)) / 2
    z, y, x = (
        (half * ((axis == 0) - ((u - c) / a) ** 2)).astype(np.float32)
        for axis, (u, c, a) in enumerate(zip(at, part.centre, part.semi_axes, strict=True))
    )
    return z, y, x
