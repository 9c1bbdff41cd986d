"""HDF5, as ilastik and pytorch-3dunet write it: one dataset, (z, y, x) or (c, z, y, x)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from vpbsd.errors import VolumeFormatError
from vpbsd.geometry import Triplet, VoxelSize
from vpbsd.volumes.axes import AxisMap, Stored
from vpbsd.volumes.mapped import MappedVolume, choose_array
from vpbsd.volumes.units import voxel_size_from
from vpbsd.volumes.volume import Volume, checked_dtype

__all__ = ["open_hdf5"]


class _Hdf5Volume(MappedVolume):
    _reads_new = True

    def __init__(self, path: Path, dataset: Any, axes: AxisMap, size: VoxelSize | None) -> None:
        super().__init__(path, axes, checked_dtype(dataset.dtype, str(path)), size)
        self.key = str(dataset.name)
        self._chunk = None if dataset.chunks is None else axes.zyx(dataset.chunks)

    @property
    def chunk_voxels(self) -> Triplet | None:
        return self._chunk

    def _stored(self) -> Stored:
        # h5py lets one thread at a time into the library, so that reading needs no other lock.
        dataset: Stored = self._opened(lambda: h5py.File(self.path, "r"))[self.key]
        return dataset


def open_hdf5(path: Path, key: str | None) -> Volume:
    """Open the only 3D or 4D dataset of an HDF5 file, or the one named ``key``.

    The voxel size is the attribute ``element_size_um`` (z, y, x). Axes are those of ilastik's
    ``axistags`` where there are any, else (z, y, x) or (c, z, y, x).

    Raises
    ------
    VolumeFormatError
        If there is no such dataset, or several and no key.
    """
    with h5py.File(path, "r") as file:
        found: list[str] = []

        def collect(name: str, node: Any) -> None:
            if isinstance(node, h5py.Dataset) and node.ndim in (3, 4) and node.dtype.kind in "uif":
                found.append(name)

        file.visititems(collect)
        dataset = file[choose_array(str(path), key, found, key is not None and key in file)]
        if not isinstance(dataset, h5py.Dataset):
            raise VolumeFormatError(f"'{key}' in '{path}' is a group, not a dataset")
        letters = _axistags(dataset)
        source = str(path)
        axes = (
            AxisMap.default(dataset.shape, source)
            if letters is None or len(letters) != dataset.ndim
            else AxisMap.of(letters, dataset.shape, source)
        )
        return _Hdf5Volume(path, dataset, axes, _element_size(dataset))


def _element_size(dataset: Any) -> VoxelSize | None:
    stored = dataset.attrs.get("element_size_um")
    if stored is None or np.size(stored) != 3:
        return None
    return voxel_size_from([float(v) for v in np.ravel(stored)], ["um"] * 3)


def _axistags(dataset: Any) -> str | None:
    """Return the letters of ilastik's JSON axis tags, or None."""
    stored = dataset.attrs.get("axistags")
    if not isinstance(stored, str | bytes):
        return None
    try:
        return "".join(axis["key"] for axis in json.loads(stored)["axes"])
    except (ValueError, KeyError, TypeError):
        return None
