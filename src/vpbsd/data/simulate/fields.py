"""Smooth random fields and wide blurs, computed on a coarse grid.

A field is ``Σ_ijk w_i(z) w_j(y) w_k(x) c_ijk`` with quadratic B-spline weights ``w``: smooth, and
three small matrix products whatever its scale.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["random_waves", "smooth_field", "spline_weights", "wide_blur"]

Floats = NDArray[np.float32]


def spline_weights(size: int, step: float) -> Floats:
    """Return the (size, n) weights of n coarse points ``step`` voxels apart; rows sum to 1."""
    at = (np.arange(size) + 0.5) / step
    count = int(np.floor(at[-1])) + 3
    distance = np.abs(at[:, None] + 1.0 - (np.arange(count)[None] + 0.5))
    weights = np.where(
        distance < 0.5, 0.75 - distance**2, 0.5 * np.maximum(1.5 - distance, 0.0) ** 2
    )
    return weights.astype(np.float32)


def _apply(weights: Sequence[Floats], field: Floats) -> Floats:
    for axis, matrix in enumerate(weights):
        field = np.moveaxis(np.tensordot(matrix, field, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(field)


def smooth_field(
    shape: Sequence[int],
    voxel_um: Sequence[float],
    scale_um: float,
    rng: np.random.Generator,
) -> Floats:
    """Return a random (z, y, x) field of mean 0 and deviation about 1 that varies over a scale."""
    weights = [
        spline_weights(n, max(scale_um / v, 2.0)) for n, v in zip(shape, voxel_um, strict=True)
    ]
    coarse = rng.standard_normal([w.shape[1] for w in weights], dtype=np.float32)
    # Mean square of the weights is 0.55 an axis; the factor restores the deviation.
    return _apply(weights, coarse * np.float32(0.55**-1.5))


def wide_blur(volume: Floats, voxel_um: Sequence[float], scale_um: float) -> Floats:
    """Return ``volume`` blurred over about ``scale_um`` (a deviation of 0.7 of it)."""
    up = [
        spline_weights(n, max(scale_um / v, 2.0))
        for n, v in zip(volume.shape, voxel_um, strict=True)
    ]
    down = [(w / np.maximum(w.sum(axis=0), 1e-6)).T for w in up]
    return _apply(up, _apply(down, volume))


def random_waves(
    positions_um: NDArray[np.floating],
    wavelength_um: float,
    rng: np.random.Generator,
    waves: int = 24,
) -> NDArray[np.float64]:
    """Return a smooth random value (mean 0, deviation 1) at each of (K, 3) positions."""
    direction = rng.normal(0.0, 2 * np.pi / (wavelength_um * np.sqrt(3)), (3, waves))
    phase = rng.uniform(0.0, 2 * np.pi, waves)
    value: NDArray[np.float64] = np.cos(positions_um @ direction + phase).sum(axis=1)
    value *= np.sqrt(2.0 / waves)
    return value
