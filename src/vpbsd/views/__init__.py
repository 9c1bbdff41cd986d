"""Results looked at in other programs: napari, and neuroglancer in a browser.

::

    OUT.ome.zarr, GRAPH/ ──► plugin/ (npe2): reader, crop widget, sample ──► napari
                         └─► server (127.0.0.1) ◄── neuroglancer (state) ──► browser

Nothing here needs Qt or napari to be imported, but for ``plugin.widget``.
"""

from __future__ import annotations

__all__: list[str] = []
