"""Imaris 5.5 ``.ims``: HDF5 with a fixed layout.

::

    DataSet/ResolutionLevel k/TimePoint 0/Channel n/Data    (z, y, x), padded to whole chunks
    DataSetInfo/Image        X Y Z (size), ExtMin0..2 ExtMax0..2 (extent along x, y, z), Unit

Attributes are texts stored as arrays of single bytes. Described in the Imaris file format
reference (Oxford Instruments).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from vpbsd.errors import VolumeFormatError
from vpbsd.geometry import Box, Triplet, VoxelSize, as_triplet
from vpbsd.volumes.units import voxel_size_from
from vpbsd.volumes.volume import Volume, VolumeShape, level_factor

__all__ = ["open_imaris"]

_IMAGE = "DataSetInfo/Image"


class _ImarisVolume(Volume):
    _reads_new = True

    def __init__(self, path: Path, level: int, stored: _Level, size: VoxelSize | None) -> None:
        super().__init__(str(path), stored.shape, stored.dtype, size)
        self.path = path
        self.level = level
        self._chunk = stored.chunk

    @property
    def chunk_voxels(self) -> Triplet | None:
        return self._chunk

    def coarser(self, max_voxels: int) -> tuple[Volume, Triplet] | None:
        file = self._opened(lambda: h5py.File(self.path, "r"))
        for level in range(self.level + 1, len(file["DataSet"])):
            stored = _Level.of(file, level, str(self.path))
            size_zyx = as_triplet(stored.shape[1:])
            factor = level_factor(self.shape_zyx, size_zyx)
            if factor is not None and math.prod(size_zyx) <= max_voxels:
                voxel_size = self.voxel_size_um and self.voxel_size_um.scaled(factor)
                return _ImarisVolume(self.path, level, stored, voxel_size), factor
        return None

    def _read(self, box: Box, channels: tuple[int, ...]) -> NDArray[Any]:
        # h5py lets one thread at a time into the library, so that reading needs no other lock.
        file = self._opened(lambda: h5py.File(self.path, "r"))
        time_point = file[f"{_level_name(self.level)}/TimePoint 0"]
        # The padding lies beyond the true size, so that a box inside the volume never meets it.
        return np.stack([time_point[f"Channel {c}/Data"][box.slices] for c in channels])

    def _state_files(self) -> Iterable[Path]:
        return (self.path,)


@dataclass(frozen=True, slots=True)
class _Level:
    """One resolution level: true shape (c, z, y, x), type, and chunk along (z, y, x)."""

    shape: VolumeShape
    dtype: np.dtype[Any]
    chunk: Triplet | None

    @classmethod
    def of(cls, file: Any, level: int, path: str) -> _Level:
        time_point = file[f"{_level_name(level)}/TimePoint 0"]
        count = sum(name.startswith("Channel ") for name in time_point)
        names = [f"Channel {c}" for c in range(count)]
        if not names or any(f"{name}/Data" not in time_point for name in names):
            raise VolumeFormatError(f"'{path}' lacks 'Channel 0/Data' or a later channel")
        stored = {(time_point[f"{name}/Data"].shape, _size(time_point[name])) for name in names}
        dtypes = {time_point[f"{name}/Data"].dtype for name in names}
        if len(stored) != 1 or len(dtypes) != 1:
            raise VolumeFormatError(f"the channels of '{path}' differ in shape or type")
        padded, size = stored.pop()
        if level == 0:
            size = size or _numbers(file[_IMAGE].attrs, ("Z", "Y", "X"))
        shape = padded if size is None else tuple(round(n) for n in size)
        if len(padded) != 3 or any(n > p for n, p in zip(shape, padded, strict=True)):
            raise VolumeFormatError(
                f"'{path}' states a size (z, y, x) of {shape}, but stores {padded}"
            )
        chunks = time_point["Channel 0/Data"].chunks
        return cls((count, *as_triplet(shape)), dtypes.pop(), chunks and as_triplet(chunks))


def open_imaris(path: Path) -> Volume:
    """Open the finest level of an Imaris file, its padding cut off.

    Raises
    ------
    VolumeFormatError
        If the layout is not Imaris 5.5, there are several time points, or channels differ.
    """
    with h5py.File(path, "r") as file:
        finest = _level_name(0)
        if finest not in file or _IMAGE not in file:
            raise VolumeFormatError(
                f"'{path}' has no '{finest}' and '{_IMAGE}': it is not an Imaris 5.5 file; "
                "if it is plain HDF5, rename it to .h5"
            )
        times = [name for name in file[finest] if name.startswith("TimePoint ")]
        if len(times) != 1:
            raise VolumeFormatError(
                f"'{path}' holds {len(times)} time points; save one time point from Imaris"
            )
        stored = _Level.of(file, 0, str(path))
        return _ImarisVolume(path, 0, stored, _voxel_size(file[_IMAGE].attrs, stored.shape[1:]))


def _level_name(level: int) -> str:
    return f"DataSet/ResolutionLevel {level}"


def _size(channel: Any) -> tuple[float, ...] | None:
    return _numbers(channel.attrs, ("ImageSizeZ", "ImageSizeY", "ImageSizeX"))


def _voxel_size(info: Any, shape: tuple[int, ...]) -> VoxelSize | None:
    low = _numbers(info, ("ExtMin2", "ExtMin1", "ExtMin0"))
    high = _numbers(info, ("ExtMax2", "ExtMax1", "ExtMax0"))
    if low is None or high is None:
        return None
    steps = [(b - a) / n for a, b, n in zip(low, high, shape, strict=True)]
    return voxel_size_from(steps, [_text(info, "Unit")] * 3)


def _numbers(attributes: Any, names: tuple[str, ...]) -> tuple[float, ...] | None:
    texts = [_text(attributes, name) for name in names]
    try:
        return tuple(float(text) for text in texts if text is not None) if all(texts) else None
    except ValueError:
        return None


def _text(attributes: Any, name: str) -> str | None:
    """Return an attribute that is an array of single bytes as text."""
    if name not in attributes:
        return None
    raw = attributes[name]
    joined = b"".join(np.ravel(raw).astype("S")) if isinstance(raw, np.ndarray) else raw
    text = joined.decode("latin-1") if isinstance(joined, bytes) else str(joined)
    return text.strip("\x00 ")
