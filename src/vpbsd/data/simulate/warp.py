"""A smooth distortion of space, so that a repeated specimen does not look repeated.

Voxel p = (z, y, x) shows place p + d(p) of undistorted space, with displacements along each axis

    d(z, y, x) = round( Σ_k a_k cos(f_k z + φ_k) cos(g_k y + χ_k) cos(h_k x' + ψ_k) )

of whole voxels, where x' is the middle of a run of 8 voxels along x: short runs are copied whole,
which costs little, and image and truth are distorted alike. Where the displacement changes, a
vessel is off by one voxel from one line to the next, as in a microscope whose stage trembles.
"""

from __future__ import annotations

from functools import reduce

import numpy as np
from numpy.typing import NDArray

from vpbsd.geometry import Box, Triplet

__all__ = ["STRETCH_VOXELS", "Warp"]

STRETCH_VOXELS = 8
"""Runs along x that are displaced as one, counted from voxel 0."""

_WAVES = 3
_STEEPNESS = 0.16  # of each wave, amplitude times frequency: how much it stretches and slants
# Wavelengths in edges of the specimen; longer along x, for steps from run to run of one voxel.
_WAVELENGTHS = ((1.2, 3.4), (1.2, 3.4), (2.4, 5.0))

_Factors = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
_Places = NDArray[np.int64]


class Warp:
    """Displacements of the voxels of a volume.

    Parameters
    ----------
    shape
        (z, y, x) voxels of the volume.
    scale_voxels
        Edge of the specimen that must not be recognised.
    seed
        Any non-negative integer.
    """

    def __init__(self, shape: Triplet, scale_voxels: int, seed: int) -> None:
        rng = np.random.default_rng([seed, 6])
        self._waves = [[_wave(shape, scale_voxels, rng) for _ in range(_WAVES)] for _ in range(3)]

    def places(self, box: Box) -> tuple[_Places, _Places, _Places]:
        """Return z, y and x of the place that each run of a box starts at, (z, y, run) each.

        The box must start and end where runs do along x; a run may reach out of the volume.
        """
        z, y, x = box.slices
        runs = slice(x.start // STRETCH_VOXELS, x.stop // STRETCH_VOXELS)
        at = (
            np.arange(z.start, z.stop)[:, None, None],
            np.arange(y.start, y.stop)[:, None],
            np.arange(x.start, x.stop, STRETCH_VOXELS),
        )
        moved = []
        for axis, waves in enumerate(self._waves):
            each = [((a[z, None] * b[y])[:, :, None] * c[runs]) for a, b, c in waves]
            moved.append(at[axis] + np.rint(reduce(np.add, each)).astype(np.int64))
        return moved[0], moved[1], moved[2]


def _wave(shape: Triplet, scale: int, rng: np.random.Generator) -> _Factors:
    """Return the factors of one wave along z, along y, and for each run along x."""
    frequency = [2 * np.pi / (scale * rng.uniform(*longest)) for longest in _WAVELENGTHS]
    at = [
        np.arange(shape[0]),
        np.arange(shape[1]),
        np.arange(0, shape[2], STRETCH_VOXELS) + STRETCH_VOXELS / 2,
    ]
    z, y, x = (
        np.cos(f * place + rng.uniform(0, 2 * np.pi))
        for f, place in zip(frequency, at, strict=True)
    )
    z *= _STEEPNESS / max(frequency)
    return z.astype(np.float32), y.astype(np.float32), x.astype(np.float32)
