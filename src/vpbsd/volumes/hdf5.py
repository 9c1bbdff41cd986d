"""HDF5, as ilastik and pytorch-3dunet write it: one dataset, (z, y, x) or (c, z, y, x)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from vpbsd.errors import VolumeFormatError
from vpbsd.geometry import VoxelSize
from vpbsd.volumes.axes import AxisMap, Stored
from vpbsd.volumes.mapped import MappedVolume
from vpbsd.volumes.units import voxel_size_from
from vpbsd.volumes.volume import Volume, checked_dtype

__all__ = ["Hdf5Volume", "choose_array", "open_hdf5"]


class Hdf5Volume(MappedVolume):
    """A dataset of an HDF5 file.

    Parameters
    ----------
    path : Path
        The file.
    key : str
        The dataset in it.
    axes, dtype, voxel_size_um
        As in :class:`MappedVolume`.
    """

    def __init__(
        self, path: Path, key: str, axes: AxisMap, dtype: Any, voxel_size_um: VoxelSize | None
    ) -> None:
        super().__init__(path, axes, dtype, voxel_size_um)
        self.key = key

    def _stored(self) -> Stored:
        if self._handle is None:
            self._handle = h5py.File(self.path, "r")
        dataset: Stored = self._handle[self.key]
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
        name = str(dataset.name)
        dtype = checked_dtype(dataset.dtype, source)
        return Hdf5Volume(path, name, axes, dtype, _element_size(dataset))


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
