"""Some channels of a volume, as a volume."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from numpy.typing import NDArray

from vpbsd.errors import DataError
from vpbsd.geometry import Box, Triplet
from vpbsd.volumes import Volume

__all__ = ["SelectedChannels"]


class SelectedChannels(Volume):
    """The given channels of a volume, in the given order, read as lazily as before.

    Parameters
    ----------
    volume
        Where they come from; it must stay open.
    channels
        Counted from 0.

    Raises
    ------
    DataError
        If there is no such channel, or none is chosen.
    """

    _reads_new = True  # what the volume's own read() returned is nobody else's

    def __init__(self, volume: Volume, channels: Sequence[int]) -> None:
        chosen = tuple(int(c) for c in channels)
        if not chosen or not all(0 <= c < volume.channels for c in chosen):
            raise DataError(
                f"channels {list(chosen)} were chosen, but '{volume.source}' has "
                f"{volume.channels}, counted from 0"
            )
        shape = (len(chosen), *volume.shape_zyx)
        super().__init__(volume.source, shape, volume.dtype, volume.voxel_size_um)
        self._volume = volume
        self._channels = chosen

    def _read(self, box: Box, channels: tuple[int, ...]) -> NDArray[Any]:
        return self._volume.read(box, [self._channels[c] for c in channels])

    @property
    def chunk_voxels(self) -> Triplet | None:
        """As of the volume inside."""
        return self._volume.chunk_voxels

    def coarser(self, max_voxels: int) -> tuple[Volume, Triplet] | None:
        """Return a level of the volume's pyramid, with these channels."""
        found = self._volume.coarser(max_voxels)
        return found and (SelectedChannels(found[0], self._channels), found[1])

    def _state(self) -> Iterable[str]:
        return self._volume._state()
