"""Sample data: a small simulated vessel volume with its exact truth, made on the spot."""

from __future__ import annotations

from typing import Any

__all__ = ["simulated_volume"]

_SHAPE_VOXELS = (64, 96, 96)
_SEED = 7


def simulated_volume() -> list[tuple[Any, dict[str, Any], str]]:
    """Return image and truth as napari layers, in micrometres."""
    from vpbsd.config import SimulateConfig
    from vpbsd.data.simulate import simulate_volume

    made = simulate_volume(SimulateConfig(shape_voxels=_SHAPE_VOXELS), _SEED)
    place = {"scale": made.voxel_size_um.zyx_um, "units": ("micrometer",) * 3}
    return [
        (made.image, {"name": "simulated vessels", **place}, "image"),
        (made.mask, {"name": "truth", "opacity": 0.5, **place}, "labels"),
    ]
