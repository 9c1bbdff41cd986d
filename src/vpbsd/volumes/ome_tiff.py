"""Write a volume that fits into memory as one lossless OME-TIFF, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vpbsd.geometry import VoxelSize

__all__ = ["write_ome_tiff"]


def write_ome_tiff(path: Path, array: NDArray[np.generic], voxel_size_um: VoxelSize | None) -> None:
    """Write ``array`` (z, y, x) in its own type, zlib-compressed, with its voxel size if known.

    Raises
    ------
    OSError
        If the file cannot be written; nothing is left under ``path`` then.
    """
    import tifffile

    metadata: dict[str, object] = {"axes": "ZYX"}
    if voxel_size_um is not None:
        for axis, size in zip("ZYX", voxel_size_um.zyx_um, strict=True):
            metadata[f"PhysicalSize{axis}"] = size
            metadata[f"PhysicalSize{axis}Unit"] = "µm"
    partial = path.with_name(f".{path.name}.partial")
    try:
        tifffile.imwrite(partial, array, ome=True, compression="zlib", metadata=metadata)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
