"""Tables of brain regions, distances to the nearest vessel, and groups of animals.

::

    volume, names, atlas       which region a voxel or a point lies in
    counting, extravascular    voxels by region, block by block
    vessel_sums                vessels by region
    tables ──► groups          one row a region; animals compared
"""

from __future__ import annotations

__all__: list[str] = []
