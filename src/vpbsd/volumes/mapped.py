"""A volume whose file holds one array, with its axes in any order."""

from __future__ import annotations

import itertools
import os
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from vpbsd.errors import VolumeFormatError
from vpbsd.geometry import Box, VoxelSize
from vpbsd.volumes.axes import AxisMap, Stored
from vpbsd.volumes.volume import Volume

__all__ = ["MappedVolume", "choose_array", "map_contiguous", "read_mapped"]


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
        return read_mapped(self._stored(), self._axes, box, channels)

    def _state_files(self) -> Iterable[Path]:
        return (self.path,)


def map_contiguous(
    path: Path, offset: int, dtype: np.dtype[Any], shape: tuple[int, ...]
) -> NDArray[Any]:
    """Map the voxels of an uncompressed file into memory.

    Mapped anew for each read, so that pages touched earlier do not stay in the process.

    Raises
    ------
    ValueError
        If the file ends before the array does.
    """
    return np.memmap(path, dtype, mode="r", offset=offset, shape=shape)


def read_mapped(stored: Stored, axes: AxisMap, box: Box, channels: Sequence[int]) -> NDArray[Any]:
    """Cut a box out of an array; if it is mapped from a file, let the system fetch it first.

    Returns
    -------
    ndarray, (len(channels), z, y, x)
    """
    if isinstance(stored, np.memmap):
        _read_ahead(stored, axes.cut(stored, box, channels))
    return axes.read(stored, box, channels)


def _read_ahead(mapped: np.memmap[Any, Any], part: NDArray[Any]) -> None:
    """Ask for all pages of ``part``, a view of ``mapped``, at once.

    Left to page faults, a box that is not in the page cache comes in pieces of 128 KiB, one
    after the other, which was measured to take eight times as long.
    """
    if not hasattr(os, "posix_fadvise") or mapped.filename is None or part.size == 0:
        return
    begin = mapped.offset + part.ctypes.data - mapped.ctypes.data
    steps = sorted(zip(part.strides, part.shape, strict=True), reverse=True)
    # One request a plane: rows of a plane lie so close together that what is between them is
    # fetched too, and will be needed by the next box along x.
    outer, inner = steps[:-2], steps[-2:]
    length = sum(stride * (n - 1) for stride, n in inner) + part.itemsize
    file = os.open(mapped.filename, os.O_RDONLY)
    try:
        for index in itertools.product(*(range(n) for _, n in outer)):
            start = begin + sum(i * s for i, (s, _) in zip(index, outer, strict=True))
            os.posix_fadvise(file, start, length, os.POSIX_FADV_WILLNEED)
    finally:
        os.close(file)


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
