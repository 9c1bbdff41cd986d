"""What a panel of a picture is made of: colour map, slabs to look at, grey values, scale bar."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vpbsd.errors import DataError
from vpbsd.geometry import VoxelSize

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "COLOURS",
    "aspect",
    "coloured",
    "comparison_map",
    "draw_scale_bar",
    "scale_bar_um",
    "show",
    "slabs",
    "stretched",
]

COLOURS = {
    "background": (18, 18, 24),
    "right": (86, 190, 100),
    "missed": (64, 132, 244),
    "over-segmented": (232, 68, 58),
}
"""Red, green, blue (0 to 255) of each kind of voxel."""

_TRUTH = (236, 236, 236)
# Capillaries are some 40 µm apart: a thicker projection of a mask is a filled square.
_PROJECTION_UM = 60.0


def comparison_map(prediction: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.uint8]:
    """Colour each voxel by whether prediction and truth agree.

    Parameters
    ----------
    prediction, truth
        Masks of one shape (...), any number of axes; everything but 0 is vessel.

    Returns
    -------
    ndarray
        (..., 3) uint8, red, green, blue of :data:`COLOURS`.

    Raises
    ------
    DataError
        If the shapes differ.
    """
    found, true = np.asarray(prediction) != 0, np.asarray(truth) != 0
    if found.shape != true.shape:
        raise DataError(
            f"cannot compare a prediction of shape {found.shape} with a truth of {true.shape}; "
            "both must be masks of the same volume"
        )
    palette = np.array(
        [COLOURS["background"], COLOURS["missed"], COLOURS["over-segmented"], COLOURS["right"]],
        np.uint8,
    )
    return np.asarray(palette[true + 2 * found])


def scale_bar_um(width_um: float) -> float:
    """Return the round length (1, 2 or 5 times a power of ten) nearest below a third of a width.

    Parameters
    ----------
    width_um
        Width of the picture in micrometres.
    """
    longest = width_um / 3
    power = 10.0 ** math.floor(math.log10(longest))
    return max(step * power for step in (1, 2, 5) if step * power <= longest)


def slabs(planes: int, voxel_size_um: VoxelSize) -> tuple[slice, slice]:
    """Return the middle slice, and the slab around it that is thin enough to see through."""
    thick = max(1, min(planes, round(_PROJECTION_UM / voxel_size_um.z_um)))
    first = (planes - thick) // 2
    return slice(planes // 2, planes // 2 + 1), slice(first, first + thick)


def aspect(voxel_size_um: VoxelSize) -> float:
    """Return height over width of one (y, x) voxel."""
    return voxel_size_um.y_um / voxel_size_um.x_um


def stretched(plane: NDArray[Any]) -> NDArray[np.float64]:
    """Scale intensities to 0..1 so that dim capillaries show beside bright trunks."""
    finite = plane[np.isfinite(plane)].astype(np.float64)
    low, high = np.percentile(finite, (1.0, 99.8)) if finite.size else (0.0, 1.0)
    span = max(float(high - low), 1e-12)
    scaled = np.nan_to_num(np.clip((plane.astype(np.float64) - low) / span, 0, 1))
    return np.asarray(np.sqrt(scaled))


def coloured(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return a mask (...) as light on dark, (..., 3) uint8."""
    palette = np.array([COLOURS["background"], _TRUTH], np.uint8)
    return np.asarray(palette[mask.astype(np.intp)])


def show(axes: Axes, panel: NDArray[Any], voxel_size_um: VoxelSize) -> None:
    """Draw a plane (y, x) of greys from 0 to 1, or of colours, without a frame."""
    axes.imshow(
        panel,
        cmap="gray",
        vmin=0,
        vmax=1,
        aspect=aspect(voxel_size_um),
        interpolation="nearest",
    )
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(False)


def draw_scale_bar(axes: Axes, width_voxels: int, voxel_size_um: VoxelSize) -> None:
    """Draw a bar of a round length at the lower left of a picture of so many voxels."""
    from matplotlib.patheffects import withStroke

    length_um = scale_bar_um(width_voxels * voxel_size_um.x_um)
    share = length_um / (width_voxels * voxel_size_um.x_um)
    outline = [withStroke(linewidth=2, foreground="black")]
    bar: dict[str, Any] = {"transform": axes.transAxes, "color": "white", "path_effects": outline}
    axes.plot([0.04, 0.04 + share], [0.05, 0.05], linewidth=3, solid_capstyle="butt", **bar)
    axes.text(0.04, 0.075, f"{length_um:g} µm", fontsize=9, va="bottom", **bar)
