"""NumPy ``.npy`` arrays, mapped into memory: (z, y, x) or (c, z, y, x)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpbsd.volumes.axes import AxisMap
from vpbsd.volumes.mapped import MappedVolume
from vpbsd.volumes.volume import Volume, checked_dtype

__all__ = ["open_npy"]


class _NpyVolume(MappedVolume):
    def _stored(self) -> NDArray[Any]:
        return _mapped(self.path)


def _mapped(path: Path) -> NDArray[Any]:
    # Mapped anew for each read: pages touched by earlier reads do not stay in the process.
    array: NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
    return array


def open_npy(path: Path) -> Volume:
    """Open a ``.npy`` file; it cannot state a voxel size.

    Raises
    ------
    VolumeFormatError
        If the array has neither three nor four axes or is not made of real numbers.
    ValueError
        If the file is truncated; ``open_volume`` turns it into a ``VolumeFormatError``.
    """
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read(file)
    dtype = checked_dtype(dtype, str(path))
    axes = AxisMap.default(shape, str(path))
    _mapped(path)  # fails here, not in the middle of a run, where the file is too short
    return _NpyVolume(path, axes, dtype, None)
