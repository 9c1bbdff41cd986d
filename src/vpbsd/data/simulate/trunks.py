"""The great vessels of a brain: venous sinuses, arteries over the surface, branches that dive in.

They are capsules in micrometres and drawn exactly, not taken from the mirrored specimen, so that
no two parts of the brain look alike from afar.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vpbsd.data.simulate.capsules import Capsules, Grid, distance_to_capsules
from vpbsd.data.simulate.outline import HEMISPHERE
from vpbsd.geometry import Box, Triplet, VoxelSize

__all__ = ["Trunks", "grow_trunks"]

Floats = NDArray[np.float64]

_ROOTS_A_SIDE = 5
_STEP = 0.045  # along the surface, as a share of the hemisphere
_MOST_STEPS = 34
_DIVE_STEPS = 8
_TAPER = 0.97
"""Share of the radius that is left after a step."""
_SHEDS = 0.85
"""Share of the radius that is left after a branching (Murray: the branch takes 0.39^(1/3))."""
_SINUS_STEPS = 48


@dataclass(frozen=True, eq=False)
class Trunks:
    """Capsules of the great vessels, and how to draw those of one cell.

    Attributes
    ----------
    capsules
        In micrometres from the centre of voxel (0, 0, 0).
    voxel_size
        Of the volume.
    reach_um
        Distances to a wall are computed up to this.
    """

    capsules: Capsules
    voxel_size: VoxelSize
    reach_um: float

    def distance_um(self, cell: Box) -> NDArray[np.float32] | None:
        """Return the signed distance to the nearest wall, negative inside; None if all are far.

        The last digits depend on the box, so whoever wants the same answer for any cut must ask
        for the same boxes.
        """
        first, stop = self._boxes
        near = ((stop > cell.start) & (first < cell.stop)).all(axis=1)
        if not near.any():
            return None
        some = Capsules(
            self.capsules.a_um[near],
            self.capsules.b_um[near],
            self.capsules.radius_a_um[near],
            self.capsules.radius_b_um[near],
        )
        size = self.voxel_size.zyx_um
        z, y, x = (i * v for i, v in zip(cell.start, size, strict=True))
        grid = Grid(cell.shape, size, (z, y, x))
        distance, _ = distance_to_capsules(grid, some, self.reach_um)
        return distance

    @cached_property
    def _boxes(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First voxel of each capsule's box, and the one after its last."""
        grid = Grid((1, 1, 1), self.voxel_size.zyx_um)
        first, count = self.capsules.boxes(grid, self.reach_um)
        return first, first + count


@dataclass(frozen=True, eq=False)
class _Path:
    """Points (P, 3) between -1 and 1 along each axis, and radii (P,) in shares of the widest."""

    points: Floats
    radii: Floats


def grow_trunks(shape: Triplet, voxel_size: VoxelSize, seed: int, reach_um: float) -> Trunks:
    """Grow the great vessels of a brain of ``shape`` (z, y, x) voxels."""
    rng = np.random.default_rng([seed, 1])
    paths = list(_sinuses())
    for side in (-1.0, 1.0):
        for path in _arteries(rng):
            points = path.points.copy()
            points[:, 2] *= side
            paths.append(_Path(points, path.radii))
    half = np.array([n * v / 2 for n, v in zip(shape, voxel_size.zyx_um, strict=True)])
    shift = half - np.array(voxel_size.zyx_um) / 2
    # A sinus of a brain of 2 mm has 20 µm; nothing is thinner than a voxel can show.
    widest, thinnest = 0.02 * float(half.min()), 0.9 * max(voxel_size.zyx_um)
    a, b, radius_a, radius_b = [], [], [], []
    for path in paths:
        points = path.points * half + shift
        radii = np.maximum(path.radii * widest, thinnest)
        a.append(points[:-1])
        b.append(points[1:])
        radius_a.append(radii[:-1])
        radius_b.append(radii[1:])
    capsules = Capsules(*(np.concatenate(part) for part in (a, b, radius_a, radius_b)))
    return Trunks(capsules, voxel_size, reach_um)


def _sinuses() -> Iterator[_Path]:
    """Yield the sagittal sinus along the upper midline, and one to each side behind it."""
    centre, axes = np.array(HEMISPHERE.centre), np.array(HEMISPHERE.semi_axes)
    y = np.linspace(-0.64, 0.4, _SINUS_STEPS)
    across = 1 - (centre[2] / axes[2]) ** 2 - ((y - centre[1]) / axes[1]) ** 2
    z = centre[0] - axes[0] * np.sqrt(np.maximum(across, 0.0))
    points = np.stack([z, y, np.zeros_like(y)], axis=1)
    yield _Path(points, np.linspace(0.6, 1.0, _SINUS_STEPS))
    for side in (-1.0, 1.0):
        turn = np.linspace(0.0, 1.0, _SINUS_STEPS)
        x = side * 0.6 * np.sin(turn * np.pi / 2)
        lower = points[-1, 0] + 0.55 * (1 - np.cos(turn * np.pi / 2))
        yield _Path(np.stack([lower, y[-1] + 0.06 * turn, x], axis=1), 0.9 - 0.3 * turn)


def _arteries(rng: np.random.Generator) -> Iterator[_Path]:
    """Yield arteries over one hemisphere, from below, with their branches and those that dive."""
    for turn in np.linspace(-0.7, 0.8, _ROOTS_A_SIDE):
        start = _unit(np.array([0.75, turn, 0.35 + 0.2 * rng.random()]))
        heading = np.array([-0.6, 0.3 * turn, 1.0]) + 0.3 * rng.normal(size=3)
        yield from _over_surface(start, heading, 0.6, rng)


def _over_surface(
    at: Floats, heading: Floats, radius: float, rng: np.random.Generator
) -> Iterator[_Path]:
    points, radii = [at], [radius]
    side = float(rng.choice((-1.0, 1.0)))
    while len(points) < _MOST_STEPS and radius > 0.12:
        heading = heading - at * (heading @ at)  # stays on the surface
        heading = _unit(_unit(heading) + 0.16 * rng.normal(size=3))
        at = _unit(at + _STEP * heading)
        radius *= _TAPER
        if _in_space(at)[2] < 0.06:
            break  # the other hemisphere has its own
        points.append(at)
        radii.append(radius)
        if rng.random() < 0.14 and radius > 0.2:
            across = np.cross(at, heading)
            side = -side
            yield from _over_surface(at, _unit(heading + side * across), 0.73 * radius, rng)
            radius *= _SHEDS
        if rng.random() < 0.45:
            yield _dive(at, 0.45 * radius, rng)
    if len(points) > 1:
        yield _Path(_in_space(np.array(points)), np.array(radii))


def _dive(at: Floats, radius: float, rng: np.random.Generator) -> _Path:
    """Return a vessel straight into the tissue, as those of the cortex are."""
    deep = rng.uniform(0.12, 0.5)
    wander = np.cumsum(0.012 * rng.normal(size=(_DIVE_STEPS, 3)), axis=0)
    inward = at * (1 - deep * np.linspace(0, 1, _DIVE_STEPS))[:, None] + wander - wander[0]
    return _Path(_in_space(inward), radius * np.linspace(1.0, 0.55, _DIVE_STEPS))


def _in_space(on_sphere: Floats) -> Floats:
    """Map the unit sphere to the hemisphere on the side of high x."""
    place: Floats = np.array(HEMISPHERE.centre) + on_sphere * np.array(HEMISPHERE.semi_axes)
    return place


def _unit(vector: Floats) -> Floats:
    unit: Floats = vector / np.linalg.norm(vector)
    return unit
