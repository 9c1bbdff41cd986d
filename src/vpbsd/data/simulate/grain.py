"""Noise that belongs to a place: the same numbers for the same voxels, however a volume is cut.

A generator that counts voxels would cost more than the whole image. Instead each run of 64 voxels
along x reads a table of a million normal deviates at a place that a hash of seed, z, y and run
picks (splitmix64; Steele, Lea & Flood, OOPSLA 2014).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vpbsd.geometry import Box

__all__ = ["RUN_VOXELS", "Grain"]

RUN_VOXELS = 64

_TABLE = 1 << 20
_STEPS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)  # odd, for z, y and run
_ALL = (1 << 64) - 1


class Grain:
    """Normal deviates by absolute position.

    Parameters
    ----------
    seed
        Any non-negative integer.
    """

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng([seed, 2])
        self._salt = int(rng.integers(0, 1 << 63))
        table = rng.standard_normal(_TABLE + RUN_VOXELS, dtype=np.float32)
        self._runs = np.lib.stride_tricks.sliding_window_view(table, RUN_VOXELS)

    def pair(self, box: Box) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return two independent deviates a voxel for a box within one run of 64 along x."""
        run, first = divmod(box.start[2], RUN_VOXELS)
        key = self._key(box, run)
        along = slice(first, first + box.shape[2])
        low = (key & np.uint64(_TABLE - 1)).astype(np.int64)
        high = (key >> np.uint64(64 - 20)).astype(np.int64)
        return self._runs[low][..., along], self._runs[high][..., along]

    def plane(self, box: Box) -> NDArray[np.float64]:
        """Return one number in 0..1 for each line (z, y) of a box, the same for all x."""
        key = self._key(box, 0) ^ np.uint64(_ALL)
        return _mixed(key) / np.float64(_ALL)

    def _key(self, box: Box, run: int) -> NDArray[np.uint64]:
        z, y = (np.arange(a, b).astype(np.uint64) for a, b in _edges(box))
        z *= np.uint64(_STEPS[0])
        y *= np.uint64(_STEPS[1])
        salt = np.uint64((self._salt + run * _STEPS[2]) & _ALL)
        # A sum alone would put equal keys on lines across z and y.
        return _mixed(_mixed(z + salt)[:, None] + y)


def _edges(box: Box) -> tuple[tuple[int, int], tuple[int, int]]:
    return (box.start[0], box.stop[0]), (box.start[1], box.stop[1])


def _mixed(key: NDArray[np.uint64]) -> NDArray[np.uint64]:
    key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: NDArray[np.uint64] = key ^ (key >> np.uint64(31))
    return mixed
