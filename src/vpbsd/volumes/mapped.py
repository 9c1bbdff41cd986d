"""A volume whose file holds one array, with its axes in any order."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import DTypeLike, NDArray

from vpbsd.errors import VolumeFormatError
from vpbsd.geometry import Box, VoxelSize
from vpbsd.volumes.axes import AxisMap, Stored
from vpbsd.volumes.volume import Volume

__all__ = ["MappedVolume", "choose_array"]


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


def choose_array(source: str, key: str | None, found: Sequence[str], key_exists: bool) -> str:
    """Return the name of the array to read.

    Raises
    ------
    VolumeFormatError
        If ``key`` names none, or there is not exactly one candidate and no key.
    """
    listed = ", ".join(found) or "none"
    if key is not None:
        if not key_exists:
            raise VolumeFormatError(f"'{source}' holds no array '{key}'; it holds: {listed}")
        return key
    if len(found) != 1:
        raise VolumeFormatError(
            f"'{source}' must hold exactly one 3D or 4D array of numbers, but holds "
            f"{len(found)}: {listed}; choose one with --key NAME"
        )
    return found[0]
