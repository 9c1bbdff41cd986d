"""OME-Zarr 0.4 (zarr v2) and 0.5 (zarr v3), and plain zarr arrays of both versions.

On a disk or behind any URL that fsspec knows (``s3://``, ``gs://``, ``https://`` ...).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zarr
from numpy.typing import NDArray

from vpbsd.errors import DataError, VolumeFormatError
from vpbsd.geometry import Box, Triplet, VoxelSize, as_triplet
from vpbsd.volumes.axes import AxisMap
from vpbsd.volumes.mapped import choose_array
from vpbsd.volumes.store import Location, is_url, open_store, store_errors
from vpbsd.volumes.units import voxel_size_from
from vpbsd.volumes.volume import Volume, checked_dtype, level_factor

__all__ = ["open_zarr"]


@dataclass(frozen=True, slots=True)
class _Level:
    """An array of a pyramid: its path inside the hierarchy, axes and voxel size."""

    name: str
    letters: str
    voxel_size_um: VoxelSize | None


class _ZarrVolume(Volume):
    _reads_new = True

    def __init__(self, location: Location, array: Any, levels: Sequence[_Level]) -> None:
        """Take the first of ``levels``, whose array is ``array``; the others are coarser."""
        finest = levels[0]
        source = str(location)
        axes = AxisMap.of(finest.letters, array.shape, source)
        dtype = checked_dtype(array.dtype, source)
        super().__init__(source, axes.shape, dtype, finest.voxel_size_um)
        self.location = location
        self._axes = axes
        self._levels = tuple(levels)
        # Of a sharded array zarr calls the inner chunk `chunks`, which is what a read decodes.
        self._chunk = axes.zyx(array.chunks)
        self._handle = array

    @property
    def chunk_voxels(self) -> Triplet | None:
        return self._chunk

    def coarser(self, max_voxels: int) -> tuple[Volume, Triplet] | None:
        for at, level in enumerate(self._levels[1:], 1):
            array = _array(self.location, level.name)
            axes = AxisMap.of(level.letters, array.shape, self.source)
            size_zyx = as_triplet(axes.shape[1:])
            factor = level_factor(self.shape_zyx, size_zyx)
            if factor is not None and math.prod(size_zyx) <= max_voxels:
                coarse: Volume = _ZarrVolume(self.location, array, self._levels[at:])
                finest = self._levels[0].voxel_size_um
                if self.voxel_size_um is not None and self.voxel_size_um != finest:
                    # The caller knows better than the metadata: then of every level.
                    coarse = coarse.with_voxel_size(self.voxel_size_um.scaled(factor))
                return coarse, factor
        return None

    def _opened_array(self) -> Any:
        return self._opened(lambda: _array(self.location, self._levels[0].name))

    def _read(self, box: Box, channels: tuple[int, ...]) -> NDArray[Any]:
        try:
            return self._axes.read(self._opened_array(), box, channels)
        except store_errors() as error:
            if is_url(self.location):
                raise _unreachable(self.location, error) from error
            raise

    def _state_files(self) -> Iterable[Path]:
        if is_url(self.location):
            return ()
        # A whole brain has a million chunks; the values themselves are sampled by the digest.
        root = Path(self.location)
        files = ("zarr.json", ".zgroup", ".zattrs", ".zarray")
        folders = (root, root / self._levels[0].name)
        return sorted({f / name for f in folders for name in files if (f / name).is_file()})

    def _state(self) -> Iterable[str]:
        if not is_url(self.location):
            return super()._state()
        # Times and sizes differ between stores and copies: the metadata stand for themselves.
        metadata = self._opened_array().metadata.to_dict()
        return (json.dumps(metadata, sort_keys=True, default=str),)


def open_zarr(location: Location, key: str | None) -> Volume:
    """Open the finest level of an OME-Zarr image, or a plain array.

    Parameters
    ----------
    location : Path or str
        A folder or URL with a zarr group or array.
    key : str, optional
        A group or array inside, such as ``labels/vessels``.

    Raises
    ------
    VolumeFormatError
        If there is no image or array, the metadata contradict the array, or the axes are not
        those of one volume.
    DataError
        If a URL cannot be reached.
    """
    source = str(location)
    node = _root(location)
    if key is not None:
        if not isinstance(node, zarr.Group) or key not in node:
            raise VolumeFormatError(f"'{source}' holds nothing called '{key}'")
        node = node[key]
    if isinstance(node, zarr.Group):
        attributes = _ome_attributes(node)
        if "multiscales" not in attributes and "bioformats2raw.layout" in attributes:
            if "0" not in node:
                raise VolumeFormatError(f"'{source}' announces a series '0' that is not there")
            node = node["0"]
            attributes = _ome_attributes(node)
        if "multiscales" in attributes:
            return _open_multiscale(location, node, attributes["multiscales"])
        arrays = sorted(name for name, array in node.arrays() if array.ndim in (3, 4))
        node = node[choose_array(source, None, arrays, key_exists=False)]
    letters = _named_axes(node, source).letters
    return _ZarrVolume(location, node, [_Level(node.path, letters, None)])


def _root(location: Location) -> Any:
    """Return the group or array that the hierarchy starts with.

    Raises
    ------
    VolumeFormatError
        If a URL leads to no such thing.
    DataError
        If it cannot be reached.
    """
    store = open_store(location, read_only=True)
    if not is_url(location):
        return zarr.open(store, mode="r")
    try:
        return zarr.open(store, mode="r")
    except FileNotFoundError as error:
        raise VolumeFormatError(
            f"'{location}' holds no zarr hierarchy; check the address: it must be that of the "
            "folder with zarr.json, .zgroup or .zarray"
        ) from error
    except store_errors() as error:
        raise _unreachable(location, error) from error


def _unreachable(location: Location, error: Exception) -> DataError:
    return DataError(
        f"'{location}' cannot be read: {str(error) or type(error).__name__}; it was refused or the "
        "connection failed: check address, credentials and network, then run the command again"
    )


def _array(location: Location, name: str) -> Any:
    """Return an array of the hierarchy.

    Raises
    ------
    VolumeFormatError
        If it is not there.
    """
    store = open_store(location, read_only=True)
    try:
        return zarr.open_array(store, path=name, mode="r")
    except FileNotFoundError as error:
        raise _missing(location, name) from error


def _missing(location: Location, name: str) -> VolumeFormatError:
    return VolumeFormatError(
        f"the metadata of '{location}' name the array '{name}', which is not there; "
        "the copy is probably incomplete"
    )


def _ome_attributes(group: Any) -> Mapping[str, Any]:
    """Return the OME metadata: under ``ome`` since 0.5, at the root before."""
    attributes: Mapping[str, Any] = group.attrs.asdict()
    nested = attributes.get("ome")
    return nested if isinstance(nested, Mapping) else attributes


def _open_multiscale(location: Location, group: Any, multiscales: Any) -> Volume:
    try:
        multiscale = multiscales[0]
        names = [str(dataset["path"]) for dataset in multiscale["datasets"]]
        name = names[0]
        axes = [a if isinstance(a, Mapping) else {"name": str(a)} for a in _axes_of(multiscale)]
        letters = "".join(_letter(a) for a in axes)
        outer = _scale(multiscale, len(axes))
        scales = [_scale(dataset, len(axes)) for dataset in multiscale["datasets"]]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise VolumeFormatError(
            f"the multiscales metadata of '{location}' are incomplete ({error!r}); "
            "check the file with an OME-Zarr validator"
        ) from error
    if name not in group or not isinstance(group[name], zarr.Array):
        raise _missing(location, name)
    array = group[name]
    if len(letters) != array.ndim:
        raise VolumeFormatError(
            f"the metadata of '{location}' name {len(letters)} axes, but '{name}' has {array.ndim}"
        )
    AxisMap.of(letters, array.shape, str(location))
    levels = []
    for dataset_name, scale in zip(names, scales, strict=True):
        voxel_size = None
        if scale is not None:
            total = scale if outer is None else [a * b for a, b in zip(scale, outer, strict=True)]
            at = [letters.index(letter) for letter in "zyx"]
            units = [axes[i].get("unit") for i in at]
            voxel_size = voxel_size_from([total[i] for i in at], units)
        path = f"{group.path}/{dataset_name}".lstrip("/")
        levels.append(_Level(path, letters, voxel_size))
    return _ZarrVolume(location, array, levels)


def _letter(axis: Mapping[str, Any]) -> str:
    """Name an axis: by its type where that says enough, or by its name's first letter."""
    return {"time": "t", "channel": "c"}.get(str(axis.get("type")), str(axis["name"])[:1])


def _axes_of(multiscale: Mapping[str, Any]) -> Sequence[Any]:
    # Before 0.3 there was no axes list, and the order was fixed.
    axes: Sequence[Any] = multiscale.get("axes", "tczyx")
    return axes


def _scale(owner: Mapping[str, Any], axes: int) -> list[float] | None:
    """Return the ``scale`` among the coordinate transformations, one number an axis."""
    for transform in owner.get("coordinateTransformations") or []:
        if transform.get("type") == "scale":
            scale = [float(v) for v in transform["scale"]]
            if len(scale) != axes:
                raise ValueError(f"a scale of {len(scale)} numbers for {axes} axes")
            return scale
    return None


def _named_axes(array: Any, source: str) -> AxisMap:
    """Use the axis names of a plain array where all of them are known letters."""
    names = getattr(array.metadata, "dimension_names", None)
    names = names or array.attrs.asdict().get("_ARRAY_DIMENSIONS")
    if isinstance(names, list | tuple) and len(names) == array.ndim:
        letters = [str(name).lower() for name in names]
        if set("zyx") <= set(letters) <= set("tczyx"):
            return AxisMap.of("".join(letters), array.shape, source)
    return AxisMap.default(array.shape, source)
