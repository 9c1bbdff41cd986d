"""The reader: what vpbsd wrote, as napari layers, without loading it.

::

    *.ome.zarr     mask, labels   labels layer, with its pyramid
                   probability    image layer from 0 to 255
                   image          one image layer a channel
    GRAPH/         edges          vectors, coloured by radius
                   nodes          points, with their degree

All in micrometres.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vpbsd.errors import VpbsdError
from vpbsd.views.graph_folder import is_graph_folder
from vpbsd.views.intensities import intensity_range
from vpbsd.views.layer import ZarrLayer, open_layer, pyramid
from vpbsd.views.plugin.graph_layers import graph_layers
from vpbsd.views.plugin.lazy import lazy_channels

__all__ = ["LayerData", "get_reader", "read"]

LayerData = tuple[Any, dict[str, Any], str]

_UNITS = ("micrometer",) * 3
_PROBABILITY_COLOURS = "inferno"


def get_reader(path: str | Sequence[str]) -> Callable[[str], list[LayerData]] | None:
    """Return the reader of a path; None for what others read.

    OME-Zarrs that vpbsd did not write are left to other plugins.
    """
    if not isinstance(path, str):
        return None
    try:
        return read if _graph(path) is not None or open_layer(path).ours else None
    except VpbsdError:
        return None  # nothing of ours; who reads it tells what is wrong with it


def read(path: str) -> list[LayerData]:
    """Return the layers of an OME-Zarr or a graph, the lowest first.

    Raises
    ------
    VpbsdError
        If it cannot be read; one sentence says why.
    """
    graph = _graph(path)
    return graph_layers(graph) if graph is not None else _zarr_layers(open_layer(path))


def _graph(path: str) -> Path | None:
    """Return the folder of a graph, named itself or by the table of its edges."""
    place = Path(path)
    folder = place if place.is_dir() else place.parent
    named = place.is_dir() or place.name == "edges.parquet"
    return folder if named and is_graph_folder(folder) else None


def _zarr_layers(layer: ZarrLayer) -> list[LayerData]:
    levels = [lazy_channels(level) for level in pyramid(layer.volume)]
    shared = {
        "multiscale": len(levels) > 1,
        "scale": layer.voxel_size.zyx_um,
        "translate": layer.translation_um,
        "units": _UNITS,
        "metadata": {"vpbsd": {"kind": layer.kind, "source": str(layer.path)}},
    }
    found: list[LayerData] = []
    for channel in range(layer.volume.channels):
        arrays = [level[channel] for level in levels]
        name = layer.name if layer.volume.channels == 1 else f"{layer.name} channel {channel}"
        settings = {"name": name, **shared, **_look(layer, channel)}
        data = arrays if len(arrays) > 1 else arrays[0]
        found.append((data, settings, "labels" if layer.is_labels else "image"))
    return found


def _look(layer: ZarrLayer, channel: int) -> dict[str, Any]:
    """Return how a channel is drawn; napari would read whole planes to find contrast limits."""
    if layer.is_labels:
        return {"opacity": 0.6}
    if layer.kind == "probability":
        return {
            "contrast_limits": (0.0, 255.0),
            "colormap": _PROBABILITY_COLOURS,
            "blending": "additive",
        }
    limits = intensity_range(layer.volume, channel)
    return {"contrast_limits": limits, "blending": "additive" if channel else "translucent"}
