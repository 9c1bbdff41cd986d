"""Pictures and warnings of masks on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from vpbsd.errors import DataError, VoxelSizeUnknownError
from vpbsd.geometry import VoxelSize
from vpbsd.report.page.page import Facts, Picture, Section
from vpbsd.report.page.pictures import _outlined
from vpbsd.report.page.sources import MaskSource
from vpbsd.report.page.volumes import volumes_section
from vpbsd.volumes import write_ome_tiff

SIZE = VoxelSize(2, 1, 1)


def tube() -> NDArray[np.uint8]:
    mask = np.zeros((12, 24, 24), np.uint8)
    mask[5:7, 10:14, :] = 1
    return mask


def written(folder: Path, **arrays: NDArray[np.generic]) -> dict[str, Path]:
    paths = {name: folder / f"{name}.ome.tif" for name in arrays}
    for name, array in arrays.items():
        write_ome_tiff(paths[name], array, SIZE)
    return paths


def pictures(section: Section | None) -> list[str]:
    assert section is not None
    found = [item for item in section.items if isinstance(item, Picture)]
    assert all(p.png.startswith(b"\x89PNG") for p in found)
    return [p.alt for p in found]


def section_of(*masks: MaskSource) -> tuple[Section | None, list[str]]:
    part = volumes_section(masks, {m.path: m.name for m in masks}, {})
    return part.section, [f.what for f in part.warnings]


def test_mask_alone_is_drawn_in_orthogonal_slices(tmp_path: Path) -> None:
    paths = written(tmp_path, mask=tube())
    section, found = section_of(MaskSource(paths["mask"]))
    assert pictures(section) == ["Three orthogonal slices through the middle of mask."]
    assert found == []
    assert section is not None
    facts = next(dict(item.rows) for item in section.items if isinstance(item, Facts))
    assert facts["Size, z × y × x"] == "12 × 24 × 24 voxels"
    assert facts["Extent"] == "0.024 × 0.024 × 0.024 mm"
    # 2 × 4 × 24 of 12 × 24 × 24 voxels
    assert facts["Marked as vessel"] == "2.78 %"


def test_with_its_image_the_outline_and_with_truth_the_colour_map(tmp_path: Path) -> None:
    mask = tube()
    paths = written(tmp_path, mask=mask, other=mask, image=100 * mask + 20, truth=mask)
    alone = MaskSource(paths["mask"], paths["image"])
    section, _ = section_of(alone)
    assert pictures(section)[0] == "Image, and image with the red outline of the mask mask."
    both = [MaskSource(paths[n], paths["image"], paths["truth"]) for n in ("mask", "other")]
    section, _ = section_of(*both)
    shown = pictures(section)
    assert shown[0] == "Image, truth, and colour maps of mask, other against the truth."
    assert len(shown) == 3


def test_outline_is_the_rim_of_the_mask() -> None:
    mask = np.zeros((3, 3), bool)
    mask[1, 1] = True
    drawn = _outlined(np.zeros((3, 3)), mask)
    red = (drawn != 0).any(axis=-1)
    # One voxel is 3 × 3 pixels: eight of them are its rim.
    assert red[3:6, 3:6].sum() == 8
    assert not red[4, 4]
    assert red.sum() == 8


def test_empty_and_full_masks_are_warned_of(tmp_path: Path) -> None:
    paths = written(tmp_path, none=np.zeros_like(tube()), full=np.ones_like(tube()))
    _, found = section_of(MaskSource(paths["none"]), MaskSource(paths["full"]))
    assert [w.split(":")[0] for w in found] == ["the mask is empty", "the mask is nearly full"]


def test_what_does_not_belong_together_is_refused(tmp_path: Path) -> None:
    paths = written(tmp_path, mask=tube(), image=tube()[:6])
    with pytest.raises(DataError, match="give the image and the truth of this mask"):
        section_of(MaskSource(paths["mask"], paths["image"]))
    np.save(tmp_path / "bare.npy", tube())
    with pytest.raises(VoxelSizeUnknownError, match="--voxel-size"):
        section_of(MaskSource(tmp_path / "bare.npy"))


def test_voxel_size_can_be_given(tmp_path: Path) -> None:
    np.save(tmp_path / "bare.npy", tube())
    bare = MaskSource(tmp_path / "bare.npy")
    part = volumes_section([bare], {bare.path: "bare"}, {}, SIZE)
    assert len(pictures(part.section)) == 1
    assert [n.foreground_share for n in part.numbers] == [192 / 6912]
