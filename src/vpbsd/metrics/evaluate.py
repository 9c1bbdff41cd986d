"""A mask on disk against the truth on disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpbsd.errors import DataError
from vpbsd.geometry import Box, VoxelSize
from vpbsd.machine import available_memory_bytes
from vpbsd.metrics import Scores, score
from vpbsd.volumes import Volume, open_volume, read_attributes

__all__ = ["evaluate", "read_mask"]

_BYTES_PER_VOXEL = 16
"""Peak of scoring two masks: 12 measured where a fifth of the volume is vessel, and some room."""


def evaluate(
    mask: Path, truth: Path, voxel_size_um: Sequence[float] | None = None
) -> tuple[Scores, VoxelSize]:
    """Score the mask in one file against the truth in another.

    Parameters
    ----------
    mask, truth
        In any format that is read, one channel, of one shape; voxels above 0 are vessel.
    voxel_size_um
        (z, y, x); by default what the files state.

    Returns
    -------
    scores, voxel_size_um
        The voxel size is the one that distances were measured with.

    Raises
    ------
    DataError
        If a file is not a mask, the two do not belong together, no voxel size is known, or they
        do not fit into memory.
    """
    given = None if voxel_size_um is None else VoxelSize.of(voxel_size_um)
    with (
        open_volume(mask, voxel_size_um=given) as predicted,
        open_volume(truth, voxel_size_um=given) as true,
    ):
        if predicted.shape_zyx != true.shape_zyx:
            raise DataError(
                f"'{mask}' has shape {predicted.shape_zyx} and '{truth}' {true.shape_zyx} (z, y, "
                "x): check that they belong together and are at the same resolution"
            )
        size = _common_size(predicted, true)
        _require_memory(predicted, true)
        return score(read_mask(predicted), read_mask(true), size), size


def read_mask(volume: Volume) -> NDArray[np.bool_]:
    """Return a whole mask (z, y, x): True above 0.

    Raises
    ------
    DataError
        If it has several channels, or holds probabilities.
    """
    if volume.channels != 1:
        raise DataError(f"'{volume.source}' has {volume.channels} channels; a mask has one")
    values = volume.read(Box.whole(volume.shape_zyx))[0]
    if _holds_probabilities(volume, values):
        raise DataError(
            f"'{volume.source}' holds probabilities, not a mask: cut them at a threshold first "
            "(vpbsd segment writes the mask beside them)"
        )
    return np.asarray(values > 0)


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


def _common_size(mask: Volume, truth: Volume) -> VoxelSize:
    if truth.voxel_size_um is None or mask.voxel_size_um is None:
        return (mask if truth.voxel_size_um is None else truth).require_voxel_size()
    if not np.allclose(mask.voxel_size_um.zyx_um, truth.voxel_size_um.zyx_um, rtol=0.01):
        raise DataError(
            f"'{mask.source}' states voxels of {mask.voxel_size_um}, '{truth.source}' of "
            f"{truth.voxel_size_um}: check that they belong together, or settle it with "
            "--voxel-size Z Y X"
        )
    return truth.voxel_size_um


def _require_memory(mask: Volume, truth: Volume) -> None:
    z, y, x = mask.shape_zyx
    stored = mask.dtype.itemsize + truth.dtype.itemsize
    needed, free = z * y * x * (_BYTES_PER_VOXEL + stored), available_memory_bytes()
    if needed > free:
        raise DataError(
            f"scoring {mask.shape_zyx} voxels takes about {needed / 2**30:.1f} GiB of memory and "
            f"{free / 2**30:.1f} GiB are free: score a crop of both volumes"
        )
