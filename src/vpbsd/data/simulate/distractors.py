"""Bright puncta, cell bodies and thin fibres: what a net must learn not to call a vessel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vpbsd.data.simulate.capsules import Capsules, Grid, distance_to_capsules
from vpbsd.data.simulate.microscope import Distractors
from vpbsd.data.simulate.raster import occupancy
from vpbsd.geometry import VoxelSize, as_triplet

__all__ = ["draw_distractors"]

Floats = NDArray[np.float64]

_FIBRE_PIECES = 40


def draw_distractors(
    shape: Sequence[int],
    voxel_size: VoxelSize,
    distractors: Distractors,
    contrast: float,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Return the (z, y, x) brightness of puncta, cells and fibres before blur.

    ``contrast`` is the brightness of the median vessel over background.
    """
    z, y, x = as_triplet(shape)
    field = np.array([z, y, x]) * np.array(voxel_size.zyx_um)
    share = z * y * x / 1e6
    puncta, cells, fibres = (
        int(rng.poisson(n * share))
        for n in (distractors.puncta, distractors.cells, distractors.fibres)
    )
    if puncta + cells + fibres == 0:
        return np.zeros((z, y, x), np.float32)
    pixel = float(np.sqrt(voxel_size.y_um * voxel_size.x_um))
    drawn = [
        _puncta(puncta, field, pixel, rng),
        _cells(cells, field, distractors.cell_radius_um, rng),
        _fibres(fibres, field, pixel, rng),
    ]
    a, b, radius, bright = (np.concatenate(column) for column in zip(*drawn, strict=True))
    width = float(np.cbrt(np.prod(voxel_size.zyx_um)))
    grid = Grid((z, y, x), voxel_size.zyx_um)
    distance, nearest = distance_to_capsules(grid, Capsules(a, b, radius, radius), 0.5 * width)
    level = np.append(bright * contrast * distractors.brightness, 0.0).astype(np.float32)
    light: NDArray[np.float32] = occupancy(distance, width) * level[nearest]
    return light


_Drawn = tuple[Floats, Floats, Floats, Floats]


def _puncta(count: int, field: Floats, pixel: float, rng: np.random.Generator) -> _Drawn:
    at = rng.uniform(0, 1, (count, 3)) * field
    radius = pixel * rng.uniform(0.4, 1.3, count)
    return at, at, radius, 4 * np.exp(rng.normal(0, 0.6, count))


def _cells(count: int, field: Floats, median: float, rng: np.random.Generator) -> _Drawn:
    at = rng.uniform(0, 1, (count, 3)) * field
    radius = np.clip(median * np.exp(rng.normal(0, 0.2, count)), 3.0, 8.0)
    half = rng.normal(0, 0.25, (count, 3)) * radius[:, None]
    return at - half, at + half, radius, np.exp(rng.normal(0, 0.4, count))


def _fibres(count: int, field: Floats, pixel: float, rng: np.random.Generator) -> _Drawn:
    heading = rng.normal(size=(count, 1, 3)) + np.cumsum(
        rng.normal(0, 0.15, (count, _FIBRE_PIECES, 3)), axis=1
    )
    heading /= np.linalg.norm(heading, axis=2, keepdims=True)
    step = field.max() / _FIBRE_PIECES
    path = np.cumsum(heading * step, axis=1)
    path += rng.uniform(0, 1, (count, 1, 3)) * field - path[:, _FIBRE_PIECES // 2, None]
    a, b = path[:, :-1].reshape(-1, 3), path[:, 1:].reshape(-1, 3)
    radius = np.repeat(pixel * rng.uniform(0.3, 0.6, count), _FIBRE_PIECES - 1)
    bright = np.repeat(np.exp(rng.normal(-0.3, 0.4, count)), _FIBRE_PIECES - 1)
    return a, b, radius, bright
