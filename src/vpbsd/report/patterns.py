"""What the codes of a codebook look like: how much each is used, and the patches nearest to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vpbsd.errors import DataError
from vpbsd.geometry import Triplet
from vpbsd.report.figures import save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["CodeRow", "patterns_figure"]

_TILE_INCHES = 0.62
_BAR_INCHES = 2.3
_VESSEL, _CELL = "#D55E00", "#999999"


@dataclass(frozen=True, eq=False)
class CodeRow:
    """One code.

    Attributes
    ----------
    code
        Its index in the codebook.
    vessel_share, cell_share
        Share of the vessel voxels, and of all cells, that have it.
    patches
        (P, z, y, x) intensities, nearest first; NaN where there is none.
    cells
        (P, 3) first voxel of the code's cell in each patch.
    """

    code: int
    vessel_share: float
    cell_share: float
    patches: NDArray[Any]
    cells: NDArray[Any]


def patterns_figure(
    rows: list[CodeRow], cell_voxels: Triplet, path: Path, *, title: str = ""
) -> None:
    """Draw usage bars, and beside each the patches nearest to the code.

    A patch is shown as its maximum along z over twice the thickness of a cell around it, all on one
    scale of grey; a frame marks the cell.

    Parameters
    ----------
    rows
        Codes, the most used first, with patches of one shape.
    cell_voxels
        (z, y, x) edges of a cell.
    path
        Where to write; the suffix decides the format.
    title
        Above the figure.

    Raises
    ------
    DataError
        If there is no code, or patches differ in shape.
    OutputError
        If the figure cannot be written.
    """
    shapes = {row.patches.shape for row in rows}
    if len(shapes) != 1:
        raise DataError(
            f"a figure of codes needs at least one, with patches of one shape, got {sorted(shapes)}"
        )
    from matplotlib.figure import Figure

    count, _, height, width = next(iter(shapes))
    tall = _TILE_INCHES * height / width
    figure = Figure(
        figsize=(_BAR_INCHES + _TILE_INCHES * count, tall * len(rows) + 0.8), layout="constrained"
    )
    bars, tiles = figure.subplots(
        1, 2, width_ratios=[_BAR_INCHES, _TILE_INCHES * count], sharey=True
    )
    _draw_bars(bars, rows)
    _draw_tiles(tiles, rows, cell_voxels)
    figure.legend(loc="outside upper left", ncols=2, fontsize=7, frameon=False)
    if title:
        figure.suptitle(title, fontsize=9)
    save_figure(figure, path)


def _draw_bars(axes: Axes, rows: list[CodeRow]) -> None:
    places = np.arange(len(rows)) + 0.5
    vessels = [100 * row.vessel_share for row in rows]
    cells = [100 * row.cell_share for row in rows]
    axes.barh(places - 0.16, vessels, 0.3, color=_VESSEL, label="of vessel voxels")
    axes.barh(places + 0.16, cells, 0.3, color=_CELL, label="of all cells")
    axes.set_yticks(places, [f"code {row.code}" for row in rows], fontsize=7)
    axes.set_xlabel("share (%)", fontsize=8)
    axes.tick_params(axis="x", labelsize=7)
    axes.tick_params(axis="y", length=0)
    axes.invert_xaxis()
    axes.yaxis.tick_right()
    axes.spines[["top", "left", "right"]].set_visible(False)


def _draw_tiles(axes: Axes, rows: list[CodeRow], cell_voxels: Triplet) -> None:
    from matplotlib.patches import Rectangle

    _, _, height, width = rows[0].patches.shape
    known = np.concatenate([row.patches[np.isfinite(row.patches)].ravel() for row in rows])
    low, high = np.percentile(known, (1.0, 99.8)) if known.size else (0.0, 1.0)
    for line, row in enumerate(rows):
        for column, (patch, cell) in enumerate(zip(row.patches, row.cells, strict=True)):
            if not np.isfinite(patch).all():
                continue
            extent = (column + 0.03, column + 0.97, line + 0.97, line + 0.03)
            axes.imshow(
                _seen(patch, int(cell[0]), cell_voxels[0]), cmap="gray", vmin=low, vmax=high,
                extent=extent, aspect="auto", interpolation="nearest",
            )  # fmt: skip
            wide, tall = 0.94 * cell_voxels[2] / width, 0.94 * cell_voxels[1] / height
            corner = (
                column + 0.03 + 0.94 * cell[2] / width,
                line + 0.03 + 0.94 * cell[1] / height,
            )
            axes.add_patch(
                Rectangle(corner, wide, tall, fill=False, edgecolor=_VESSEL, linewidth=0.8)
            )
    axes.set(xlim=(0, rows[0].patches.shape[0]), ylim=(len(rows), 0))
    axes.set_xticks([])
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("nearest patches, the nearest first", fontsize=8)
    for side in axes.spines.values():
        side.set_visible(False)


def _seen(patch: NDArray[Any], first: int, thick: int) -> NDArray[Any]:
    """Return the maximum along z of a cell's planes and half a cell more on both sides."""
    margin = max(1, thick // 2)
    planes = patch[max(0, first - margin) : first + thick + margin]
    return np.asarray(planes.max(axis=0))
