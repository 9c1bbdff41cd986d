"""One array: any mask to vessels, their distances, and the centrelines that thinning leaves.

::

    vessels ──► cavities ──► distance ──► thinning (simple points)

Nothing here knows of blocks; what a block must read around itself is `thinning.halo_voxels`.
"""

from __future__ import annotations

__all__: list[str] = []
