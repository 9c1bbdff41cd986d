"""From a published file to ours: (z, y, x), lossless, labels 0 and 1, all of it checked."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpbsd.data.public.description import Description, PublicVolume
from vpbsd.errors import ConfigError, DataError, IntensityError
from vpbsd.geometry import Box, VoxelSize
from vpbsd.volumes import Volume, open_volume

__all__ = ["Converted", "Reading", "convert_pair"]

# No microscope of vessels has voxels outside of this; what a header states beyond it is a wrong
# unit (SimpleITK writes mm whatever the numbers mean).
_PLAUSIBLE_UM = (0.01, 100.0)
# What OME-TIFF knows of the types that our readers return.
_WRITABLE = frozenset(("int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"))


@dataclass(frozen=True, slots=True)
class Reading:
    """How files are to be read, where a user knows better than the description.

    Attributes
    ----------
    axes
        What the axes of the files are, as our readers return them, such as ``"xyz"``.
    vessel_above
        Label values above this are vessel, whatever values there are.

    Raises
    ------
    ConfigError
        If ``axes`` does not name z, y and x.
    DataError
        If the voxel size is not positive.
    """

    voxel_size_um: tuple[float, float, float] | None = None
    axes: str | None = None
    vessel_above: float | None = None

    def __post_init__(self) -> None:
        if self.axes is not None and sorted(self.axes) != ["x", "y", "z"]:
            raise ConfigError(
                f"axes '{self.axes}' must name z, y and x once each, such as zyx or xyz"
            )
        if self.voxel_size_um is not None:
            VoxelSize.of(self.voxel_size_um)


@dataclass(frozen=True, slots=True)
class Converted:
    """An image (z, y, x), its label of the same shape (uint8, 1 is vessel), their voxel size."""

    image: NDArray[Any]
    label: NDArray[np.uint8]
    voxel_size_um: VoxelSize | None


def convert_pair(
    description: Description, volume: PublicVolume, image: Path, label: Path, reading: Reading
) -> Converted:
    """Read an image and its label and bring them into our form.

    Raises
    ------
    DataError
        If a file is damaged, its axes or shape are not those described, image and label differ
        in shape, or the label has values that nobody described or no vessel at all.
    IntensityError
        If the image is not finite or constant.
    """
    axes = reading.axes or description.axes
    with open_volume(image) as opened:
        stated = opened.voxel_size_um
        intensities = _read(opened, volume, axes)
    with open_volume(label) as opened:
        values = _read(opened, volume, axes)
    if values.shape != intensities.shape:
        raise DataError(
            f"label '{label}' has shape (z, y, x) {values.shape}, its image '{image}' has "
            f"{intensities.shape}: they do not belong together, or one has permuted axes"
        )
    return Converted(
        image=_intensities(intensities, image),
        label=_vessels(values, label, description.vessel_values, reading.vessel_above),
        voxel_size_um=_voxel_size(volume, stated, image, reading),
    )


def _read(opened: Volume, volume: PublicVolume, axes: str) -> NDArray[Any]:
    """Return a volume as (z, y, x) of the described shape."""
    array = opened.read(Box.whole(opened.shape_zyx))
    # Some writers add an axis of length 1 at the front, where readers expect x.
    array = array[0] if array.shape[0] == 1 else array.squeeze()
    if array.ndim != 3:
        raise DataError(
            f"'{opened.source}' has shape (c, z, y, x) {opened.shape}, but one channel was "
            "expected: save the channel with the vessels by itself"
        )
    ordered = array.transpose([axes.index(axis) for axis in "zyx"])
    if volume.planes is not None:
        ordered = ordered[: volume.planes]
    _check_shape(opened.source, volume, array.shape, ordered.shape)
    return ordered


def _check_shape(
    source: str, volume: PublicVolume, read: tuple[int, ...], ordered: tuple[int, ...]
) -> None:
    expected = volume.shape_zyx
    if _fits(ordered, expected):
        return
    described = " x ".join("any" if n is None else str(n) for n in expected)
    fitting = [
        "".join(letters)
        for letters in itertools.permutations("zyx")
        if _fits(tuple(read[letters.index(axis)] for axis in "zyx"), expected)
    ]
    remedy = (
        f"its axes seem to be permuted: --axes {' or '.join(fitting)} would fit"
        if fitting
        else "it is of another data set or another version of it"
    )
    raise DataError(
        f"'{source}' is {' x '.join(map(str, ordered))} voxels (z, y, x), but {volume.name} is "
        f"described as {described}: {remedy}"
    )


def _fits(shape: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    return all(e is None or n == e for n, e in zip(shape, expected, strict=True))


def _intensities(array: NDArray[Any], source: Path) -> NDArray[Any]:
    """Return intensities without loss; counts that were stored in a wider type become counts."""
    if not np.isfinite(array).all():
        raise IntensityError(f"'{source}' holds NaN or infinite values: download it again")
    low, high = array.min(), array.max()
    if low == high:
        raise IntensityError(f"'{source}' has the value {low} everywhere: download it again")
    is_writable = array.dtype.name in _WRITABLE
    if is_writable and array.dtype.kind != "f":
        return np.ascontiguousarray(array)
    for narrower in (np.uint16, np.int32, np.uint32):
        limits = np.iinfo(narrower)
        if limits.min <= low and high <= limits.max:
            counts = array.astype(narrower)
            if (counts == array).all():
                return counts
    if is_writable:
        return np.ascontiguousarray(array)
    if array.dtype == np.float16:
        return array.astype(np.float32)
    raise DataError(
        f"'{source}' holds {array.dtype} values up to {high:g}, more than 32 bits: that is no "
        "image of a microscope; check that it is not a table of labels"
    )


def _vessels(
    array: NDArray[Any], source: Path, vessel_values: tuple[int, ...], above: float | None
) -> NDArray[np.uint8]:
    """Return 1 where a label says vessel, else 0."""
    if above is not None:
        mask = array > above
    else:
        found = [float(value) for value in np.unique(array)]
        vessel = set(vessel_values) or _only_value_beside_0(found, source)
        strange = [value for value in found if value not in vessel | {0}]
        if strange:
            raise DataError(
                f"label '{source}' holds the values {_listed(strange)}, but only 0 and "
                f"{_listed(sorted(vessel))} are described: it is of another data set, or give "
                "--vessel-above VALUE"
            )
        mask = np.isin(array, sorted(vessel))
    if not mask.any():
        raise DataError(f"label '{source}' has no vessel at all: it is damaged, or no label")
    return mask.astype(np.uint8)


def _only_value_beside_0(found: list[float], source: Path) -> set[int]:
    beside = [value for value in found if value != 0]
    if len(beside) > 1 or any(not value.is_integer() for value in beside):
        raise DataError(
            f"label '{source}' has {len(found)} values ({_listed(found)}) where 0 and one other "
            "were expected: say which are vessel with --vessel-above VALUE"
        )
    return {int(value) for value in beside}


def _listed(values: list[float] | list[int]) -> str:
    shown = ", ".join(f"{value:g}" for value in values[:6])
    return f"{shown}, …" if len(values) > 6 else shown


def _voxel_size(
    volume: PublicVolume, stated: VoxelSize | None, source: Path, reading: Reading
) -> VoxelSize | None:
    """Return the size that was given, else the described one, else that of the file."""
    known = reading.voxel_size_um or volume.voxel_size_um
    if known is not None:
        return VoxelSize.of(known)
    if stated is None:
        return None
    low, high = _PLAUSIBLE_UM
    if not all(math.isfinite(size) and low <= size <= high for size in stated.zyx_um):
        raise DataError(
            f"'{source}' states voxels of {stated}, which no microscope has; its unit is "
            "probably wrong: give the size with --voxel-size Z Y X in µm"
        )
    return stated
