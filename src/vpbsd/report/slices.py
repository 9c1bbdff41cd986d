"""Three orthogonal slices through a whole brain: the image, the vessels found, and the truth.

The slices lie in true proportion beside each other, as in an atlas::

    horizontal (y down, x right)   │ sagittal (y down, z right)
    ───────────────────────────────┼───────────────────────────
    coronal    (z down, x right)   │ scale
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vpbsd.errors import ConfigError, DataError
from vpbsd.geometry import Box, VoxelSize, as_triplet
from vpbsd.report.figures import save_figure
from vpbsd.report.panels import COLOURS, comparison_map, scale_bar_um
from vpbsd.volumes.pyramid import downsample
from vpbsd.volumes.volume import Volume

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

__all__ = ["SliceView", "level_below", "mask_slices_figure", "slices_figure"]

_VESSEL = (255, 138, 76)
_ATLAS_INCHES = 6.0
_BELOW_INCHES, _ABOVE_INCHES = 0.3, 0.28  # for the legend, and for titles
_LONGEST_EDGE_PIXELS = 1400  # of a panel: more than is drawn, and a level may be a full volume
_COMPARED_PIXELS = 480  # along an edge of a panel, about what is drawn
_PIECE_VOXELS = 1 << 26

Planes = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
Draw = Callable[["Axes"], None]


@dataclass(frozen=True)
class SliceView:
    """Where to cut, and how finely.

    Attributes
    ----------
    position
        (z, y, x) of the slices, each from 0 (first voxel) to 1 (last).
    slab_um
        Thickness of a maximum projection around each slice; 0 for the slice alone.
    channel
        Of the image.
    max_voxels
        The finest level of a pyramid with at most so many voxels is drawn; a volume without one
        is drawn as it is.
    atlas_inches
        Width of each of the groups of three slices.

    Raises
    ------
    ConfigError
        If a number is out of range.
    """

    position: tuple[float, float, float] = (0.5, 0.5, 0.5)
    slab_um: float = 0.0
    channel: int = 0
    max_voxels: int = 1 << 28
    atlas_inches: float = _ATLAS_INCHES

    def __post_init__(self) -> None:
        if not all(0 <= p <= 1 for p in self.position) or self.slab_um < 0 or self.max_voxels < 1:
            raise ConfigError(
                f"a slice view needs positions within 0 and 1, a slab of 0 µm or more and at least "
                f"1 voxel, got {self}"
            )


def slices_figure(
    image: Volume,
    mask: Volume,
    path: Path,
    *,
    truth: Volume | None = None,
    view: SliceView | None = None,
) -> None:
    """Draw three orthogonal slices of image and mask, and of mask against truth.

    Only the slices are read, from the pyramid's level that ``view`` asks for.

    Parameters
    ----------
    image
        Intensities, with a voxel size.
    mask
        What was found; everything but 0 is vessel. It may be of another level than the image, but
        must cover the same field.
    path
        Where to write; the suffix decides the format.
    truth
        Drawn against the mask: green is right, blue missed, red over-segmented. Its level must
        have the mask's shape.
    view
        Where to cut; the middle by default.

    Raises
    ------
    DataError
        If the volumes do not cover the same field, or truth and mask differ in shape.
    VoxelSizeUnknownError
        If image or mask has no voxel size.
    OutputError
        If the figure cannot be written.
    """
    view = view or SliceView()
    levels = [level_below(v, view.max_voxels) for v in (image, mask, *([truth] if truth else []))]
    for level in levels[1:]:
        _require_same_field(levels[0], level)
    if truth is not None:
        _require_same_shape(levels[1], levels[2])
    grey = _greys(_planes(levels[0], view, "image"))
    found = _planes(levels[1], view, "mask")
    atlases: dict[str, Sequence[Draw]] = {
        "image": [_drawn(plane) for plane in grey],
        "vessels": [_overlaid(g, f) for g, f in zip(grey, found, strict=True)],
    }
    if truth is not None:
        true = _planes(levels[2], view, "mask")
        compared = (_compared(f, t) for f, t in zip(found, true, strict=True))
        atlases["against the truth"] = [_drawn(plane, "nearest") for plane in compared]
    save_figure(
        _draw_atlases(atlases, _extent_um(levels[0]), view.atlas_inches, legend=truth is not None),
        path,
    )


def mask_slices_figure(
    mask: Volume, path: Path, *, truth: Volume | None = None, view: SliceView | None = None
) -> None:
    """Draw three orthogonal slices of a mask whose image is not at hand, and against the truth.

    Parameters
    ----------
    mask
        With a voxel size; everything but 0 is vessel.
    path
        Where to write; the suffix decides the format.
    truth
        Drawn against the mask; its level must have the mask's shape.
    view
        Where to cut; the middle by default.

    Raises
    ------
    DataError
        If truth and mask differ in shape.
    VoxelSizeUnknownError
        If the mask has no voxel size.
    OutputError
        If the figure cannot be written.
    """
    view = view or SliceView()
    level = level_below(mask, view.max_voxels)
    found = _planes(level, view, "mask")
    atlases: dict[str, Sequence[Draw]] = {
        "vessels": [_overlaid(np.zeros((*plane.shape, 3), np.uint8), plane) for plane in found]
    }
    if truth is not None:
        true_level = level_below(truth, view.max_voxels)
        _require_same_shape(level, true_level)
        true = _planes(true_level, view, "mask")
        compared = (_compared(f, t) for f, t in zip(found, true, strict=True))
        atlases["against the truth"] = [_drawn(plane, "nearest") for plane in compared]
    save_figure(
        _draw_atlases(atlases, _extent_um(level), view.atlas_inches, legend=truth is not None), path
    )


def _require_same_shape(mask: Volume, truth: Volume) -> None:
    if mask.shape_zyx != truth.shape_zyx:
        raise DataError(
            f"the mask's level has shape (z, y, x) {mask.shape_zyx}, the truth's "
            f"{truth.shape_zyx}, so they cannot be compared; give both a pyramid of the same levels"
        )


def _draw_atlases(
    atlases: Mapping[str, Sequence[Draw]],
    extent_um: tuple[float, float, float],
    atlas_inches: float,
    *,
    legend: bool,
) -> Figure:
    from matplotlib.figure import Figure

    z_um, y_um, x_um = extent_um
    height = atlas_inches * (y_um + z_um) / (x_um + z_um)
    figure = Figure(figsize=(atlas_inches * len(atlases), height + 0.6), facecolor="black")
    parts = figure.subfigures(1, len(atlases), squeeze=False)[0]
    for part, (title, draw) in zip(parts, atlases.items(), strict=True):
        part.set_facecolor("black")
        _draw_atlas(part, title, draw, extent_um)
    if legend:
        _draw_legend(figure)
    return figure


def level_below(volume: Volume, max_voxels: int) -> Volume:
    """Return the finest level with at most so many voxels; the volume itself where it has none."""
    if math.prod(volume.shape_zyx) <= max_voxels:
        return volume
    coarser = volume.coarser(max_voxels)
    return volume if coarser is None else coarser[0]


def _extent_um(volume: Volume) -> tuple[float, float, float]:
    size = volume.require_voxel_size().zyx_um
    z, y, x = (n * v for n, v in zip(volume.shape_zyx, size, strict=True))
    return z, y, x


def _require_same_field(image: Volume, other: Volume) -> None:
    # Levels round up to whole voxels, so the coarser of the two may reach out by one.
    voxel = [max(pair) for pair in zip(_size(image).zyx_um, _size(other).zyx_um, strict=True)]
    ends = zip(_extent_um(image), _extent_um(other), voxel, strict=True)
    if any(abs(a - b) > limit * 1.01 for a, b, limit in ends):
        a, b = (" x ".join(f"{v:.4g}" for v in _extent_um(volume)) for volume in (image, other))
        raise DataError(
            f"'{image.source}' covers {a} µm (z, y, x), but '{other.source}' covers {b} µm; they "
            "must be the same field: check the voxel sizes"
        )


def _size(volume: Volume) -> VoxelSize:
    return volume.require_voxel_size()


def _planes(volume: Volume, view: SliceView, kind: str) -> Planes:
    """Return the horizontal (y, x), coronal (z, x) and sagittal (y, z) slice."""
    horizontal, coronal, sagittal = (_plane(volume, view, axis, kind) for axis in range(3))
    return horizontal, coronal, sagittal.T


def _plane(volume: Volume, view: SliceView, axis: int, kind: str) -> NDArray[Any]:
    shape, size_um = volume.shape_zyx, _size(volume).zyx_um[axis]
    thick = min(shape[axis], max(1, round(view.slab_um / size_um)))
    middle = min(shape[axis] - 1, int(view.position[axis] * shape[axis]))
    first = min(max(0, middle - thick // 2), shape[axis] - thick)
    # In pieces that fit into memory; in few of them, or every chunk would be decoded for each.
    most = max(1, _PIECE_VOXELS * shape[axis] // math.prod(shape))
    channel = (view.channel,) if kind == "image" else (0,)
    pieces = []
    for begin in range(first, first + thick, most):
        start, stop = [0, 0, 0], list(shape)
        start[axis], stop[axis] = begin, min(begin + most, first + thick)
        read = volume.read(Box(as_triplet(start), as_triplet(stop)), channel)[0]
        read = read if kind == "image" else (read != 0).astype(np.uint8)
        pieces.append(read.max(axis=axis, keepdims=True))
    return _reduced(np.maximum.reduce(pieces), kind).squeeze(axis)


def _reduced(plane: NDArray[Any], kind: str) -> NDArray[Any]:
    factor = as_triplet([-(-n // _LONGEST_EDGE_PIXELS) for n in plane.shape])
    return downsample(plane, factor, "mask" if kind == "mask" else "image")


def _greys(planes: Planes) -> list[NDArray[np.uint8]]:
    """Return (h, w, 3) pictures of one common scale, with dim capillaries beside bright trunks."""
    values = np.concatenate([plane.ravel() for plane in planes]).astype(np.float64)
    values = values[np.isfinite(values)]
    low, high = np.percentile(values, (1.0, 99.7)) if values.size else (0.0, 1.0)
    span = max(float(high - low), 1e-12)
    pictures = []
    for plane in planes:
        scaled = np.nan_to_num(np.clip((plane.astype(np.float64) - low) / span, 0, 1))
        grey = np.rint(255 * scaled**0.7).astype(np.uint8)
        pictures.append(np.repeat(grey[..., None], 3, axis=-1))
    return pictures


def _compared(found: NDArray[Any], true: NDArray[Any]) -> NDArray[np.uint8]:
    """Return colours of (h, w) masks, few enough for each to be seen.

    Where several voxels share a pixel it shows the commonest kind of vessel among them, a fault
    where votes are even. Mixed colours would turn every thin fault to grey.
    """
    from skimage.measure import block_reduce

    pixel = tuple(-(-n // _COMPARED_PIXELS) for n in found.shape)
    kinds = (found == 0) & (true != 0), (found != 0) & (true == 0), (found != 0) & (true != 0)
    votes = np.stack([block_reduce(kind, pixel, np.sum) for kind in kinds])
    some, winner = votes.any(axis=0), votes.argmax(axis=0)
    return comparison_map(some & (winner != 0), some & (winner != 1))


def _drawn(picture: NDArray[np.uint8], interpolation: str = "antialiased") -> Draw:
    def draw(axes: Axes) -> None:
        axes.imshow(picture, extent=(0, 1, 1, 0), aspect="auto", interpolation=interpolation)

    return draw


def _overlaid(grey: NDArray[np.uint8], found: NDArray[Any]) -> Draw:
    overlay = np.zeros((*found.shape, 4), np.uint8)
    overlay[..., :3] = _VESSEL
    overlay[..., 3] = np.where(found, 235, 0)

    def draw(axes: Axes) -> None:
        _drawn((grey * 0.75).astype(np.uint8))(axes)
        axes.imshow(overlay, extent=(0, 1, 1, 0), aspect="auto", interpolation="antialiased")

    return draw


def _draw_atlas(
    part: SubFigure,
    title: str,
    draw: Sequence[Draw],
    extent_um: tuple[float, float, float],
) -> None:
    z_um, y_um, x_um = extent_um
    height = part.get_figure(root=True).get_figheight()
    grid = part.add_gridspec(
        2, 2, width_ratios=[x_um, z_um], height_ratios=[y_um, z_um],
        left=0.01, right=0.99, bottom=_BELOW_INCHES / height, top=1 - _ABOVE_INCHES / height,
        wspace=0.02, hspace=0.02,
    )  # fmt: skip
    places = {(0, 0): (x_um, "horizontal"), (1, 0): (x_um, "coronal"), (0, 1): (z_um, "sagittal")}
    bar_um = scale_bar_um(1.2 * min(x_um, z_um))
    for (place, (width_um, name)), content in zip(places.items(), draw, strict=True):
        axes = part.add_subplot(grid[place])
        content(axes)
        axes.set_axis_off()
        _label(axes, name, bar_um, width_um)
    part.text(
        0.01,
        1 - 0.9 * _ABOVE_INCHES / height,
        title,
        color="white",
        fontsize=11,
        ha="left",
        va="bottom",
    )


def _label(axes: Axes, name: str, bar_um: float, width_um: float) -> None:
    from matplotlib.patheffects import withStroke

    style: dict[str, Any] = {
        "color": "white", "path_effects": [withStroke(linewidth=2, foreground="black")],
        "transform": axes.transAxes,
    }  # fmt: skip
    axes.text(0.03, 0.97, name, fontsize=8, va="top", **style)
    end = 0.97
    start = end - bar_um / width_um
    axes.plot([start, end], [0.04, 0.04], linewidth=2.5, solid_capstyle="butt", **style)
    axes.annotate(
        f"{bar_um:g} µm", (end, 0.04), xytext=(0, 4), xycoords="axes fraction",
        textcoords="offset points", fontsize=7, ha="right", va="bottom", color="white",
        path_effects=style["path_effects"],
    )  # fmt: skip
    axes.set(xlim=(0, 1), ylim=(1, 0))


def _draw_legend(figure: Figure) -> None:
    from matplotlib.patches import Patch

    kinds = ("right", "missed", "over-segmented")
    patches = [Patch(color="#{:02x}{:02x}{:02x}".format(*COLOURS[k]), label=k) for k in kinds]
    figure.legend(
        handles=patches, loc="lower right", ncols=len(kinds), frameon=False, fontsize=9,
        labelcolor="white",
    )  # fmt: skip
