"""The strips or tiles of TIFF pages that a box touches, and no others."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

__all__ = ["PageArray", "page_chunk", "read_page"]

Page = tifffile.TiffPage | tifffile.TiffFrame


class PageArray:
    """The pages of an open series as one array, cut by slices and numbers.

    Parameters
    ----------
    series : tifffile.TiffPageSeries
        Of a file that stays open; other files of a set are opened and closed for each read.
    letters : str
        The axes of the series, as :func:`~vpbsd.volumes.tiff.axis_letters` names them.

    Raises
    ------
    ValueError
        If the pages do not make up the last axes of the series.
    """

    def __init__(self, series: tifffile.TiffPageSeries, letters: str) -> None:
        first: Any = series.keyframe
        page_size = math.prod(first.shape)
        sizes = (math.prod(series.shape[i:]) for i in range(series.ndim))
        self._leading = next((i for i, n in enumerate(sizes) if n == page_size), series.ndim)
        if self._leading == series.ndim:
            raise ValueError(f"pages of {first.shape} do not make up {series.shape}")
        self._series = series
        self._letters = letters
        # A file has one place to read from, so that threads must take turns.
        self._reading = threading.RLock()

    def __getitem__(self, key: Sequence[slice | int], /) -> NDArray[Any]:
        """Return the part that ``key`` cuts out, one slice or number an axis."""
        spans = [k if isinstance(k, slice) else slice(k, k + 1) for k in key]
        pages, inside = spans[: self._leading], spans[self._leading :]
        out = np.empty([s.stop - s.start for s in spans], self._series.dtype)
        shape = self._series.shape[: self._leading]
        for at in np.ndindex(*out.shape[: self._leading]):
            index = [span.start + i for span, i in zip(pages, at, strict=True)]
            number = int(np.ravel_multi_index(index, shape)) if index else 0
            out[at] = self._read(number, inside)
        return out[tuple(slice(None) if isinstance(k, slice) else 0 for k in key)]

    def _read(self, number: int, spans: list[slice]) -> NDArray[Any]:
        letters = self._letters[self._leading :]
        spatial = {a: s for a, s in zip(letters, spans, strict=True) if a in "zyx"}
        with self._reading:
            page = self._series[number]
        if page is None:
            raise ValueError(f"page {number} is missing")
        block = read_page(page, spatial, self._reading)
        sizes = self._series.shape[self._leading :]
        lengths = [
            spatial[a].stop - spatial[a].start if a in spatial else n
            for a, n in zip(letters, sizes, strict=True)
        ]
        samples = [slice(None) if a in spatial else s for a, s in zip(letters, spans, strict=True)]
        return block.reshape(lengths)[tuple(samples)]


def page_chunk(page: Page) -> dict[str, int]:
    """Return the size of a page's strips or tiles, in pixels, by the letter of the axis."""
    key: Any = page.keyframe
    # The axis of samples stored apart comes first, and has no number here.
    letters = key.axes.lower()[-len(key.chunks) :]
    return dict(zip(letters, key.chunks, strict=True))


def read_page(page: Page, spans: Mapping[str, slice], reading: threading.RLock) -> NDArray[Any]:
    """Decode a part of a page.

    Parameters
    ----------
    page : tifffile.TiffPage or TiffFrame
        Its file is opened for the moment if it is closed.
    spans : mapping of str to slice
        With start and stop, inside the page, for ``y``, ``x`` and, where pages have it, ``z``.
    reading : lock
        Held while the file is read, not while its bytes are decoded.

    Returns
    -------
    ndarray
        As ``page.asarray()`` cut along these axes.
    """
    key: Any = page.keyframe  # has what all pages of a series share
    axes, chunk = key.axes.lower(), page_chunk(page)
    cut = [spans.get(axis, slice(0, n)) for axis, n in zip(axes, key.shape, strict=True)]
    # The segments are numbered along a grid with one axis for each of the page's own.
    grid = np.arange(math.prod(key.chunked)).reshape(key.chunked)
    touched = tuple(
        slice(spans[axis].start // chunk[axis], -(-spans[axis].stop // chunk[axis]))
        if axis in spans
        else slice(None)
        for axis in axes
    )
    numbers = [int(i) for i in grid[touched].ravel()]
    samples, depth, _, _, contiguous = key.shaped
    planes = spans.get("z", slice(0, depth))
    first = (planes.start, spans["y"].start, spans["x"].start)
    last = (planes.stop, spans["y"].stop, spans["x"].stop)
    size = [b - a for a, b in zip(first, last, strict=True)]
    out = np.full((samples, *size, contiguous), key.nodata, key.dtype)
    extra = {}
    if page.jpegtables is not None:
        extra["jpegtables"] = page.jpegtables
    if key.jpegheader is not None:
        extra["jpegheader"] = key.jpegheader
    for encoded, number in _encoded(page, numbers, reading):
        data, (sample, *at, _), _ = key.decode(encoded, number, **extra)
        if data is not None:  # an empty segment stands for the value that means no data
            _put(out[sample], data, [a - b for a, b in zip(at, first, strict=True)])
    return out.reshape([s.stop - s.start for s in cut])


def _encoded(
    page: Page, numbers: Sequence[int], reading: threading.RLock
) -> list[tuple[bytes | None, int]]:
    """Return the bytes of the segments as they are in the file."""
    file: Any = page.parent.filehandle
    with reading:
        is_closed = file.closed
        if is_closed:
            file.open()
        try:
            offsets = [page.dataoffsets[i] for i in numbers]
            counts = [page.databytecounts[i] for i in numbers]
            segments = list(file.read_segments(offsets, counts, numbers))
        finally:
            if is_closed:
                file.close()
    expected = dict(zip(numbers, counts, strict=True))
    for encoded, number in segments:
        # What is not compressed would be filled up with zeros.
        if encoded is not None and len(encoded) != expected[number]:
            raise ValueError(f"strip or tile {number} ends after {len(encoded)} bytes")
    return segments


def _put(out: NDArray[Any], data: NDArray[Any], at: Sequence[int]) -> None:
    """Copy what of ``data``, (z, y, x, c), lies inside ``out`` when it is put at ``at``."""
    target, source = [], []
    for start, length, size in zip(at, data.shape[:3], out.shape[:3], strict=True):
        low, high = max(start, 0), min(start + length, size)
        target.append(slice(low, high))
        source.append(slice(low - start, high - start))
    out[tuple(target)] = data[tuple(source)]
