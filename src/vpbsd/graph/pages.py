"""Arrays that grow with the graph: in memory, or in files that the system may page out.

A file has no name: it is unlinked as soon as it is open, and its room is free again once nobody
holds the array, or the process is gone. So nothing has to be cleaned up, not even after a kill.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import DTypeLike, NDArray

from vpbsd.errors import OutputError

__all__ = ["Pages", "put_out"]

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Pages:
    """Where arrays are made.

    Attributes
    ----------
    folder
        Of the files; None = in memory.
    """

    folder: Path | None = None

    def empty(self, shape: int | tuple[int, ...], dtype: DTypeLike) -> Array:
        """Return an array to be filled.

        Raises
        ------
        OutputError
            If the disk is full or the folder cannot be written.
        """
        shape = (shape,) if isinstance(shape, int) else shape
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        if self.folder is None or size == 0:  # a file of no bytes cannot be mapped
            return np.empty(shape, dtype)
        try:
            with self._file() as file:
                if hasattr(os, "posix_fallocate"):
                    # Without this a full disk would end the process, by a signal, when it is
                    # written to.
                    os.posix_fallocate(file.fileno(), 0, size)
                else:
                    file.truncate(size)
                return np.asarray(np.memmap(file, dtype, "r+", shape=shape))
        except OSError as error:
            raise self._refused(error) from error

    def full(self, shape: int | tuple[int, ...], value: float, dtype: DTypeLike) -> Array:
        """Return an array of one value."""
        array = self.empty(shape, dtype)
        array[...] = value
        return array

    def kept(self, array: Array) -> Array:
        """Return a copy in a file; in memory the array itself."""
        if self.folder is None:
            return array
        copy = self.empty(array.shape, array.dtype)
        copy[...] = array
        return copy

    def columns(self, rows: Iterable[Mapping[str, Array]]) -> dict[str, Array]:
        """Return the columns of a table that comes some rows at a time, of which there are some.

        Raises
        ------
        OutputError
            As :meth:`empty`.
        """
        columns: dict[str, _Column] = {}
        try:
            for some in rows:
                for name, values in some.items():
                    if name not in columns:
                        columns[name] = _Column(None if self.folder is None else self._file())
                    columns[name].add(values)
            return {name: column.whole() for name, column in columns.items()}
        except OSError as error:
            raise self._refused(error) from error
        finally:
            for column in columns.values():
                column.close()

    def _file(self) -> BinaryIO:
        assert self.folder is not None
        self.folder.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryFile(dir=self.folder)

    def _refused(self, error: OSError) -> OutputError:
        return OutputError(
            f"cannot keep arrays in '{self.folder}': {error.strerror or error}; make room or check "
            "the permissions, then run the same command again"
        )


class _Column:
    """Values that come piece by piece."""

    def __init__(self, file: BinaryIO | None) -> None:
        self._file = file
        self._parts: list[Array] = []
        self._items = 0

    def add(self, values: Array) -> None:
        self._items += len(values)
        # One piece is always kept, for its type and its shape.
        if self._file is None or not self._parts:
            self._parts.append(values)
        if self._file is not None:
            self._file.write(np.ascontiguousarray(values).data)

    def whole(self) -> Array:
        if self._file is None or not self._items:
            return np.concatenate(self._parts)
        self._file.flush()
        first = self._parts[0]
        shape = (self._items, *first.shape[1:])
        return np.asarray(np.memmap(self._file, first.dtype, "r+", shape=shape))

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def put_out(*arrays: Array) -> None:
    """Let the pages of mapped arrays leave the process; what they hold stays in their files."""
    for array in arrays:
        base: Any = array
        while base is not None and not isinstance(base, mmap.mmap):
            base = getattr(base, "base", None)
        if base is not None and hasattr(mmap, "MADV_DONTNEED"):
            base.madvise(mmap.MADV_DONTNEED)
