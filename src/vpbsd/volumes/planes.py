"""A folder of TIFF planes, one file a plane, in natural order (img2 before img10)."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from vpbsd.errors import VolumeFormatError
from vpbsd.geometry import Box, Triplet
from vpbsd.volumes.axes import AxisMap
from vpbsd.volumes.mapped import map_contiguous, read_mapped
from vpbsd.volumes.segments import page_chunk, read_page
from vpbsd.volumes.tiff import axis_letters, open_tiff, refuse_complaints, tiff_complaints
from vpbsd.volumes.volume import Volume, checked_dtype

__all__ = ["natural_key", "open_planes"]

_SUFFIXES = (".tif", ".tiff")
_CHECKED_AT_OPENING = 256


class _PlanesVolume(Volume):
    _reads_new = True

    def __init__(self, path: Path, files: Sequence[Path], plane: _Plane) -> None:
        channels, _, height, width = plane.axes.shape
        dtype = checked_dtype(plane.dtype, str(files[0]))
        super().__init__(str(path), (channels, len(files), height, width), dtype)
        self.files = tuple(files)
        self._first = plane
        # What was found in files of which all pixels lie in one run, by their z.
        self._runs: dict[int, tuple[_State, _Plane]] = {}

    @property
    def chunk_voxels(self) -> Triplet | None:
        return self._first.chunk

    def _read(self, box: Box, channels: tuple[int, ...]) -> NDArray[Any]:
        plane = Box((0, *box.start[1:]), (1, *box.stop[1:]))
        numbers = range(box.start[0], box.stop[0])
        return np.concatenate([self._read_plane(z, plane, channels) for z in numbers], axis=1)

    def _read_plane(self, z: int, box: Box, channels: tuple[int, ...]) -> NDArray[Any]:
        path = self.files[z]
        state = _state_of(path)
        known = self._runs.get(z)
        if known is not None and known[0] == state:
            return _read_run(path, known[1], box, channels)
        with _opened_plane(path) as (page, plane):
            _refuse_other(path, plane, self)
            if plane.offset is None:
                # The file is this read's own: nobody else waits for it.
                spans = dict(zip("yx", box.slices[1:], strict=True))
                cut = read_page(page, spans, threading.RLock())[np.newaxis]
                axes = AxisMap(plane.axes.letters, cut.shape)
                return axes.read(cut, Box.whole(box.shape), channels)
        self._runs[z] = (state, plane)
        return _read_run(path, plane, box, channels)

    def _state_files(self) -> Iterable[Path]:
        return self.files

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_runs": {}}


_State = tuple[int, int]


def _state_of(path: Path) -> _State:
    found = path.stat()
    return (found.st_size, found.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class _Plane:
    """How one plane lies in its file: ``offset`` is that of its one uncompressed run, if any."""

    dtype: np.dtype[Any]
    axes: AxisMap
    offset: int | None
    chunk: Triplet | None


def _read_run(path: Path, plane: _Plane, box: Box, channels: tuple[int, ...]) -> NDArray[Any]:
    assert plane.offset is not None
    array = map_contiguous(path, plane.offset, plane.dtype, plane.axes.stored_shape)
    # Copied here, since the file is closed with the mapping.
    return np.array(read_mapped(array, plane.axes, box, channels))


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
    with _opened_plane(files[0]) as (_, plane):
        volume = _PlanesVolume(path, files, plane)
    # Ten thousand planes on a network drive take minutes to open: the rest is checked on reading.
    step = -(-len(files) // _CHECKED_AT_OPENING)
    for file in (*files[::step], files[-1]):
        with _opened_plane(file) as (_, plane):
            _refuse_other(file, plane, volume)
    return volume


@contextmanager
def _opened_plane(path: Path) -> Iterator[tuple[tifffile.TiffPage, _Plane]]:
    """Open a file of one plane; its axes get a leading z of length 1."""
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
        dtype = np.dtype(series.dtype).newbyteorder(tif.byteorder)
        page = series.keyframe
        chunk = page_chunk(page)
        is_run = series.dataoffset is not None
        yield (
            page,
            _Plane(dtype, axes, series.dataoffset, None if is_run else (1, chunk["y"], chunk["x"])),
        )


def _refuse_other(path: Path, plane: _Plane, volume: _PlanesVolume) -> None:
    first = volume._first
    is_same_type = plane.dtype.newbyteorder("=") == volume.dtype
    if plane.axes.shape != first.axes.shape or not is_same_type:
        channels, _, *size = plane.axes.shape
        first_channels, _, *first_size = first.axes.shape
        raise VolumeFormatError(
            f"plane '{path}' is {size} with {channels} channel(s) of {plane.dtype}, but the first "
            f"plane of '{volume.source}' is {first_size} with {first_channels} of "
            f"{volume.dtype}; a folder must hold the planes of one volume only"
        )


def _is_ome_set(path: Path) -> bool:
    """Whether a one-page file's OME metadata describe a stack over several files."""
    with tiff_complaints(), tifffile.TiffFile(path) as tif:
        return bool(tif.is_ome and len(tif.pages) == 1 and "Z" in tif.series[0].axes)
