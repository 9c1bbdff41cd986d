"""A volume whose file holds one array, with its axes in any order."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from numpy.typing import DTypeLike, NDArray

from vpbsd.geometry import Box, VoxelSize
from vpbsd.volumes.axes import AxisMap, Stored
from vpbsd.volumes.volume import Volume

__all__ = ["MappedVolume"]


class MappedVolume(Volume):
    """Base of the readers that find one array in a file and cut boxes out of it.

    Parameters
    ----------
    path : Path
        The file or folder.
    axes : AxisMap
        How the stored axes map to (c, z, y, x).
    dtype : numpy dtype
        Of the values returned.
    voxel_size_um : VoxelSize or None
        Micrometres along (z, y, x).
    """

    def __init__(
        self, path: Path, axes: AxisMap, dtype: DTypeLike, voxel_size_um: VoxelSize | None
    ) -> None:
        super().__init__(str(path), axes.shape, dtype, voxel_size_um)
        self.path = path
        self._axes = axes

    @abstractmethod
    def _stored(self) -> Stored:
        """Return the array, opening the file if need be."""

    def _read(self, box: Box, channels: tuple[int, ...]) -> NDArray[Any]:
        return self._axes.read(self._stored(), box, channels)

    def _state_files(self) -> Iterable[Path]:
        return (self.path,)
