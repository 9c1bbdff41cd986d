"""OME-Zarr 0.4 (zarr v2) and 0.5 (zarr v3), and plain zarr arrays of both versions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import zarr

from vpbsd.errors import VolumeFormatError
from vpbsd.geometry import VoxelSize
from vpbsd.volumes.axes import AxisMap, Stored
from vpbsd.volumes.mapped import MappedVolume, choose_array
from vpbsd.volumes.units import voxel_size_from
from vpbsd.volumes.volume import Volume, checked_dtype

__all__ = ["open_zarr"]


class _ZarrVolume(MappedVolume):
    def __init__(self, path: Path, axes: AxisMap, size: VoxelSize | None, array: Any) -> None:
        super().__init__(path, axes, checked_dtype(array.dtype, str(path)), size)
        self._array = array

    def _stored(self) -> Stored:
        array: Stored = self._array
        return array

    def _state_files(self) -> Iterable[Path]:
        # A whole brain has a million chunks; the values themselves are sampled by the digest.
        files = ("zarr.json", ".zgroup", ".zattrs", ".zarray")
        folders = (self.path, self.path / self._array.path)
        return sorted({f / name for f in folders for name in files if (f / name).is_file()})


def open_zarr(path: Path, key: str | None) -> Volume:
    """Open the finest level of an OME-Zarr image, or a plain array.

    Parameters
    ----------
    path : Path
        A zarr group or array.
    key : str, optional
        A group or array inside, such as ``labels/vessels``.

    Raises
    ------
    VolumeFormatError
        If there is no image or array, the metadata contradict the array, or the axes are not
        those of one volume.
    """
    node: Any = zarr.open(path, mode="r")
    if key is not None:
        if not isinstance(node, zarr.Group) or key not in node:
            raise VolumeFormatError(f"'{path}' holds nothing called '{key}'")
        node = node[key]
    if isinstance(node, zarr.Group):
        attributes = _ome_attributes(node)
        if "multiscales" not in attributes and "bioformats2raw.layout" in attributes:
            if "0" not in node:
                raise VolumeFormatError(f"'{path}' announces a series '0' that is not there")
            node = node["0"]
            attributes = _ome_attributes(node)
        if "multiscales" in attributes:
            return _open_multiscale(path, node, attributes["multiscales"])
        arrays = sorted(name for name, array in node.arrays() if array.ndim in (3, 4))
        node = node[choose_array(str(path), None, arrays, key_exists=False)]
    return _ZarrVolume(path, _named_axes(node, str(path)), None, node)


def _ome_attributes(group: Any) -> Mapping[str, Any]:
    """Return the OME metadata: under ``ome`` since 0.5, at the root before."""
    attributes: Mapping[str, Any] = group.attrs.asdict()
    nested = attributes.get("ome")
    return nested if isinstance(nested, Mapping) else attributes


def _open_multiscale(path: Path, group: Any, multiscales: Any) -> Volume:
    try:
        multiscale = multiscales[0]
        finest = multiscale["datasets"][0]
        name = str(finest["path"])
        axes = [a if isinstance(a, Mapping) else {"name": str(a)} for a in _axes_of(multiscale)]
        letters = "".join(_letter(a) for a in axes)
        scale = _scale(finest, len(axes))
        outer = _scale(multiscale, len(axes))
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise VolumeFormatError(
            f"the multiscales metadata of '{path}' are incomplete ({error!r}); "
            "check the file with an OME-Zarr validator"
        ) from error
    if name not in group or not isinstance(group[name], zarr.Array):
        raise VolumeFormatError(
            f"the metadata of '{path}' name the array '{name}', which is not there; "
            "the copy is probably incomplete"
        )
    array = group[name]
    if len(letters) != array.ndim:
        raise VolumeFormatError(
            f"the metadata of '{path}' name {len(letters)} axes, but '{name}' has {array.ndim}"
        )
    axis_map = AxisMap.of(letters, array.shape, str(path))
    voxel_size = None
    if scale is not None:
        total = scale if outer is None else [a * b for a, b in zip(scale, outer, strict=True)]
        at = [letters.index(letter) for letter in "zyx"]
        voxel_size = voxel_size_from([total[i] for i in at], [axes[i].get("unit") for i in at])
    return _ZarrVolume(path, axis_map, voxel_size, array)


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
