"""The state of a neuroglancer view, as the JSON that stands in its link.

Fields as neuroglancer documents them: https://neuroglancer-docs.web.app (viewer state, data
sources). Its axes are named and we list them x, y, z; a position is in voxels of
the ``dimensions``, and, as in OME-Zarr, 0 is the centre of the first voxel where no translation
says otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np
from numpy.typing import NDArray

from vpbsd.geometry import VoxelSize
from vpbsd.views.intensities import intensity_range
from vpbsd.views.layer import ZarrLayer

__all__ = [
    "NEUROGLANCER",
    "intensity_range",
    "link",
    "skeleton_layer",
    "viewer_state",
    "zarr_layer",
]

NEUROGLANCER = "https://neuroglancer-demo.appspot.com"

_MASK_COLOUR = "#e63c3c"
_METRES_PER_MICROMETRE = 1e-6
# The larger edge of a volume as it is shown first, in pixels of a panel, and against the height
# of the 3D panel.
_FIRST_PIXELS = 500
_FIRST_HEIGHTS = 1.5

_IMAGE_SHADER = "#uicontrol invlerp normalized\nvoid main() {\n  emitGrayscale(normalized());\n}\n"
# By the logarithm: a trunk is thirty times as thick as a capillary.
_RADIUS_SHADER = """\
#uicontrol float thin_um slider(min=0.0, max={most:.3f}, default={thin:.3f})
#uicontrol float thick_um slider(min=0.0, max={most:.3f}, default={thick:.3f})
void main() {{
  float least = max(thin_um, 0.001);
  float share = log(max(prop_radius_um(), 0.001) / least) / log(max(thick_um / least, 1.001));
  emitRGB(colormapJet(clamp(share, 0.0, 1.0)));
}}
"""
_THIN_PERCENT, _THICK_PERCENT = 5.0, 95.0


def zarr_layer(layer: ZarrLayer, url: str, name: str) -> dict[str, Any]:
    """Return the layer that shows an OME-Zarr served at ``url``.

    A mask is shown with its vessels chosen, labels with all of them, and the rest as grey values
    between dark and bright, which can be changed in the viewer.
    """
    scheme = "zarr3" if layer.zarr_format == 3 else "zarr2"
    shown: dict[str, Any] = {"name": name, "source": f"{scheme}://{url}"}
    if layer.is_labels:
        shown = {"type": "segmentation", **shown}
        if layer.kind == "mask":
            shown |= {"segments": ["1"], "segmentColors": {"1": _MASK_COLOUR}}
        return shown
    span = (0.0, 255.0) if layer.kind == "probability" else intensity_range(layer.volume)
    return {
        "type": "image",
        **shown,
        "shader": _IMAGE_SHADER,
        "shaderControls": {"normalized": {"range": list(span)}},
    }


def skeleton_layer(
    url: str, name: str, segments: Sequence[int], radius_um: NDArray[np.float32]
) -> dict[str, Any]:
    """Return the layer that shows a graph written by :mod:`vpbsd.views.precomputed`.

    Parameters
    ----------
    url, name
        Where it is served, and what it is called.
    segments
        Numbers of its parts; all are shown.
    radius_um
        Of its points, to choose the colours: blue = thin, red = thick.
    """
    thin, thick, most = np.percentile(radius_um, (_THIN_PERCENT, _THICK_PERCENT, 100.0))
    shader = _RADIUS_SHADER.format(thin=thin, thick=thick, most=max(most, 0.001))
    return {
        "type": "segmentation",
        "name": name,
        "source": f"precomputed://{url}",
        "segments": [str(segment) for segment in segments],
        "skeletonRendering": {"mode3d": "lines", "lineWidth3d": 3, "shader": shader},
    }


def viewer_state(
    layers: Sequence[Mapping[str, Any]],
    voxel_size: VoxelSize,
    shape_voxels: Sequence[int],
    translation_um: Sequence[float] = (0.0, 0.0, 0.0),
) -> dict[str, Any]:
    """Return the state that shows a whole volume from its middle.

    Parameters
    ----------
    layers
        The lowest first.
    voxel_size, shape_voxels, translation_um
        Of the volume that sets the view: its voxels, (z, y, x), and the place of the first.
    """
    sizes_um = voxel_size.zyx_um
    middle = [
        t / v + (n - 1) / 2 for n, v, t in zip(shape_voxels, sizes_um, translation_um, strict=True)
    ]
    # Both scales count in the finest voxel edge.
    extent = max(n * v for n, v in zip(shape_voxels, sizes_um, strict=True)) / min(sizes_um)
    return {
        "dimensions": {
            name: [float(f"{size * _METRES_PER_MICROMETRE:.12g}"), "m"]
            for name, size in zip("xyz", reversed(sizes_um), strict=True)
        },
        "position": list(reversed(middle)),
        "crossSectionScale": extent / _FIRST_PIXELS,
        "projectionScale": extent * _FIRST_HEIGHTS,
        "layers": [dict(layer) for layer in layers],
        "selectedLayer": {"visible": False, "layer": layers[-1]["name"]},
        "layout": "4panel",
    }


def link(viewer: str, state: Mapping[str, Any]) -> str:
    """Return the address that opens a viewer with a state."""
    page = viewer.partition("#")[0]
    if not urlsplit(page).path:
        page += "/"
    return f"{page}#!{quote(json.dumps(state, separators=(',', ':')), safe=',:')}"
