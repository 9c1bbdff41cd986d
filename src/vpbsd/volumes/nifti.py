"""NIfTI-1 and -2, ``.nii`` and ``.nii.gz``: stored as (x, y, z), read as (z, y, x).

The array is taken as it is stored; the affine's flips and rotations are not applied. A gzip
stream has no entry points: the first read of a ``.nii.gz`` goes through all that lies before the
box, and builds an index (by indexed_gzip, through nibabel), by which later reads find their way.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.volumeutils import apply_read_scaling
from numpy.typing import NDArray

from vpbsd.errors import VolumeFormatError
from vpbsd.geometry import Box, Triplet, VoxelSize
from vpbsd.volumes.axes import AxisMap, Stored
from vpbsd.volumes.mapped import MappedVolume, map_contiguous
from vpbsd.volumes.units import voxel_size_from
from vpbsd.volumes.volume import Volume, checked_dtype, damaged

__all__ = ["open_nifti"]

# nibabel reads through indexed_gzip where it is installed.
_HAS_INDEX = importlib.util.find_spec("indexed_gzip") is not None


@dataclass(frozen=True, slots=True)
class _Stored:
    """How the voxels lie in the file, and how they are scaled (NIfTI: value * slope + inter)."""

    dtype: np.dtype[Any]
    offset: int
    slope: float
    inter: float

    @property
    def is_scaled(self) -> bool:
        return (self.slope, self.inter) != (1.0, 0.0)


class _NiftiVolume(MappedVolume):
    def __init__(self, path: Path, axes: AxisMap, stored: _Stored, size: VoxelSize | None) -> None:
        dtype = np.dtype(np.float32) if stored.is_scaled else stored.dtype
        super().__init__(path, axes, dtype, size)
        self._place = stored

    @property
    def chunk_voxels(self) -> Triplet | None:
        if self.path.suffix == ".nii":
            return None
        # With its index a plane costs a plane; without, a box costs all that lies before it.
        return (1, *self.shape_zyx[1:]) if _HAS_INDEX else self.shape_zyx

    def _stored(self) -> Stored:
        if self.path.suffix != ".nii":
            proxy: Stored = self._opened(lambda: cast(Any, nib.load(self.path)).dataobj)
            return proxy
        # Mapped by us: nibabel seeks and reads row by row, which takes ten times as long.
        place = self._place
        return map_contiguous(
            self.path, place.offset, place.dtype, self._axes.stored_shape[::-1]
        ).transpose()

    def _read(self, box: Box, channels: tuple[int, ...]) -> NDArray[Any]:
        block = super()._read(box, channels)
        if self.path.suffix != ".nii":  # nibabel has scaled it already
            return block
        scaled: NDArray[Any] = apply_read_scaling(block, self._place.slope, self._place.inter)
        return scaled


def open_nifti(path: Path) -> Volume:
    """Open a NIfTI file.

    Values with a slope or intercept in the header are scaled and returned as float32. A voxel
    size counts as known only where the header states its unit: the default sizes of 1 without
    a unit mean that nobody filled them in.

    Raises
    ------
    VolumeFormatError
        If it is not NIfTI, truncated, 2D, a time series, or in colour.
    """
    source = str(path)
    try:
        image: Any = nib.load(path)
        stored = checked_dtype(image.header.get_data_dtype(), source)
        proxy = image.dataobj
        spatial_unit, time_unit = image.header.get_xyzt_units()
        steps = [float(v) for v in image.header.get_zooms()[:3]]
    except (ImageFileError, HeaderDataError) as error:
        raise damaged(source, error) from error
    axes = AxisMap.of(_letters(proxy.shape, time_unit), proxy.shape, source)
    place = _Stored(proxy.dtype, int(proxy.offset), float(proxy.slope), float(proxy.inter))
    if path.suffix == ".nii":
        _refuse_truncated(path, proxy.offset + int(np.prod(proxy.shape)) * stored.itemsize)
    voxel_size = None
    if len(steps) == 3:
        voxel_size = voxel_size_from(steps[::-1], [spatial_unit] * 3)
    return _NiftiVolume(path, axes, place, voxel_size)


def _letters(shape: tuple[int, ...], time_unit: str) -> str:
    """Name the axes: NIfTI's fourth is time, its fifth holds several values a voxel."""
    if len(shape) == 4 and time_unit not in ("sec", "msec", "usec"):
        # Without a unit of time, what writers put there is channels.
        return "xyzc"
    return "xyztcuvw"[: len(shape)]


def _refuse_truncated(path: Path, expected_bytes: int) -> None:
    found = path.stat().st_size
    if found < expected_bytes:
        raise VolumeFormatError(
            f"'{path}' is truncated: {found:,} of {expected_bytes:,} bytes are there; copy it again"
        )
