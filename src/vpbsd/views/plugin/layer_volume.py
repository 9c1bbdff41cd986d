"""An image layer of napari as a volume, and its place in space."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpbsd.errors import DataError, VoxelSizeUnknownError
from vpbsd.geometry import Box, Triplet, VoxelSize, as_triplet
from vpbsd.volumes import Volume
from vpbsd.volumes.volume import level_factor

__all__ = ["LayerVolume", "layer_voxel_size", "translation_of"]


class LayerVolume(Volume):
    """The data of an image layer, read by box; of a multiscale layer, every level.

    Parameters
    ----------
    levels
        Arrays (z, y, x), the finest first: NumPy, dask, zarr, or what else a layer may hold.
    name
        Of the layer.
    voxel_size
        Of the finest level.

    Raises
    ------
    DataError
        If the array does not have three axes.
    """

    def __init__(self, levels: Sequence[Any], name: str, voxel_size: VoxelSize) -> None:
        _require_three_axes(levels[0].shape, name)
        super().__init__(name, (1, *levels[0].shape), levels[0].dtype, voxel_size)
        self._levels = tuple(levels)

    def _read(self, box: Box, channels: tuple[int, ...]) -> NDArray[Any]:
        return np.asarray(self._levels[0][box.slices])[np.newaxis]

    def coarser(self, max_voxels: int) -> tuple[Volume, Triplet] | None:
        """Return the finest level of the layer with at most ``max_voxels`` voxels."""
        for at, level in enumerate(self._levels[1:], 1):
            factor = level_factor(self.shape_zyx, as_triplet(level.shape))
            if factor is not None and math.prod(level.shape) <= max_voxels:
                size = self.require_voxel_size().scaled(factor)
                return LayerVolume(self._levels[at:], self.source, size), factor
        return None


def layer_voxel_size(layer: Any, given_um: Sequence[float] | None = None) -> VoxelSize:
    """Return the voxel size of a layer.

    From its scale and units; a scale without units is taken as micrometres, as most readers mean
    it. A scale of 1 without units says nothing.

    Parameters
    ----------
    layer
        Of napari, with three axes.
    given_um
        What the user says, (z, y, x); goes before what the layer says.

    Raises
    ------
    DataError
        If the layer does not have three axes.
    VoxelSizeUnknownError
        If neither the layer nor the user says.
    ConfigError
        If a size is not positive.
    """
    shape = layer.data[0].shape if layer.multiscale else layer.data.shape
    _require_three_axes(shape, layer.name)
    if given_um is not None:
        return VoxelSize.of(given_um)
    scale = [abs(float(s)) for s in layer.scale]
    factors = [_micrometres(unit) for unit in getattr(layer, "units", (None,) * 3)]
    if None not in factors:
        return VoxelSize.of([s * f for s, f in zip(scale, factors, strict=True) if f is not None])
    if all(s == 1 for s in scale):
        raise VoxelSizeUnknownError(
            f"layer '{layer.name}' does not say how large its voxels are (its scale is 1, without "
            "units); write the voxel size in µm into the widget, as z y x"
        )
    return VoxelSize.of(scale)


def _require_three_axes(shape: Sequence[int], name: str) -> None:
    if len(shape) != 3:
        raise DataError(
            f"layer '{name}' has the shape {tuple(shape)}, but what is segmented is one volume "
            "(z, y, x): split colours, channels or times into layers of their own"
        )


def _micrometres(unit: Any) -> float | None:
    """Return how many micrometres a pint unit is; None for pixels."""
    if unit is None or not unit.is_compatible_with("micrometer"):
        return None
    return float((1 * unit).to("micrometer").magnitude)


def translation_of(layer: Any, start_voxels: Sequence[int]) -> NDArray[np.float64]:
    """Return the ``translate`` of a layer that begins at a voxel of ``layer``.

    The new layer has the same scale, rotation, shear and affine transformation; those after
    the translation are taken back from where the voxel lies in the world.
    """
    world = layer.data_to_world(start_voxels)
    return np.asarray(layer.affine.inverse(world), np.float64)
