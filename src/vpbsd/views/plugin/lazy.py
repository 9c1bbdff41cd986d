"""A volume as a dask array: napari asks for a slice, and only its chunks are read."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpbsd.geometry import Box, as_triplet
from vpbsd.volumes import Volume

__all__ = ["as_dask"]

_CHUNK_VOXELS = 64


def as_dask(volume: Volume, channel: int = 0) -> Any:
    """Return one channel of a volume as a lazy dask array (z, y, x) in its own chunks."""
    import dask.array

    chunk = volume.chunk_voxels or (_CHUNK_VOXELS,) * 3
    chunks = tuple(min(c, n) for c, n in zip(chunk, volume.shape_zyx, strict=True))
    from_array: Any = dask.array.from_array
    return from_array(
        _Channel(volume, channel),
        chunks=chunks,
        name=False,  # a random one: dask would read the volume to find a name by its values
        asarray=False,
        fancy=False,
        meta=np.empty((0, 0, 0), volume.dtype),
    )


class _Channel:
    """What dask needs of an array: a shape, a type, and reading by slices."""

    ndim = 3

    def __init__(self, volume: Volume, channel: int) -> None:
        self._volume, self._channel = volume, channel
        self.shape, self.dtype = volume.shape_zyx, volume.dtype

    def __getitem__(self, index: tuple[slice | int, ...]) -> NDArray[Any]:
        # The box around what is asked for is read; steps and single planes are taken out of it.
        whole = (slice(None),) * (self.ndim - len(index))
        spans, rest = [], []
        for asked, size in zip((*index, *whole), self.shape, strict=True):
            chosen = range(size)[asked]
            one = isinstance(chosen, int)
            places = range(chosen, chosen + 1) if isinstance(chosen, int) else chosen
            low, high = (min(places), max(places) + 1) if places else (0, 0)
            spans.append((low, high))
            rest.append(0 if one else slice(None, None, places.step))
        box = Box(as_triplet([a for a, _ in spans]), as_triplet([b for _, b in spans]))
        values: NDArray[Any] = self._volume.read(box, (self._channel,))[0][tuple(rest)]
        return values
