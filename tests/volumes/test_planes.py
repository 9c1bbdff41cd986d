from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from vpbsd.errors import VolumeFormatError
from vpbsd.geometry import Box, Triplet
from vpbsd.volumes import open_volume
from vpbsd.volumes.planes import natural_key


def test_planes_come_in_natural_order() -> None:
    names = ["img10.tif", "IMG2.tif", "img1_z3.tif", "img1_z12.tif", "a.tif"]
    ordered = sorted((Path(n) for n in names), key=natural_key)
    assert [p.name for p in ordered] == [
        "a.tif",
        "img1_z3.tif",
        "img1_z12.tif",
        "IMG2.tif",
        "img10.tif",
    ]


def test_uncompressed_big_endian_colour_planes(tmp_path: Path) -> None:
    planes = np.arange(3 * 4 * 5 * 3, dtype=np.uint16).reshape(3, 4, 5, 3)
    for z, plane in enumerate(planes):
        tifffile.imwrite(tmp_path / f"{z}.tif", plane, photometric="rgb", byteorder=">")
    with open_volume(tmp_path) as volume:
        assert volume.shape == (3, 3, 4, 5)
        assert volume.voxel_size_um is None
        block = volume.read(Box((1, 0, 2), (3, 4, 4)), [2])
    np.testing.assert_array_equal(block[0], planes[1:3, :, 2:4, 2])


@pytest.mark.parametrize(
    "odd", [np.zeros((4, 6), np.uint8), np.zeros((4, 5), np.uint16), np.zeros((4, 5, 3), np.uint8)]
)
def test_planes_that_differ_are_refused_at_opening(odd: np.ndarray, tmp_path: Path) -> None:
    for z in range(4):
        tifffile.imwrite(tmp_path / f"{z}.tif", np.zeros((4, 5), np.uint8))
    tifffile.imwrite(tmp_path / "2.tif", odd)
    with pytest.raises(VolumeFormatError, match=r"plane '.*2\.tif' is .*, but the first plane"):
        open_volume(tmp_path)


def test_a_plane_that_changes_later_is_refused_at_reading(tmp_path: Path) -> None:
    for z in range(3):
        tifffile.imwrite(tmp_path / f"{z}.tif", np.zeros((4, 5), np.uint8))
    volume = open_volume(tmp_path)
    tifffile.imwrite(tmp_path / "1.tif", np.zeros((5, 5), np.uint8))
    with pytest.raises(VolumeFormatError, match=r"1\.tif"):
        volume.read(Box.whole((3, 4, 5)))
    assert volume.read(Box((0, 0, 0), (1, 4, 5))).sum() == 0


def test_a_folder_of_stacks_is_refused(tmp_path: Path, array: np.ndarray) -> None:
    tifffile.imwrite(tmp_path / "a.tif", array[0])
    with pytest.raises(VolumeFormatError, match=r"is a stack.*open the file itself"):
        open_volume(tmp_path)


def test_fingerprint_sees_a_change_of_any_plane(tmp_path: Path) -> None:
    for z in range(3):
        tifffile.imwrite(tmp_path / f"{z}.tif", np.full((4, 5), z, np.uint8))
    before = open_volume(tmp_path).fingerprint()
    assert open_volume(tmp_path).fingerprint() == before
    tifffile.imwrite(tmp_path / "1.tif", np.full((4, 5), 9, np.uint8))
    assert open_volume(tmp_path).fingerprint() != before


@pytest.mark.parametrize(
    ("options", "chunk"),
    [
        ({"compression": "zlib", "rowsperstrip": 16}, (1, 16, 50)),
        ({"compression": "lzw", "predictor": True, "tile": (16, 32)}, (1, 16, 32)),
        ({"tile": (16, 32)}, (1, 16, 32)),
        ({"byteorder": ">"}, None),
    ],
)
@pytest.mark.parametrize("samples", [None, "contig", "separate"])
def test_any_box_of_strips_and_tiles(
    options: dict[str, Any], chunk: Triplet | None, samples: str | None, tmp_path: Path
) -> None:
    colours = 1 if samples is None else 3
    stack = np.arange(2 * colours * 70 * 50, dtype=np.uint16).reshape(2, colours, 70, 50)
    kind: dict[str, Any] = {"photometric": "minisblack"}
    if samples is not None:
        kind = {"photometric": "rgb", "planarconfig": samples}
    for z, plane in enumerate(stack):
        arranged = {None: plane[0], "contig": plane.transpose(1, 2, 0), "separate": plane}[samples]
        tifffile.imwrite(tmp_path / f"{z}.tif", arranged, metadata=None, **kind, **options)
    with open_volume(tmp_path) as volume:
        assert volume.shape == stack.transpose(1, 0, 2, 3).shape
        assert volume.chunk_voxels == chunk
        for box in (
            Box((0, 0, 0), (2, 70, 50)),
            Box((1, 15, 31), (2, 33, 34)),
            Box((0, 69, 49), (1, 70, 50)),
        ):
            block = volume.read(box)
            expected = stack.transpose(1, 0, 2, 3)[(slice(None), *box.slices)]
            np.testing.assert_array_equal(block, expected)


def test_only_the_strips_of_a_box_are_decoded(tmp_path: Path) -> None:
    plane = np.arange(64 * 8, dtype=np.uint16).reshape(64, 8)
    path = tmp_path / "0.tif"
    tifffile.imwrite(path, plane, compression="zlib", rowsperstrip=8)
    with tifffile.TiffFile(path) as tif:
        starts, sizes = tif.pages[0].dataoffsets, tif.pages[0].databytecounts
    content = bytearray(path.read_bytes())
    for strip in (0, 1, 3, 4, 5, 6, 7):
        content[starts[strip] : starts[strip] + sizes[strip]] = b"?" * sizes[strip]
    path.write_bytes(content)
    with open_volume(tmp_path) as volume:
        block = volume.read(Box((0, 17, 2), (1, 23, 5)))
        np.testing.assert_array_equal(block[0, 0], plane[17:23, 2:5])
        with pytest.raises(VolumeFormatError):
            volume.read(Box((0, 17, 2), (1, 25, 5)))


def test_an_uncompressed_plane_that_changes_later_is_looked_at_again(tmp_path: Path) -> None:
    for z in range(2):
        tifffile.imwrite(tmp_path / f"{z}.tif", np.full((4, 5), z, np.uint8))
    with open_volume(tmp_path) as volume:
        assert volume.read(Box.whole((2, 4, 5)))[0, :, 0, 0].tolist() == [0, 1]
        longer = "x" * 1000  # moves the pixels to another place
        tifffile.imwrite(tmp_path / "1.tif", np.full((4, 5), 9, np.uint8), description=longer)
        assert volume.read(Box.whole((2, 4, 5)))[0, :, 0, 0].tolist() == [0, 9]
