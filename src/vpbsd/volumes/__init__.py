"""What is on disk: lazily read volumes, their intensity scale, and the OME-Zarr output.

::

    open_volume(path) ──► Volume.read(box) ──► (c, z, y, x) in the file's own type
    CachedVolume(volume, limit_bytes) ──► the same, no chunk decoded twice for neighbouring boxes
    estimate_intensity(volume) ──► IntensityScale.apply(block) ──► float32, the nets' input
    OmeZarrWriter.create(path, layout) ──► write(box, array) ──► write_coarse(level, box)
                                       ──► finish()
    write_ome_tiff(path, array, voxel size) ──► one file, for volumes that fit into memory

Readers, one a file: ``tiff`` and ``planes``, ``nifti``, ``ome_zarr``, ``hdf5``, ``imaris``,
``npy``.
"""

from __future__ import annotations

from vpbsd.volumes.cache import CachedVolume, decode_factor
from vpbsd.volumes.intensity import IntensityScale, estimate_intensity
from vpbsd.volumes.labels import labels_image
from vpbsd.volumes.layout import OutputLayout
from vpbsd.volumes.metadata import read_attributes
from vpbsd.volumes.ome_tiff import write_ome_tiff
from vpbsd.volumes.open import open_volume
from vpbsd.volumes.store import Location, exists, is_url
from vpbsd.volumes.volume import ArrayVolume, Volume
from vpbsd.volumes.writer import OmeZarrWriter

__all__ = [
    "ArrayVolume",
    "CachedVolume",
    "IntensityScale",
    "Location",
    "OmeZarrWriter",
    "OutputLayout",
    "Volume",
    "decode_factor",
    "estimate_intensity",
    "exists",
    "is_url",
    "labels_image",
    "open_volume",
    "read_attributes",
    "write_ome_tiff",
]
