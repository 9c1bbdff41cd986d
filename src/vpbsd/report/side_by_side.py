"""Input, truth and what every method found, side by side: slices, and projections below them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vpbsd.errors import ConfigError
from vpbsd.geometry import VoxelSize
from vpbsd.report.figures import draw_legend, require_one_shape, save_figure
from vpbsd.report.panels import (
    aspect,
    coloured,
    comparison_map,
    draw_scale_bar,
    show,
    slabs,
    stretched,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["side_by_side_figure"]

_PANEL_INCHES = 1.75
_TITLE_INCHES = 0.34


def side_by_side_figure(
    image: NDArray[Any],
    truth: NDArray[Any],
    masks: Mapping[str, NDArray[Any]],
    voxel_size_um: VoxelSize,
    path: Path,
    *,
    columns: int = 6,
    field_voxels: int = 192,
) -> None:
    """Draw input, truth and every method: green is right, blue missed, red over-segmented.

    Each panel is the middle slice, and below it the maximum along z over the central 60 µm.

    Parameters
    ----------
    image
        Intensities (z, y, x).
    truth
        Mask (z, y, x).
    masks
        Title of each method, which may have two lines, and its mask (z, y, x).
    voxel_size_um
        For the scale bar and the shape of pixels.
    path
        Where to write; the suffix decides the format.
    columns
        Panels beside each other; more methods go on below.
    field_voxels
        Of a wider volume the middle so many voxels along y and x are shown: in more, faults of one
        voxel could not be seen.

    Raises
    ------
    DataError
        If shapes differ.
    ConfigError
        If there is no column or no field.
    OutputError
        If the figure cannot be written.
    """
    _require_some(columns, field_voxels)
    require_one_shape(image, truth, masks)
    middle = (slice(None), *(_middle(n, field_voxels) for n in truth.shape[1:]))
    image, truth = image[middle], truth[middle] != 0
    found = {title: mask[middle] != 0 for title, mask in masks.items()}
    titles = ["input", "truth", *found]
    figure, grid = _panels(len(titles), columns, voxel_size_um, truth.shape)
    for depth, slab in enumerate(slabs(truth.shape[0], voxel_size_um)):
        pictures = _pictures(image[slab], truth[slab], [mask[slab] for mask in found.values()])
        _fill(grid[depth::2].ravel(), pictures, voxel_size_um)
        _name(grid[depth::2], slab.stop - slab.start, voxel_size_um)
    for axes, title in zip(grid[0::2].ravel(), titles, strict=False):
        axes.set_title(title, fontsize=7, pad=2)
    if found:
        draw_legend(figure)
    save_figure(figure, path)


def _require_some(columns: int, field_voxels: int) -> None:
    if columns < 1 or field_voxels < 1:
        raise ConfigError(
            f"a figure needs at least 1 column and a field of 1 voxel, got {columns} and "
            f"{field_voxels}"
        )


def _panels(
    count: int, columns: int, voxel_size_um: VoxelSize, shape: tuple[int, ...]
) -> tuple[Figure, Any]:
    """Return a figure with two rows of panels for each line of ``columns``, and its grid."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    columns = min(columns, count)
    lines = -(-count // columns)
    height = _PANEL_INCHES * aspect(voxel_size_um) * shape[1] / shape[2]
    figure = Figure(
        figsize=(_PANEL_INCHES * columns + 0.3, lines * (2 * height + _TITLE_INCHES) + 0.35),
        layout=ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, hspace=0.0, wspace=0.0),
    )
    return figure, figure.subplots(2 * lines, columns, squeeze=False)


def _fill(panels: Any, pictures: Sequence[NDArray[Any]], voxel_size_um: VoxelSize) -> None:
    """Show one picture a panel, the first with a scale bar; panels beyond stay empty."""
    for axes, picture in zip(panels, pictures, strict=False):
        show(axes, picture, voxel_size_um)
    draw_scale_bar(panels[0], pictures[0].shape[1], voxel_size_um)
    for axes in panels[len(pictures) :]:
        axes.set_axis_off()


def _name(rows: Any, planes: int, voxel_size_um: VoxelSize) -> None:
    """Say at the left of each row how thick what it shows is."""
    name = "slice" if planes == 1 else f"{planes * voxel_size_um.z_um:.3g} µm"
    for row in rows:
        row[0].set_ylabel(name, fontsize=7)


def _pictures(
    image: NDArray[Any], truth: NDArray[np.bool_], found: Sequence[NDArray[np.bool_]]
) -> list[NDArray[Any]]:
    """Return the panels of one slab (z, y, x), each its maximum along z."""
    true = truth.max(axis=0)
    compared = [comparison_map(mask.max(axis=0), true) for mask in found]
    return [stretched(image.max(axis=0)), coloured(true), *compared]


def _middle(length: int, most: int) -> slice:
    first = max(0, (length - most) // 2)
    return slice(first, first + min(length, most))
