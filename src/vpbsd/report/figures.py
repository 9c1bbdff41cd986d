"""Pictures of a volume, its truth and what was found, after the paper's colour map.

Green is right, blue was missed, red was over-segmented. Figures are drawn with matplotlib's
objects, never through pyplot, so that nothing global changes and no display is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vpbsd.errors import DataError, OutputError
from vpbsd.geometry import VoxelSize
from vpbsd.metrics.overlap import overlap
from vpbsd.report.panels import (
    COLOURS,
    aspect,
    coloured,
    comparison_map,
    draw_scale_bar,
    show,
    slabs,
    stretched,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_legend", "overview_figure", "require_one_shape", "save_figure"]

_PANEL_INCHES = 2.9


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

    require_one_shape(image, truth, predictions)
    columns = 2 + len(predictions)
    height_over_width = aspect(voxel_size_um) * truth.shape[1] / truth.shape[2]
    figure = Figure(
        figsize=(_PANEL_INCHES * columns + 0.3, 2 * _PANEL_INCHES * height_over_width + 0.9),
        layout="constrained",
    )
    axes = figure.subplots(2, columns, squeeze=False)
    for line, slab in zip(axes, slabs(truth.shape[0], voxel_size_um), strict=True):
        masks = [truth, *predictions.values()]
        _draw_row(line, image[slab], [mask[slab] != 0 for mask in masks], voxel_size_um)
        depth = f"projection of {(slab.stop - slab.start) * voxel_size_um.z_um:.3g} µm"
        line[0].set_ylabel(f"slice {slab.start}" if slab.stop == slab.start + 1 else depth)
    titles = ["input", "truth"]
    titles += [f"{n}\nDice {overlap(m, truth).dice:.3f}" for n, m in predictions.items()]
    for place, title in zip(axes[0], titles, strict=True):
        place.set_title(title, fontsize=10)
    if predictions:
        draw_legend(figure)
    save_figure(figure, path)


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


def require_one_shape(
    image: NDArray[Any], truth: NDArray[Any], predictions: Mapping[str, NDArray[Any]]
) -> None:
    """Refuse arrays that are not (z, y, x) of one volume.

    Raises
    ------
    DataError
        Naming the first that differs from the truth.
    """
    for name, mask in {"image": image, **predictions}.items():
        if mask.shape != truth.shape or truth.ndim != 3:
            raise DataError(
                f"the {name} has shape {mask.shape}, the truth {truth.shape}; all must be "
                "(z, y, x) of the same volume"
            )


def _draw_row(
    line: Sequence[Axes],
    image: NDArray[Any],
    masks: Sequence[NDArray[np.bool_]],
    voxel_size_um: VoxelSize,
) -> None:
    """Draw one slab (z, y, x) as its maximum along z; the first mask is the truth."""
    true, *found = [mask.max(axis=0) for mask in masks]
    panels: list[NDArray[Any]] = [stretched(image.max(axis=0)), coloured(true)]
    panels += [comparison_map(mask, true) for mask in found]
    for axes, panel in zip(line, panels, strict=True):
        show(axes, panel, voxel_size_um)
    draw_scale_bar(line[0], image.shape[2], voxel_size_um)


def draw_legend(figure: Figure) -> None:
    """Name the three colours below a figure."""
    from matplotlib.patches import Patch

    kinds = ("right", "missed", "over-segmented")
    patches = [Patch(color="#{:02x}{:02x}{:02x}".format(*COLOURS[k]), label=k) for k in kinds]
    figure.legend(
        handles=patches, loc="outside lower center", ncols=len(kinds), frameon=False, fontsize=10
    )
