"""A vessel graph as napari layers: vessels as short vectors, which it draws by the ten thousand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vpbsd.views.graph_folder import MOST_POINTS, Nodes, Polylines, read_edges, read_nodes

__all__ = ["graph_layers"]

_UNITS = ("micrometer",) * 3
_COLOURS = "turbo"
_THIN_PERCENT, _THICK_PERCENT = 5.0, 95.0
_LEAST_NODE_UM = 1.0


def graph_layers(folder: Path, most_points: int = MOST_POINTS) -> list[tuple[Any, Any, str]]:
    """Return vessels and nodes of a graph as napari layers, in micrometres.

    Parameters
    ----------
    folder
        As ``vpbsd graph`` leaves it.
    most_points
        Points and nodes beyond are left out, which the layer's name tells; see
        :mod:`vpbsd.views.graph_folder`.

    Raises
    ------
    DataError
        If a table is missing, damaged, or another one.
    """
    name = folder.resolve().name
    edges = _edges(read_edges(folder, most_points), f"{name} vessels")
    return [edges, _nodes(read_nodes(folder, most_points), f"{name} nodes")]


def _edges(vessels: Polylines, name: str) -> tuple[Any, dict[str, Any], str]:
    start = vessels.segment_start
    ends = vessels.position_um[start], vessels.position_um[start + 1]
    radius = (vessels.radius_um[start] + vessels.radius_um[start + 1]) / 2
    row = vessels.point_row[start]
    settings: dict[str, Any] = {
        "name": f"{name} ({vessels.note})" if vessels.note else name,
        "features": {
            "radius_um": radius,
            "edge": vessels.edge[row],
            "component": vessels.component[row],
        },
        "vector_style": "line",
        "length": 1.0,
        "units": _UNITS,
        "metadata": {"vpbsd": {"kind": "graph edges", "left_out": vessels.left_out}},
    }
    if len(radius):
        limits = np.percentile(radius, (_THIN_PERCENT, _THICK_PERCENT)).tolist()
        settings |= {
            "edge_color": "radius_um",
            "edge_colormap": _COLOURS,
            "edge_contrast_limits": _apart(limits),
            "edge_width": max(float(np.median(radius)) / 2, 0.1),
        }
    return np.stack([ends[0], ends[1] - ends[0]], axis=1), settings, "vectors"


def _nodes(nodes: Nodes, name: str) -> tuple[Any, dict[str, Any], str]:
    note = f" (without the {nodes.left_out} thinnest)" if nodes.left_out else ""
    settings: dict[str, Any] = {
        "name": f"{name}{note}",
        "features": {
            "node": nodes.node,
            # As a float: napari takes few whole numbers for categories, and says so each time.
            "degree": nodes.degree.astype(np.float32),
            "radius_um": nodes.radius_um,
        },
        "size": np.maximum(2 * nodes.radius_um, _LEAST_NODE_UM),
        "border_width": 0.0,
        "opacity": 0.7,
        "units": _UNITS,
        "metadata": {"vpbsd": {"kind": "graph nodes", "left_out": nodes.left_out}},
    }
    if len(nodes.node):
        limits = [float(nodes.degree.min()), float(nodes.degree.max())]
        settings |= {
            "face_color": "degree",
            "face_colormap": _COLOURS,
            "face_contrast_limits": _apart(limits),
        }
    else:
        settings |= {"ndim": 3, "size": 1.0}
    return nodes.position_um, settings, "points"


def _apart(limits: list[float]) -> tuple[float, float]:
    """Return limits of which the second is above the first."""
    low, high = limits
    return (low, high) if high > low else (low, low + 1.0)
