"""What is on disk: lazily read volumes, their intensity scale, and the OME-Zarr output.

::

    open_volume(path) ──► Volume.read(box) ──► (c, z, y, x) in the file's own type
    estimate_intensity(volume) ──► IntensityScale.apply(block) ──► float32, the nets' input
    OmeZarrWriter.create(path, layout) ──► write(box, array) ──► finish()

Readers, one a file: ``tiff`` and ``planes``, ``nifti``, ``ome_zarr``, ``hdf5``, ``imaris``,
``npy``.
"""

from __future__ import annotations

from vpbsd.volumes.intensity import IntensityScale, estimate_intensity
from vpbsd.volumes.layout import OutputLayout
from vpbsd.volumes.open import open_volume
from vpbsd.volumes.volume import ArrayVolume, Volume
from vpbsd.volumes.writer import OmeZarrWriter, read_attributes

__all__ = [
    "ArrayVolume",
    "IntensityScale",
    "OmeZarrWriter",
    "OutputLayout",
    "Volume",
    "estimate_intensity",
    "open_volume",
    "read_attributes",
]
