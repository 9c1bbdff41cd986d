"""A volume as an array that reads only what it is asked for.

napari takes anything that has a shape, a type and slices. A dask array would do as well, but one
of a whole brain has millions of chunks, through which dask goes for each slice that is shown
(9 s for a slice of 10 000 x 10 000 x 10 000 voxels in chunks of 64).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from vpbsd.geometry import Box, as_triplet
from vpbsd.volumes import CachedVolume, Volume

__all__ = ["LazyArray", "lazy_channels"]

# Decoded chunks kept for the next slice, which most often lies in the same ones; an image is
# looked at in one or two levels of its pyramid at a time.
_CACHE_BYTES = 256 * 2**20


def lazy_channels(volume: Volume) -> list[LazyArray]:
    """Return one lazy array a channel, with a common cache of decoded chunks."""
    cached = CachedVolume(volume, _CACHE_BYTES)
    return [LazyArray(cached, channel) for channel in range(volume.channels)]


class LazyArray:
    """One channel of a volume, (z, y, x), read when it is indexed.

    Parameters
    ----------
    volume
        Stays open.
    channel
        Counted from 0.
    """

    ndim = 3

    def __init__(self, volume: Volume, channel: int = 0) -> None:
        self._volume, self._channel = volume, channel
        self.shape, self.dtype = volume.shape_zyx, volume.dtype
        self.size = math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Read all of it."""
        return np.asarray(self[...], dtype)

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """Read the box around what is asked for, and take steps and single planes out of it.

        Integers, slices and ``...``, as NumPy has them; other indices are refused.
        """
        spans: list[tuple[int, int]] = []
        rest: list[int | slice] = []
        for asked, size in zip(_full(index), self.shape, strict=True):
            if isinstance(asked, slice):
                places = range(size)[asked]
                rest.append(slice(None, None, places.step))
            else:
                place = range(size)[asked]
                places = range(place, place + 1)
                rest.append(0)
            spans.append((min(places), max(places) + 1) if places else (0, 0))
        box = Box(as_triplet([a for a, _ in spans]), as_triplet([b for _, b in spans]))
        values: NDArray[Any] = self._volume.read(box, (self._channel,))[0][tuple(rest)]
        return values

    def __repr__(self) -> str:
        return f"<channel {self._channel} of {self._volume!r}>"


def _full(index: Any) -> list[Any]:
    """Return an index with one item an axis."""
    items = list(index) if isinstance(index, tuple) else [index]
    if not any(item is Ellipsis for item in items):
        items.append(Ellipsis)
    at = next(i for i, item in enumerate(items) if item is Ellipsis)
    missing = LazyArray.ndim - (len(items) - 1)
    if missing < 0:
        raise IndexError(f"{len(items) - 1} indices for {LazyArray.ndim} axes")
    return [*items[:at], *[slice(None)] * missing, *items[at + 1 :]]
