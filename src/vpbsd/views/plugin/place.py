"""Where the viewer looks, in voxels of a layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vpbsd.errors import DataError
from vpbsd.geometry import Box, as_triplet

__all__ = ["box_around", "centre_voxel", "view_box"]


def box_around(centre: Sequence[float], edges: Sequence[int], shape: Sequence[int]) -> Box:
    """Return a box of ``edges`` voxels with its middle at ``centre``, clipped to a volume.

    Raises
    ------
    DataError
        If nothing of it lies inside the volume.
    """
    start = [round(c - (e - 1) / 2) for c, e in zip(centre, edges, strict=True)]
    whole = Box.whole(shape)
    box = Box.at(start, edges).intersect(whole)
    if box.is_empty:
        raise DataError(
            f"a box of {as_triplet(edges)} voxels around {tuple(round(c) for c in centre)} lies "
            f"outside the image of {whole.shape} voxels; move the view onto the image"
        )
    return box


def centre_voxel(viewer: Any, layer: Any) -> tuple[float, ...]:
    """Return the voxel of a layer in the middle of the view, which may lie outside the layer.

    Along the axes that are shown, where the camera looks; along the others, the slice.
    """
    world = [float(v) for v in viewer.dims.point]
    shown = list(viewer.dims.displayed)
    # The camera counts three axes, of which a 2D view uses the last two.
    for axis, place in zip(shown, _camera(viewer).center[-len(shown) :], strict=True):
        world[axis] = float(place)
    return tuple(float(v) for v in layer.world_to_data(world[-layer.ndim :]))


def view_box(viewer: Any, layer: Any, depth_voxels: Sequence[int]) -> Box:
    """Return the part of a layer that the view shows.

    Parameters
    ----------
    viewer, layer
        Of napari; the layer has three axes.
    depth_voxels
        Edges (z, y, x) to take along the axes that are not shown, around the slice.

    Raises
    ------
    DataError
        If the view shows nothing of the layer.
    """
    centre = centre_voxel(viewer, layer)
    box = box_around(
        [min(max(c, 0), n - 1) for c, n in zip(centre, _shape(layer), strict=True)],
        depth_voxels,
        _shape(layer),
    )
    # Corners are in voxels of the level that is drawn.
    factor = np.asarray(layer.downsample_factors)[layer.data_level] if layer.multiscale else 1.0
    low, high = np.asarray(layer.corner_pixels) * factor
    offset = viewer.dims.ndim - layer.ndim
    start, stop = list(box.start), list(box.stop)
    for axis in (a - offset for a in viewer.dims.displayed if a >= offset):
        start[axis] = max(0, int(np.floor(low[axis])))
        stop[axis] = min(_shape(layer)[axis], int(np.ceil(high[axis])) + 1)
    shown = Box(as_triplet(start), as_triplet(stop))
    if shown.is_empty:
        raise DataError(f"the view shows nothing of layer '{layer.name}'; move it into the view")
    return shown


def _camera(viewer: Any) -> Any:
    """Return the camera, which napari 0.9 moved from the viewer to its scene."""
    return viewer.scene.camera if hasattr(viewer, "scene") else viewer.camera


def _shape(layer: Any) -> tuple[int, int, int]:
    return as_triplet((layer.data[0] if layer.multiscale else layer.data).shape)
