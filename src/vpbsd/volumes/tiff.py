"""TIFF: OME-TIFF, ImageJ stacks and hyperstacks, plain stacks, BigTIFF.

Uncompressed stacks that lie in one run are mapped into memory; that is also how ImageJ writes
stacks above 4 GB, with one page for all planes. Anything else is read strip by strip or tile by
tile. Colour samples are read as channels.
"""

from __future__ import annotations

import logging
import math
import re
import threading
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from vpbsd.errors import VolumeFormatError
from vpbsd.geometry import Triplet, VoxelSize
from vpbsd.volumes.axes import AxisMap, Stored
from vpbsd.volumes.mapped import MappedVolume, map_contiguous
from vpbsd.volumes.segments import PageArray, page_chunk
from vpbsd.volumes.units import voxel_size_from
from vpbsd.volumes.volume import Volume, checked_dtype, damaged

__all__ = ["axis_letters", "open_tiff", "refuse_complaints", "tiff_complaints"]

_log = logging.getLogger(__name__)

# tifffile says these in its log only, and goes on with the pages and tags that it could find:
# without its description an OME-TIFF would pass for a plain stack. Tags other than description,
# resolution and the places of strips and tiles may be broken.
_TRUNCATED = re.compile(
    r"invalid page offset|corrupt|failed to reshape|failed to read"
    r"|TiffTag (270|273|279|282|283|324|325) .*invalid value offset"
)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a series lies in its file; ``offset`` is None unless it is one uncompressed run.

    ``chunk`` is the size along (z, y, x) of the strips or tiles of a series that is no such run.
    """

    series: int
    offset: int | None
    dtype: np.dtype[Any]
    chunk: Triplet | None


class _TiffVolume(MappedVolume):
    def __init__(self, path: Path, axes: AxisMap, size: VoxelSize | None, place: _Place) -> None:
        super().__init__(path, axes, place.dtype, size)
        self._place = place

    @property
    def chunk_voxels(self) -> Triplet | None:
        return self._place.chunk

    def _stored(self) -> Stored:
        place = self._place
        if place.offset is not None:
            return map_contiguous(self.path, place.offset, place.dtype, self._axes.stored_shape)
        pages: Stored = self._opened(lambda: _OpenSeries.of(self.path, place.series)).array
        return pages


@dataclass(frozen=True, slots=True)
class _OpenSeries:
    """A file that stays open, since the offsets of thousands of pages are slow to collect."""

    file: tifffile.TiffFile
    array: PageArray

    @classmethod
    def of(cls, path: Path, series: int) -> _OpenSeries:
        with tiff_complaints():
            file = tifffile.TiffFile(path)
            found = file.series[series]
            return cls(file, PageArray(found, axis_letters(found)))

    def close(self) -> None:
        self.file.close()


def open_tiff(path: Path, key: str | None) -> Volume:
    """Open a TIFF stack.

    Parameters
    ----------
    path : Path
        The file; of a multi-file OME-TIFF, any of its files.
    key : str, optional
        Number of the series, from 0, where there are several.

    Raises
    ------
    VolumeFormatError
        If it is not TIFF, truncated, 2D, a time series, or holds several images and no key.
    """
    source = str(path)
    with tiff_complaints() as complaints, tifffile.TiffFile(path) as tif:
        # Counting the pages walks along all of them, which finds a file that ends too soon.
        _ = len(tif.pages)
        number = _series_number(tif, source, key)
        series = tif.series[number]
        offset = series.dataoffset
        if offset is None and any(page is None for page in series.pages):
            raise VolumeFormatError(
                f"'{source}' belongs to a set of files of which some are missing; "
                "put all of them into one folder"
            )
        refuse_complaints(source, complaints)
        dtype = checked_dtype(series.dtype, source)
        axes = AxisMap.of(axis_letters(series), series.shape, source)
        voxel_size = _voxel_size(tif, number)
        chunk = None
        if offset is None:
            sizes = page_chunk(series.keyframe)
            chunk = (sizes.get("z", 1), sizes["y"], sizes["x"])
        place = _Place(number, offset, dtype.newbyteorder(tif.byteorder), chunk)
    if offset is not None:
        _refuse_short(path, offset + math.prod(axes.stored_shape) * dtype.itemsize)
    return _TiffVolume(path, axes, voxel_size, place)


def _series_number(tif: tifffile.TiffFile, source: str, key: str | None) -> int:
    count = len(tif.series)
    if count == 0:
        raise damaged(source, "it holds no image")
    if key is None and count == 1:
        return 0
    if key is not None and key.isdecimal() and int(key) < count:
        return int(key)
    listed = ", ".join(f"{i}: {s.axes} {s.shape}" for i, s in enumerate(tif.series[:8]))
    raise VolumeFormatError(
        f"'{source}' holds {count} image(s) of different shapes or kinds ({listed}); "
        f"choose one with --key 0 to {count - 1}, or save the volume by itself"
    )


def axis_letters(series: tifffile.TiffPageSeries) -> str:
    """Return the letters of a series' axes.

    Axes without a meaning (a plain stack of pages) are z, and, before z, c.
    """
    letters = str(series.axes).lower()
    for meaning in "zc":
        nameless = [i for i, letter in enumerate(letters) if letter in "qi"]
        if nameless and meaning not in letters:
            last = nameless[-1]
            letters = letters[:last] + meaning + letters[last + 1 :]
    return letters


def _refuse_short(path: Path, expected_bytes: int) -> None:
    found = path.stat().st_size
    if found < expected_bytes:
        raise VolumeFormatError(
            f"'{path}' is truncated: {found:,} of at least {expected_bytes:,} bytes are there; "
            "copy it again"
        )


class _Listener(logging.Filter):
    """Keeps what tifffile logs in this thread, instead of letting it through."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []
        self._thread = threading.get_ident()

    def filter(self, record: logging.LogRecord) -> bool:
        if threading.get_ident() != self._thread:
            return True
        message = record.getMessage()
        _log.debug("tifffile: %s", message)
        if record.levelno >= logging.WARNING:
            self.messages.append(message)
        return False


@contextmanager
def tiff_complaints() -> Iterator[list[str]]:
    """Collect the warnings and errors that tifffile logs, in this thread, meanwhile."""
    listener = _Listener()
    logger = logging.getLogger("tifffile")
    logger.addFilter(listener)
    try:
        yield listener.messages
    finally:
        logger.removeFilter(listener)


def refuse_complaints(source: str, messages: list[str]) -> None:
    """Raise if tifffile found the file to end too soon.

    Raises
    ------
    VolumeFormatError
        Naming the first of the complaints.
    """
    for message in messages:
        if _TRUNCATED.search(message):
            raise damaged(source, message)


def _voxel_size(tif: tifffile.TiffFile, number: int) -> VoxelSize | None:
    if tif.ome_metadata:
        return _ome_voxel_size(tif.ome_metadata, number)
    if tif.imagej_metadata:
        return _imagej_voxel_size(tif.imagej_metadata, tif.pages[0])
    return None


def _ome_voxel_size(xml: str, number: int) -> VoxelSize | None:
    """Read ``PhysicalSizeZ`` and its unit, µm by default, of the image's Pixels element."""
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return None
    all_pixels = [e for e in root.iter() if e.tag.rpartition("}")[2] == "Pixels"]
    if number >= len(all_pixels):
        return None
    found = all_pixels[number].attrib
    texts = [found.get(f"PhysicalSize{axis}") for axis in "ZYX"]
    units = [found.get(f"PhysicalSize{axis}Unit", "µm") for axis in "ZYX"]
    try:
        return voxel_size_from([None if t is None else float(t) for t in texts], units)
    except ValueError:
        return None


def _imagej_voxel_size(metadata: dict[str, Any], page: Any) -> VoxelSize | None:
    """Read spacing and unit, and the pixels per unit of the resolution tags.

    ImageJ may state a separate unit for y and z; without one, ``unit`` holds for all axes.
    """
    unit = metadata.get("unit")
    steps: list[float | None] = []
    spacing = metadata.get("spacing")
    steps.append(float(spacing) if isinstance(spacing, int | float) else None)
    for name in ("YResolution", "XResolution"):
        tag = page.tags.get(name)
        pixels, per = tag.value if tag is not None else (0, 1)
        steps.append(per / pixels if pixels else None)
    units = [metadata.get("zunit", unit), metadata.get("yunit", unit), unit]
    return voxel_size_from(steps, [u if isinstance(u, str) else None for u in units])
