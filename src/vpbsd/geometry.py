"""Boxes of voxels and physical voxel sizes, always in (z, y, x) order."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vpbsd.errors import ConfigError, DataError

__all__ = ["Box", "Triplet", "VoxelSize", "as_triplet", "tile"]

Triplet = tuple[int, int, int]


def as_triplet(value: int | Sequence[int]) -> Triplet:
    """Return ``value`` as a (z, y, x) triplet; one number stands for all three axes.

    Raises
    ------
    ConfigError
        If a sequence does not have three items.
    """
    if isinstance(value, int):
        return (value, value, value)
    if len(value) != 3:
        raise ConfigError(f"expected one number or three (z y x), got {list(value)}")
    z, y, x = (int(v) for v in value)
    return (z, y, x)


@dataclass(frozen=True, slots=True)
class Box:
    """A half-open box of voxels: ``start <= index < stop`` along (z, y, x)."""

    start: Triplet
    stop: Triplet

    @classmethod
    def whole(cls, shape: Sequence[int]) -> Box:
        """Return the box that covers an array of ``shape`` (z, y, x)."""
        return cls((0, 0, 0), as_triplet(shape))

    @classmethod
    def at(cls, start: Sequence[int], shape: Sequence[int]) -> Box:
        """Return the box of ``shape`` whose first voxel is ``start``."""
        begin, size = as_triplet(start), as_triplet(shape)
        return cls(begin, _zip(begin, size, int.__add__))

    @property
    def shape(self) -> Triplet:
        """Size in voxels along (z, y, x); never negative."""
        return _zip(self.start, self.stop, lambda a, b: max(0, b - a))

    @property
    def size_voxels(self) -> int:
        """Number of voxels inside."""
        return math.prod(self.shape)

    @property
    def is_empty(self) -> bool:
        """Whether the box holds no voxel."""
        return self.size_voxels == 0

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Slices that cut this box out of a (z, y, x) array."""
        z, y, x = (slice(a, b) for a, b in zip(self.start, self.stop, strict=True))
        return (z, y, x)

    def grow(self, halo: int | Sequence[int]) -> Box:
        """Return the box with ``halo`` voxels added on both sides of each axis."""
        margin = as_triplet(halo)
        return Box(
            _zip(self.start, margin, int.__sub__),
            _zip(self.stop, margin, int.__add__),
        )

    def intersect(self, other: Box) -> Box:
        """Return the common part of two boxes; empty (not negative) where they are apart."""
        start = _zip(self.start, other.start, max)
        return Box(start, _zip(start, _zip(self.stop, other.stop, min), max))

    def clip(self, shape: Sequence[int]) -> Box:
        """Return the part of the box inside an array of ``shape``."""
        return self.intersect(Box.whole(shape))

    def shift(self, offset: Sequence[int]) -> Box:
        """Return the box moved by ``offset``."""
        by = as_triplet(offset)
        return Box(_zip(self.start, by, int.__add__), _zip(self.stop, by, int.__add__))

    def relative_to(self, other: Box) -> Box:
        """Return this box in the coordinates of ``other``, whose start becomes the origin."""
        return self.shift([-v for v in other.start])

    def contains(self, other: Box) -> bool:
        """Whether every voxel of ``other`` lies inside."""
        return self.intersect(other) == other

    def __str__(self) -> str:
        return " ".join(
            f"{axis}[{a}:{b}]" for axis, a, b in zip("zyx", self.start, self.stop, strict=True)
        )


def _zip(a: Triplet, b: Triplet, join: object) -> Triplet:
    z, y, x = (join(u, v) for u, v in zip(a, b, strict=True))  # type: ignore[operator]
    return (z, y, x)


def tile(shape: Sequence[int], block: int | Sequence[int]) -> Iterator[Box]:
    """Yield boxes of at most ``block`` voxels that cover ``shape`` once, z slowest.

    Raises
    ------
    ConfigError
        If a block edge is not positive.
    """
    size, step = as_triplet(shape), as_triplet(block)
    if min(step) < 1:
        raise ConfigError(f"block edges must be at least 1 voxel, got {step}")
    for z in range(0, size[0], step[0]):
        for y in range(0, size[1], step[1]):
            for x in range(0, size[2], step[2]):
                yield Box.at((z, y, x), step).clip(size)


@dataclass(frozen=True, slots=True)
class VoxelSize:
    """Distance between voxel centres in micrometres along (z, y, x).

    Raises
    ------
    DataError
        If a size is not finite and positive.
    """

    z_um: float
    y_um: float
    x_um: float

    def __post_init__(self) -> None:
        if not all(math.isfinite(v) and v > 0 for v in self.zyx_um):
            raise DataError(f"voxel sizes must be positive numbers of micrometres, got {self}")

    @classmethod
    def of(cls, zyx_um: Sequence[float]) -> VoxelSize:
        """Build from a (z, y, x) sequence in micrometres."""
        if len(zyx_um) != 3:
            raise DataError(f"a voxel size needs three numbers (z y x) in µm, got {list(zyx_um)}")
        return cls(*(float(v) for v in zyx_um))

    @property
    def zyx_um(self) -> tuple[float, float, float]:
        """The three sizes as a tuple."""
        return (self.z_um, self.y_um, self.x_um)

    @property
    def anisotropy(self) -> float:
        """Largest size over smallest."""
        return max(self.zyx_um) / min(self.zyx_um)

    def scaled(self, factor: Sequence[float]) -> VoxelSize:
        """Return the voxel size after downsampling by ``factor`` along (z, y, x)."""
        return VoxelSize.of([v * f for v, f in zip(self.zyx_um, factor, strict=True)])

    def __str__(self) -> str:
        return f"z {self.z_um:g}, y {self.y_um:g}, x {self.x_um:g} µm"
