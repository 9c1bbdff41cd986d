"""Pictures of a volume, its truth and what was found, after the paper's colour map.

Green is right, blue was missed, red was over-segmented. Figures are drawn with matplotlib's
objects, never through pyplot, so that nothing global changes and no display is needed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vpbsd.errors import DataError, OutputError
from vpbsd.geometry import VoxelSize
from vpbsd.metrics.overlap import overlap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "comparison_map", "overview_figure", "save_figure", "scale_bar_um"]

COLOURS = {
    "background": (18, 18, 24),
    "right": (86, 190, 100),
    "missed": (64, 132, 244),
    "over-segmented": (232, 68, 58),
}
"""Red, green, blue (0 to 255) of each kind of voxel."""

_TRUTH = (236, 236, 236)
_PANEL_INCHES = 2.9
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


def overview_figure(
    image: NDArray[Any],
    truth: NDArray[Any],
    predictions: Mapping[str, NDArray[Any]],
    voxel_size_um: VoxelSize,
    path: Path,
) -> None:
    """Draw input, truth and colour maps: the middle slice above, a projection below.

    The projection is the maximum along z over the central 60 µm.

    Parameters
    ----------
    image
        Intensities (z, y, x).
    truth
        Mask (z, y, x).
    predictions
        Name of each method and its mask (z, y, x); one column each, with the Dice of the whole
        volume in the title.
    voxel_size_um
        For the scale bar and the shape of pixels.
    path
        Where to write; the suffix decides the format.

    Raises
    ------
    DataError
        If shapes differ.
    OutputError
        If the figure cannot be written.
    """
    from matplotlib.figure import Figure

    for name, mask in {"image": image, **predictions}.items():
        if mask.shape != truth.shape or truth.ndim != 3:
            raise DataError(
                f"the {name} has shape {mask.shape}, the truth {truth.shape}; all must be "
                "(z, y, x) of the same volume"
            )
    columns = 2 + len(predictions)
    height_over_width = _aspect(voxel_size_um) * truth.shape[1] / truth.shape[2]
    figure = Figure(
        figsize=(_PANEL_INCHES * columns + 0.3, 2 * _PANEL_INCHES * height_over_width + 0.9),
        layout="constrained",
    )
    axes = figure.subplots(2, columns, squeeze=False)
    for line, slab in zip(axes, _slabs(truth.shape[0], voxel_size_um), strict=True):
        masks = [truth, *predictions.values()]
        _draw_row(line, image[slab], [mask[slab] != 0 for mask in masks], voxel_size_um)
        depth = f"projection of {(slab.stop - slab.start) * voxel_size_um.z_um:.3g} µm"
        line[0].set_ylabel(f"slice {slab.start}" if slab.stop == slab.start + 1 else depth)
    titles = ["input", "truth"]
    titles += [f"{n}\nDice {overlap(m, truth).dice:.3f}" for n, m in predictions.items()]
    for place, title in zip(axes[0], titles, strict=True):
        place.set_title(title, fontsize=10)
    if predictions:
        _draw_legend(figure)
    save_figure(figure, path)


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


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure, so that ``path`` holds the old or the new picture, never a part.

    Raises
    ------
    OutputError
        If the file cannot be written, or its suffix names no known format.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        figure.savefig(partial, dpi=140)
        partial.replace(path)
    except (OSError, ValueError) as error:
        raise OutputError(
            f"cannot write the figure {path}: {error}; choose a folder that exists and is yours, "
            "and a suffix such as .png or .pdf"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def _draw_row(
    line: Sequence[Axes],
    image: NDArray[Any],
    masks: Sequence[NDArray[np.bool_]],
    voxel_size_um: VoxelSize,
) -> None:
    """Draw one slab (z, y, x) as its maximum along z; the first mask is the truth."""
    true, *found = [mask.max(axis=0) for mask in masks]
    panels: list[NDArray[Any]] = [_stretched(image.max(axis=0)), _coloured(true)]
    panels += [comparison_map(mask, true) for mask in found]
    for axes, panel in zip(line, panels, strict=True):
        _show(axes, panel, voxel_size_um)
    _draw_scale_bar(line[0], image.shape[2], voxel_size_um)


def _slabs(planes: int, voxel_size_um: VoxelSize) -> tuple[slice, slice]:
    """Return the middle slice, and the slab around it that is thin enough to see through."""
    thick = max(1, min(planes, round(_PROJECTION_UM / voxel_size_um.z_um)))
    first = (planes - thick) // 2
    return slice(planes // 2, planes // 2 + 1), slice(first, first + thick)


def _aspect(voxel_size_um: VoxelSize) -> float:
    return voxel_size_um.y_um / voxel_size_um.x_um


def _stretched(plane: NDArray[Any]) -> NDArray[np.float64]:
    """Scale intensities to 0..1 so that dim capillaries show beside bright trunks."""
    finite = plane[np.isfinite(plane)].astype(np.float64)
    low, high = np.percentile(finite, (1.0, 99.8)) if finite.size else (0.0, 1.0)
    span = max(float(high - low), 1e-12)
    scaled = np.nan_to_num(np.clip((plane.astype(np.float64) - low) / span, 0, 1))
    return np.asarray(np.sqrt(scaled))


def _coloured(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    palette = np.array([COLOURS["background"], _TRUTH], np.uint8)
    return np.asarray(palette[mask.astype(np.intp)])


def _show(axes: Axes, panel: NDArray[Any], voxel_size_um: VoxelSize) -> None:
    axes.imshow(
        panel,
        cmap="gray",
        vmin=0,
        vmax=1,
        aspect=_aspect(voxel_size_um),
        interpolation="nearest",
    )
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(False)


def _draw_scale_bar(axes: Axes, width_voxels: int, voxel_size_um: VoxelSize) -> None:
    from matplotlib.patheffects import withStroke

    length_um = scale_bar_um(width_voxels * voxel_size_um.x_um)
    share = length_um / (width_voxels * voxel_size_um.x_um)
    outline = [withStroke(linewidth=2, foreground="black")]
    bar: dict[str, Any] = {"transform": axes.transAxes, "color": "white", "path_effects": outline}
    axes.plot([0.04, 0.04 + share], [0.05, 0.05], linewidth=3, solid_capstyle="butt", **bar)
    axes.text(0.04, 0.075, f"{length_um:g} µm", fontsize=9, va="bottom", **bar)


def _draw_legend(figure: Figure) -> None:
    from matplotlib.patches import Patch

    kinds = ("right", "missed", "over-segmented")
    patches = [Patch(color="#{:02x}{:02x}{:02x}".format(*COLOURS[k]), label=k) for k in kinds]
    figure.legend(
        handles=patches, loc="outside lower center", ncols=len(kinds), frameon=False, fontsize=10
    )
