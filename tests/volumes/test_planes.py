from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from vpbsd.errors import VolumeFormatError
from vpbsd.geometry import Box
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
