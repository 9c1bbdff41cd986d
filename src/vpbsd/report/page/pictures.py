"""Pictures in memory, as they stand in a page."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vpbsd.geometry import VoxelSize
from vpbsd.report.figures import save_figure
from vpbsd.report.panels import draw_scale_bar, show, slabs, stretched

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["figure_png", "outline_figure", "png_of"]

_FINER = 3  # an outline is a third of a voxel wide, so that capillaries can be seen inside it
_OUTLINE = (232, 68, 58)
_PANEL_INCHES = 4.6


def png_of(draw: Callable[[Path], None]) -> bytes:
    """Return the picture that ``draw`` writes to the path it is given."""
    with tempfile.TemporaryDirectory(prefix="vpbsd-report-") as folder:
        path = Path(folder) / "picture.png"
        draw(path)
        return path.read_bytes()


def figure_png(figure: Figure) -> bytes:
    """Return a figure as PNG."""
    return png_of(lambda path: save_figure(figure, path))


def outline_figure(
    image: NDArray[Any], mask: NDArray[np.bool_], voxel_size_um: VoxelSize, path: Path
) -> None:
    """Draw image and image with the mask's outline: the middle slice, and a projection below.

    Parameters
    ----------
    image, mask
        (z, y, x) of one shape.
    voxel_size_um
        For the scale bar and the shape of pixels.
    path
        Where to write.

    Raises
    ------
    OutputError
        If the figure cannot be written.
    """
    from matplotlib.figure import Figure

    height = _PANEL_INCHES * voxel_size_um.y_um * image.shape[1]
    height /= voxel_size_um.x_um * image.shape[2]
    figure = Figure(figsize=(2 * _PANEL_INCHES, 2 * height + 0.5), layout="constrained")
    grid = figure.subplots(2, 2, squeeze=False)
    for row, slab in zip(grid, slabs(image.shape[0], voxel_size_um), strict=True):
        plane = stretched(image[slab].max(axis=0))
        show(row[0], plane, voxel_size_um)
        show(row[1], _outlined(plane, mask[slab].max(axis=0)), voxel_size_um)
        planes = slab.stop - slab.start
        row[0].set_ylabel(
            "slice" if planes == 1 else f"projection of {planes * voxel_size_um.z_um:.3g} µm"
        )
        draw_scale_bar(row[0], plane.shape[1], voxel_size_um)
    grid[0, 0].set_title("image", fontsize=10)
    grid[0, 1].set_title("outline of the mask", fontsize=10)
    save_figure(figure, path)


def _outlined(plane: NDArray[np.float64], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return greys (h, w) of 0 to 1 in colour, finer, with the rim of the mask drawn in."""
    from skimage.segmentation import find_boundaries

    fine = np.repeat(np.repeat(mask, _FINER, axis=0), _FINER, axis=1)
    grey = np.rint(255 * np.repeat(np.repeat(plane, _FINER, axis=0), _FINER, axis=1))
    colours = np.repeat(grey.astype(np.uint8)[..., None], 3, axis=-1)
    colours[find_boundaries(fine, mode="inner")] = _OUTLINE
    return colours
