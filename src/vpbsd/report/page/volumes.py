"""Pictures of masks: a field in full resolution, and orthogonal slices of the whole volume.

No volume is read as a whole: the field is cut out of its middle, and slices come from the level of
the pyramid that fits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from vpbsd.errors import DataError
from vpbsd.geometry import Box, VoxelSize, tile
from vpbsd.metrics import Scores
from vpbsd.metrics.files import read_mask_box
from vpbsd.report.page.numbers import number, percent
from vpbsd.report.page.page import Facts, Finding, Heading, Item, Picture, Section
from vpbsd.report.page.pictures import outline_figure, png_of
from vpbsd.report.page.sources import MaskSource
from vpbsd.report.page.warnings import MaskNumbers, mask_warnings
from vpbsd.report.side_by_side import side_by_side_figure
from vpbsd.report.slices import SliceView, level_below, mask_slices_figure, slices_figure
from vpbsd.volumes import Volume, open_volume

__all__ = ["VolumesPart", "volumes_section"]

_FIELD_VOXELS = 320
_FIELD_UM = 64.0  # along z: what the figures project, and a little more
_COUNTED_VOXELS = 1 << 28
_VIEW = SliceView(atlas_inches=3.7)  # as wide as a page shows it, so that its words can be read
_TILE_VOXELS = 256
_COLOURS = "Green is right, blue was missed, red is over-segmented."


@dataclass(frozen=True, slots=True)
class VolumesPart:
    """Pictures of masks, what looks wrong in them, and how much each marks."""

    section: Section | None
    warnings: list[Finding]
    numbers: list[MaskNumbers]


@dataclass(frozen=True, slots=True)
class _Opened:
    """A mask with what belongs to it, open."""

    source: MaskSource
    name: str
    mask: Volume
    image: Volume | None
    truth: Volume | None
    size: VoxelSize


def volumes_section(
    masks: Sequence[MaskSource],
    names: Mapping[Path, str],
    scores: Mapping[Path, Scores],
    voxel_size_um: VoxelSize | None = None,
) -> VolumesPart:
    """Return pictures of every mask, and what looks wrong in them.

    Parameters
    ----------
    masks
        Those that are complete.
    names
        What each is called.
    scores
        Of those that were scored, for the titles.
    voxel_size_um
        Overrides the files'.

    Raises
    ------
    DataError
        If a mask is none, or its image is of another shape.
    VoxelSizeUnknownError
        If neither a mask nor the caller gives a voxel size.
    """
    items: list[Item] = []
    found: list[Finding] = []
    numbers: list[MaskNumbers] = []
    with ExitStack() as stack:
        opened = [_open(stack, mask, names[mask.path], voxel_size_um) for mask in masks]
        for group in _of_one_field(opened):
            items += _field(group, scores)
        for mask in opened:
            facts, share = _facts(mask)
            numbers.append(MaskNumbers(mask.name, share))
            items += [Heading(f"Whole volume: {mask.name}"), Facts(facts)]
            pictures, trouble = _whole(mask)
            items += pictures
            found += trouble
    section = Section("volumes", "Slices and projections", items) if items else None
    return VolumesPart(section, [*(w for n in numbers for w in mask_warnings(n)), *found], numbers)


def _open(
    stack: ExitStack, source: MaskSource, name: str, voxel_size_um: VoxelSize | None
) -> _Opened:
    def opened(path: Path | None) -> Volume | None:
        if path is None:
            return None
        return stack.enter_context(open_volume(path, voxel_size_um=voxel_size_um))

    mask = opened(source.path)
    assert mask is not None
    image, truth = opened(source.image), opened(source.truth)
    size = mask.voxel_size_um or next(
        (v.voxel_size_um for v in (image, truth) if v is not None and v.voxel_size_um is not None),
        None,
    )
    size = size or mask.require_voxel_size()
    for other in (image, truth):
        if other is not None and other.shape_zyx != mask.shape_zyx:
            raise DataError(
                f"'{other.source}' has shape {other.shape_zyx} (z, y, x), the mask "
                f"'{mask.source}' {mask.shape_zyx}: give the image and the truth of this mask"
            )
    # A copy has files of its own to close.
    sized = [
        None if v is None else stack.enter_context(v.with_voxel_size(size))
        for v in (mask, image, truth)
    ]
    assert sized[0] is not None
    return _Opened(source, name, sized[0], sized[1], sized[2], size)


def _of_one_field(opened: Sequence[_Opened]) -> list[list[_Opened]]:
    """Group masks of one image and truth: they are drawn side by side."""
    groups: dict[tuple[Path | None, Path | None], list[_Opened]] = {}
    for mask in opened:
        if mask.image is not None:
            groups.setdefault((mask.source.image, mask.source.truth), []).append(mask)
    return list(groups.values())


def _field(group: Sequence[_Opened], scores: Mapping[Path, Scores]) -> list[Item]:
    """Return the middle of a volume in full resolution."""
    first = group[0]
    image, truth = first.image, first.truth
    if image is None:
        return []
    box = _middle(first.mask, first.size)
    grey = image.read(box, (0,))[0]
    found = {mask.name: read_mask_box(mask.mask, box) for mask in group}
    extent = _lengths([n * s for n, s in zip(box.shape[1:], first.size.zyx_um[1:], strict=True)])
    where = f"the middle {extent} µm (y × x) in full resolution, as a slice and as a projection"
    names = ", ".join(found)
    if truth is None:
        return [
            Picture(
                png_of(partial(outline_figure, grey, mask, first.size)),
                f"Image, and image with the red outline of the mask {name}.",
                f"{name}: {where}. Red: the outline of the mask.",
            )
            for name, mask in found.items()
        ]
    titles = {_title(mask, scores): found[mask.name] for mask in group}
    true = read_mask_box(truth, box)
    png = png_of(
        lambda path: side_by_side_figure(
            grey, true, titles, first.size, path, columns=4, field_voxels=_FIELD_VOXELS
        )
    )
    alt = f"Image, truth, and colour maps of {names} against the truth."
    return [Picture(png, alt, f"{names}: {where}. {_COLOURS}")]


def _title(mask: _Opened, scores: Mapping[Path, Scores]) -> str:
    known = scores.get(mask.source.path)
    return mask.name if known is None else f"{mask.name}\nDice {known.dice:.3f}"


def _middle(mask: Volume, size: VoxelSize) -> Box:
    edges = [round(_FIELD_UM / size.z_um), _FIELD_VOXELS, _FIELD_VOXELS]
    shape = [max(1, min(n, e)) for n, e in zip(mask.shape_zyx, edges, strict=True)]
    return Box.at([(n - e) // 2 for n, e in zip(mask.shape_zyx, shape, strict=True)], shape)


def _facts(opened: _Opened) -> tuple[list[tuple[str, str]], float]:
    mask, size = opened.mask, opened.size
    level = level_below(mask, _COUNTED_VOXELS)
    voxels = math.prod(level.shape_zyx)
    marked = sum(int(read_mask_box(level, b).sum()) for b in tile(level.shape_zyx, _TILE_VOXELS))
    share = marked / voxels
    extent = _lengths([n * s / 1000 for n, s in zip(mask.shape_zyx, size.zyx_um, strict=True)])
    counted = (
        "" if level is mask else f", counted at {_lengths(level.require_voxel_size().zyx_um)} µm"
    )
    rows = [
        ("Size, z × y × x", " × ".join(str(n) for n in mask.shape_zyx) + " voxels"),
        ("Extent", f"{extent} mm"),
        ("Voxel size", f"{_lengths(size.zyx_um)} µm"),
        ("Marked as vessel", f"{percent(share)} %{counted}"),
    ]
    for label, source in (("Image", opened.source.image), ("Truth", opened.source.truth)):
        if source is not None:
            rows.append((label, source.name))
    return rows, share


def _lengths(values: Sequence[float]) -> str:
    return " × ".join(number(value) for value in values)


def _whole(opened: _Opened) -> tuple[list[Item], list[Finding]]:
    """Return orthogonal slices of all of a mask; without the truth where levels do not match."""
    try:
        return [_slices(opened)], []
    except DataError as error:
        if opened.truth is None:
            raise
        finding = Finding(
            "notice", "slices of the whole volume are drawn without the truth",
            str(error)[:1].upper() + str(error)[1:] + ".", opened.name,
        )  # fmt: skip
        return [_slices(replace(opened, truth=None))], [finding]


def _slices(opened: _Opened) -> Picture:
    mask, image, truth = opened.mask, opened.image, opened.truth

    def draw(path: Path) -> None:
        if image is None:
            mask_slices_figure(mask, path, truth=truth, view=_VIEW)
        else:
            slices_figure(image, mask, path, truth=truth, view=_VIEW)

    compared = "" if truth is None else f" {_COLOURS}"
    return Picture(
        png_of(draw),
        f"Three orthogonal slices through the middle of {opened.name}.",
        f"{opened.name}: horizontal, coronal and sagittal slice through the middle of the whole "
        f"volume.{compared}",
    )
