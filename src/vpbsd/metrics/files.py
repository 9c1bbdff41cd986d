"""Masks on disk: what may be read as one, in boxes or as a whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpbsd.errors import DataError
from vpbsd.geometry import Box, VoxelSize
from vpbsd.metrics.masks import Mask
from vpbsd.volumes import Volume, read_attributes

__all__ = ["common_voxel_size", "read_mask", "read_mask_box", "require_one_shape"]


def read_mask(volume: Volume) -> Mask:
    """Return a whole mask (z, y, x): True above 0.

    Raises
    ------
    DataError
        If it has several channels, or holds probabilities.
    """
    return read_mask_box(volume, Box.whole(volume.shape_zyx))


def read_mask_box(volume: Volume, box: Box) -> Mask:
    """Return a box of a mask (z, y, x): True above 0.

    Raises
    ------
    DataError
        If the volume has several channels, or holds probabilities there.
    """
    if volume.channels != 1:
        raise DataError(f"'{volume.source}' has {volume.channels} channels; a mask has one")
    values = volume.read(box)[0]
    if _holds_probabilities(volume, values):
        raise DataError(
            f"'{volume.source}' holds probabilities, not a mask: cut them at a threshold first "
            "(vpbsd segment writes the mask beside them)"
        )
    return np.asarray(values > 0)


def require_one_shape(mask: Volume, truth: Volume) -> None:
    """Refuse two volumes of different shapes.

    Raises
    ------
    DataError
        If they differ along (z, y, x).
    """
    if mask.shape_zyx != truth.shape_zyx:
        raise DataError(
            f"'{mask.source}' has shape {mask.shape_zyx} and '{truth.source}' {truth.shape_zyx} "
            "(z, y, x): check that they belong together and are at the same resolution"
        )


def common_voxel_size(mask: Volume, truth: Volume) -> VoxelSize:
    """Return the voxel size that both state, or the one that one of them states.

    Raises
    ------
    DataError
        If they contradict each other, or neither states one.
    """
    if truth.voxel_size_um is None or mask.voxel_size_um is None:
        return (mask if truth.voxel_size_um is None else truth).require_voxel_size()
    if not np.allclose(mask.voxel_size_um.zyx_um, truth.voxel_size_um.zyx_um, rtol=0.01):
        raise DataError(
            f"'{mask.source}' states voxels of {mask.voxel_size_um}, '{truth.source}' of "
            f"{truth.voxel_size_um}: check that they belong together, or settle it with "
            "--voxel-size Z Y X"
        )
    return truth.voxel_size_um


def _holds_probabilities(volume: Volume, values: NDArray[Any]) -> bool:
    path = Path(volume.source)
    # `vpbsd segment` notes in its outputs what they hold; other files say nothing.
    if _is_zarr_group(path) and read_attributes(path).get("kind") == "probability":
        return True
    # NIfTI masks are often stored as floats, but hold whole numbers.
    return values.dtype.kind == "f" and not np.array_equal(values, np.rint(values))


def _is_zarr_group(path: Path) -> bool:
    description = path / "zarr.json"
    if not description.is_file():
        return False
    return bool(json.loads(description.read_text("utf-8")).get("node_type") == "group")
