"""NIfTI-1 and -2, ``.nii`` and ``.nii.gz``: stored as (x, y, z), read as (z, y, x).

The array is taken as it is stored; the affine's flips and rotations are not applied. A gzip
stream has no entry points, so that each box of a ``.nii.gz`` costs the decompression of all
that lies before it: unpack large ones first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import DTypeLike

from vpbsd.errors import VolumeFormatError
from vpbsd.geometry import VoxelSize
from vpbsd.volumes.axes import AxisMap, Stored
from vpbsd.volumes.mapped import MappedVolume
from vpbsd.volumes.units import voxel_size_from
from vpbsd.volumes.volume import Volume, checked_dtype, damaged

__all__ = ["open_nifti"]


class _NiftiVolume(MappedVolume):
    def __init__(
        self, path: Path, axes: AxisMap, dtype: DTypeLike, size: VoxelSize | None, proxy: Stored
    ) -> None:
        super().__init__(path, axes, dtype, size)
        self._proxy = proxy

    def _stored(self) -> Stored:
        # nibabel's proxy opens the file at each access and applies slope and intercept.
        return self._proxy


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
    is_scaled = (float(proxy.slope), float(proxy.inter)) != (1.0, 0.0)
    if path.suffix == ".nii":
        _refuse_truncated(path, proxy.offset + int(np.prod(proxy.shape)) * stored.itemsize)
    voxel_size = None
    if len(steps) == 3:
        voxel_size = voxel_size_from(steps[::-1], [spatial_unit] * 3)
    dtype = np.dtype(np.float32) if is_scaled else stored
    return _NiftiVolume(path, axes, dtype, voxel_size, proxy)


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
