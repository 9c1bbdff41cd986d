"""A folder of TIFF planes, one file a plane, in natural order (img2 before img10)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import DTypeLike, NDArray

from vpbsd.errors import VolumeFormatError
from vpbsd.geometry import Box
from vpbsd.volumes.axes import AxisMap
from vpbsd.volumes.tiff import (
    axis_letters,
    map_contiguous,
    open_tiff,
    refuse_complaints,
    tiff_complaints,
)
from vpbsd.volumes.volume import Volume, checked_dtype

__all__ = ["natural_key", "open_planes"]

_SUFFIXES = (".tif", ".tiff")
_CHECKED_AT_OPENING = 256


class _PlanesVolume(Volume):
    def __init__(self, path: Path, files: Sequence[Path], plane: AxisMap, dtype: DTypeLike) -> None:
        channels, _, height, width = plane.shape
        super().__init__(str(path), (channels, len(files), height, width), dtype)
        self.files = tuple(files)
        self._plane = plane

    def _read(self, box: Box, channels: tuple[int, ...]) -> NDArray[Any]:
        plane = Box((0, *box.start[1:]), (1, *box.stop[1:]))
        planes = []
        for path in self.files[box.start[0] : box.stop[0]]:
            array, axes = _load(path)
            _refuse_other(path, array.dtype, axes, self)
            planes.append(axes.read(array, plane, channels))
        return np.concatenate(planes, axis=1)

    def _state_files(self) -> Iterable[Path]:
        return self.files


def natural_key(path: Path) -> list[tuple[int, str]]:
    """Return a sort key that compares runs of digits as numbers."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def open_planes(path: Path) -> Volume:
    """Open a folder of planes; the folder cannot state a voxel size.

    A folder that holds one multi-file OME-TIFF is read by its own metadata instead.

    Raises
    ------
    VolumeFormatError
        If there are no TIFF files, or they differ in shape or type, or are stacks themselves.
    """
    found = [f for f in path.iterdir() if f.is_file() and not f.name.startswith(".")]
    files = sorted((f for f in found if f.suffix.lower() in _SUFFIXES), key=natural_key)
    if not files:
        raise VolumeFormatError(
            f"the folder '{path}' holds no TIFF planes (.tif, .tiff) among its {len(found)} "
            "files; give the file itself, or a folder of planes"
        )
    if _is_ome_set(files[0]):
        return open_tiff(files[0], None)
    array, axes = _load(files[0])
    volume = _PlanesVolume(path, files, axes, checked_dtype(array.dtype, str(files[0])))
    # Ten thousand planes on a network drive take minutes to open: the rest is checked on reading.
    step = -(-len(files) // _CHECKED_AT_OPENING)
    for file in (*files[::step], files[-1]):
        other, other_axes = _load(file, voxels=False)
        _refuse_other(file, other.dtype, other_axes, volume)
    return volume


def _load(path: Path, *, voxels: bool = True) -> tuple[NDArray[Any], AxisMap]:
    """Return a plane as an array with a leading z axis of length 1, and its axes.

    Without ``voxels`` the array is empty and only its type counts.
    """
    with tiff_complaints() as complaints, tifffile.TiffFile(path, is_ome=False) as tif:
        series = tif.series[0]
        refuse_complaints(str(path), complaints)
        letters = axis_letters(series)
        if "z" in letters or len(tif.pages) > 1:
            raise VolumeFormatError(
                f"'{path}' is a stack, shape {series.shape}, where a single plane was expected; "
                "open the file itself, not its folder"
            )
        axes = AxisMap.of("z" + letters, (1, *series.shape), str(path))
        file_dtype = np.dtype(series.dtype).newbyteorder(tif.byteorder)
        offset = series.dataoffset
        if not voxels:
            return np.empty(0, file_dtype), axes
        if offset is None:
            return series.asarray()[np.newaxis], axes
    return map_contiguous(path, offset, file_dtype, axes.stored_shape), axes


def _refuse_other(path: Path, dtype: np.dtype[Any], axes: AxisMap, volume: _PlanesVolume) -> None:
    if axes.shape != volume._plane.shape or dtype.newbyteorder("=") != volume.dtype:
        channels, _, *plane = axes.shape
        first_channels, _, *first_plane = volume._plane.shape
        raise VolumeFormatError(
            f"plane '{path}' is {plane} with {channels} channel(s) of {dtype}, but the first "
            f"plane of '{volume.source}' is {first_plane} with {first_channels} of "
            f"{volume.dtype}; a folder must hold the planes of one volume only"
        )


def _is_ome_set(path: Path) -> bool:
    """Whether a one-page file's OME metadata describe a stack over several files."""
    with tiff_complaints(), tifffile.TiffFile(path) as tif:
        return bool(tif.is_ome and len(tif.pages) == 1 and "Z" in tif.series[0].axes)
