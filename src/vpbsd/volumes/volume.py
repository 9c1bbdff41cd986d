"""A volume on disk or in memory that is read box by box, always as (c, z, y, x)."""

from __future__ import annotations

import copy
import hashlib
import json
import struct
import threading
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from vpbsd.errors import DataError, VolumeFormatError, VoxelSizeUnknownError
from vpbsd.geometry import Box, Triplet, VoxelSize, as_triplet

__all__ = [
    "READ_ERRORS",
    "ArrayVolume",
    "Volume",
    "VolumeShape",
    "checked_dtype",
    "damaged",
    "level_factor",
]

VolumeShape = tuple[int, int, int, int]

READ_ERRORS: tuple[type[Exception], ...] = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    KeyError,
    IndexError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
)
"""What the format libraries raise on a truncated or damaged file."""

_DIGEST_ALL_BELOW_VOXELS = 1 << 20
_DIGEST_BOXES = 9
_DIGEST_EDGE_VOXELS = 128


def checked_dtype(dtype: DTypeLike, source: str) -> np.dtype[Any]:
    """Return ``dtype`` in native byte order if its values are real numbers.

    Raises
    ------
    VolumeFormatError
        For bool, complex, text, structured and object types.
    """
    stored = np.dtype(dtype)
    if stored.kind not in "uif":
        raise VolumeFormatError(
            f"'{source}' holds values of type {stored}, but a volume needs integers or real "
            "numbers; convert it first (a bool mask to uint8, a complex image to its magnitude)"
        )
    return stored.newbyteorder("=")


def damaged(source: str, error: object) -> VolumeFormatError:
    """Return the error for a file that cannot be read to its end."""
    return VolumeFormatError(
        f"'{source}' cannot be read: {error or type(error).__name__}; it is probably truncated, "
        "damaged or not what its name says: copy it again and compare the sizes"
    )


def level_factor(fine_zyx: Triplet, coarse_zyx: Triplet) -> Triplet | None:
    """Return how many voxels of a level one voxel of a coarser level spans along (z, y, x).

    None where the sizes do not stand in a whole ratio (rounded up or down at the far edge).
    """
    factor = []
    for fine, coarse in zip(fine_zyx, coarse_zyx, strict=True):
        ratio = max(1, round(fine / coarse))
        if coarse not in (fine // ratio, -(-fine // ratio)):
            return None
        factor.append(ratio)
    return as_triplet(factor)


class Volume(ABC):
    """A lazily read volume; nothing but metadata is in memory until :meth:`read` is called.

    A volume can be pickled: open handles are left behind and opened again on first use. Several
    threads may read it at once.

    Parameters
    ----------
    source : str
        Where it comes from, as it is shown to the user: a path, or a word.
    shape : sequence of int
        (c, z, y, x) in voxels.
    dtype : numpy dtype
        The type of the values that :meth:`read` returns.
    voxel_size_um : VoxelSize or None
        Micrometres along (z, y, x); None where the file does not say.

    Raises
    ------
    VolumeFormatError
        If an axis is empty or the values are not real numbers.
    """

    source: str
    shape: VolumeShape
    dtype: np.dtype[Any]
    voxel_size_um: VoxelSize | None

    # Whether _read returns an array that nobody else holds, so that read() need not copy it.
    _reads_new: ClassVar[bool] = False

    def __init__(
        self,
        source: str,
        shape: Sequence[int],
        dtype: DTypeLike,
        voxel_size_um: VoxelSize | None = None,
    ) -> None:
        c, z, y, x = (int(v) for v in shape)
        self.source = source
        self.shape = (c, z, y, x)
        self.dtype = checked_dtype(dtype, source)
        self.voxel_size_um = voxel_size_um
        self._handle: Any = None
        self._lock = threading.RLock()
        if min(self.shape) < 1:
            raise VolumeFormatError(
                f"'{source}' is empty along an axis: its shape (c, z, y, x) is {self.shape}"
            )

    @abstractmethod
    def _read(self, box: Box, channels: tuple[int, ...]) -> NDArray[Any]:
        """Return (len(channels), z, y, x) of a box and channels that were checked already."""

    def _state_files(self) -> Iterable[Path]:
        """Return the files whose size and time tell whether the volume has changed."""
        return ()

    def _state(self) -> Iterable[str]:
        """Return what beside the values belongs to the identity of the content."""
        for path in self._state_files():
            state = path.stat()
            yield f"{path.name}:{state.st_size}:{state.st_mtime_ns};"

    def _opened(self, open_it: Callable[[], Any]) -> Any:
        """Return the handle that stays open until :meth:`close`, opened by one thread only."""
        with self._lock:
            if self._handle is None:
                self._handle = open_it()
            return self._handle

    @property
    def chunk_voxels(self) -> Triplet | None:
        """What is decoded at once along (z, y, x), in voxels; None where a box costs only itself.

        A box that does not follow this grid pays for every chunk that it touches.
        """
        return None

    def coarser(self, max_voxels: int) -> tuple[Volume, Triplet] | None:
        """Return the finest level of the pyramid with at most ``max_voxels`` (z * y * x) voxels.

        Returns
        -------
        (Volume, factor) or None
            The level, and how many voxels of this volume one of its voxels spans along
            (z, y, x); None where there is no pyramid or none of its levels is small enough.
        """
        return None

    @property
    def shape_zyx(self) -> Triplet:
        """Size in voxels along (z, y, x)."""
        return as_triplet(self.shape[1:])

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.shape[0]

    def read(self, box: Box, channels: Sequence[int] | None = None) -> NDArray[Any]:
        """Read a box.

        Parameters
        ----------
        box : Box
            Half-open, inside the volume.
        channels : sequence of int, optional
            Which channels, in this order; all of them by default.

        Returns
        -------
        ndarray, (c, z, y, x)
            A new array in the volume's own type and native byte order, safe to change.

        Raises
        ------
        DataError
            If the box or a channel lies outside the volume.
        VolumeFormatError
            If the file is truncated or damaged there.
        """
        chosen = self._chosen(channels)
        edges = zip(box.start, box.stop, self.shape_zyx, strict=True)
        if not all(0 <= start <= stop <= size for start, stop, size in edges):
            raise DataError(
                f"box {box} is not inside '{self.source}' of shape (z, y, x) {self.shape_zyx}; "
                "clip it to the volume first"
            )
        expected = (len(chosen), *box.shape)
        if box.is_empty:
            return np.empty(expected, self.dtype)
        try:
            block = self._read(box, chosen)
        except READ_ERRORS as error:
            raise damaged(self.source, error) from error
        if block.shape != expected:
            raise damaged(self.source, f"{box} came back as {block.shape}, not {expected}")
        if self._reads_new:
            return np.asarray(block, dtype=self.dtype, order="C")
        # np.array copies: the caller may change the block without touching a mapped array.
        return np.array(block, dtype=self.dtype, order="C")

    def _chosen(self, channels: Sequence[int] | None) -> tuple[int, ...]:
        if channels is None:
            return tuple(range(self.channels))
        chosen = tuple(int(c) for c in channels)
        if not chosen or min(chosen) < 0 or max(chosen) >= self.channels:
            raise DataError(
                f"channels {list(chosen)} were asked for, but '{self.source}' has "
                f"{self.channels}, counted from 0"
            )
        return chosen

    def content_digest(self) -> str:
        """Return a hash of shape, type and a bounded sample of the values.

        Equal for the same volume under another name or in another format. A change of a few
        voxels may go unseen in a large volume; :meth:`fingerprint` also looks at the files.
        """
        digest = hashlib.sha256(json.dumps([list(self.shape), self.dtype.name]).encode())
        little = self.dtype.newbyteorder("<")
        for box in _digest_boxes(self.shape):
            digest.update(self.read(box).astype(little, copy=False).tobytes())
        return digest.hexdigest()[:32]

    def fingerprint(self) -> str:
        """Return a cheap identity of the content, equal as long as the files are untouched.

        A hash of :meth:`content_digest` with the size and modification time of the files (of a
        zarr hierarchy: its metadata files; behind a URL: the metadata themselves). The voxel size
        is no part of it.
        """
        digest = hashlib.sha256(self.content_digest().encode())
        for part in self._state():
            digest.update(part.encode())
        return digest.hexdigest()[:32]

    def require_voxel_size(self) -> VoxelSize:
        """Return the voxel size in micrometres.

        Raises
        ------
        VoxelSizeUnknownError
            If neither the file nor the caller gave one.
        """
        if self.voxel_size_um is None:
            raise VoxelSizeUnknownError(
                f"'{self.source}' does not state its voxel size in physical units; "
                "pass it in micrometres: --voxel-size Z Y X"
            )
        return self.voxel_size_um

    def with_voxel_size(self, voxel_size_um: VoxelSize) -> Self:
        """Return the same volume with another voxel size; the data are shared."""
        other = copy.copy(self)
        other.voxel_size_um = voxel_size_um
        return other

    def close(self) -> None:
        """Let go of open files; a later read opens them again."""
        with self._lock:
            handle, self._handle = self._handle, None
        if hasattr(handle, "close"):
            handle.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        # copy.copy comes here too: a copy must not close the file of the original.
        state = {**self.__dict__, "_handle": None}
        del state["_lock"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        size = self.voxel_size_um or "unknown"
        return (
            f"{type(self).__name__}('{self.source}', (c, z, y, x) {self.shape}, {self.dtype}, "
            f"voxel size {size})"
        )


def _digest_boxes(shape: VolumeShape) -> list[Box]:
    """Return the whole of a small volume, else single-plane boxes along its diagonals."""
    c, z, y, x = shape
    if c * z * y * x <= _DIGEST_ALL_BELOW_VOXELS:
        return [Box.whole((z, y, x))]
    height, width = min(y, _DIGEST_EDGE_VOXELS), min(x, _DIGEST_EDGE_VOXELS)
    last = _DIGEST_BOXES - 1
    boxes = []
    for i in range(_DIGEST_BOXES):
        # 2 and 5 have no common factor with 9: every z meets another y and x.
        at_y, at_x = (i * 2) % _DIGEST_BOXES, (i * 5) % _DIGEST_BOXES
        start = (
            i * (z - 1) // last,
            at_y * (y - height) // last,
            at_x * (x - width) // last,
        )
        boxes.append(Box.at(start, (1, height, width)))
    return boxes


class ArrayVolume(Volume):
    """A volume that is an array in memory.

    Parameters
    ----------
    array : ndarray, (z, y, x) or (c, z, y, x)
        Not copied.
    voxel_size_um : VoxelSize, optional
        Micrometres along (z, y, x).
    source : str
        The name to show in messages.

    Raises
    ------
    VolumeFormatError
        If the array has neither three nor four axes, or its values are not real numbers.
    """

    def __init__(
        self,
        array: NDArray[Any],
        voxel_size_um: VoxelSize | None = None,
        source: str = "array",
    ) -> None:
        if array.ndim not in (3, 4):
            raise VolumeFormatError(
                f"'{source}' has {array.ndim} axes, shape {array.shape}; "
                "a volume is (z, y, x) or (c, z, y, x)"
            )
        self._array = array if array.ndim == 4 else array[np.newaxis]
        super().__init__(source, self._array.shape, array.dtype, voxel_size_um)

    _reads_new = True

    def _read(self, box: Box, channels: tuple[int, ...]) -> NDArray[Any]:
        # A list of channels, unlike a slice, makes NumPy copy.
        return self._array[(slice(None), *box.slices)][list(channels)]
