from __future__ import annotations

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile

from vpbsd.geometry import Box
from vpbsd.volumes import open_volume

pytestmark = pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="not on this system")

ARRAY = np.arange(2 * 5 * 6 * 7, dtype=np.uint16).reshape(2, 5, 6, 7)
BOX = Box((1, 2, 3), (3, 5, 6))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The (start, length) in bytes of what the system is asked to fetch."""
    requests: list[tuple[int, int]] = []

    def note(file: int, start: int, length: int, advice: int) -> None:
        assert advice == os.POSIX_FADV_WILLNEED
        requests.append((start, length))

    monkeypatch.setattr(os, "posix_fadvise", note)
    return requests


def _read(path: Path, channels: list[int]) -> None:
    with open_volume(path) as volume:
        block = volume.read(BOX, channels)
    np.testing.assert_array_equal(block, ARRAY[channels][(slice(None), *BOX.slices)])


# A plane of 6 * 7 voxels has 84 bytes and a row 14; the box begins 2 rows and 3 voxels into a
# plane and spans 2 whole rows and 3 voxels.
INTO_PLANE = 2 * 14 + 3 * 2
SPAN = 2 * 14 + 3 * 2


def test_each_plane_of_a_box_is_asked_for_once(
    tmp_path: Path, asked: list[tuple[int, int]]
) -> None:
    np.save(tmp_path / "a.npy", ARRAY)  # 128 bytes of header, then 420 bytes a channel
    _read(tmp_path / "a.npy", [1])
    assert asked == [(128 + 420 + z * 84 + INTO_PLANE, SPAN) for z in (1, 2)]


def test_channels_between_planes_are_asked_for_one_by_one(
    tmp_path: Path, asked: list[tuple[int, int]]
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, ARRAY.transpose(1, 0, 2, 3), imagej=True, metadata={"axes": "ZCYX"})
    with tifffile.TiffFile(path) as tif:
        offset = tif.series[0].dataoffset
    _read(path, [0, 1])
    # Stored as z0c0 z0c1 z1c0 ...: planes 2 to 5.
    assert asked == [(offset + plane * 84 + INTO_PLANE, SPAN) for plane in (2, 3, 4, 5)]


def test_axes_stored_in_reverse(tmp_path: Path, asked: list[tuple[int, int]]) -> None:
    # NIfTI stores x fastest, like C order of (c, z, y, x); its voxels begin at byte 352.
    nib.save(nib.Nifti1Image(ARRAY.transpose(3, 2, 1, 0), np.eye(4)), tmp_path / "a.nii")
    _read(tmp_path / "a.nii", [0])
    assert asked == [(352 + z * 84 + INTO_PLANE, SPAN) for z in (1, 2)]
    asked.clear()
    # Fortran order of (z, y, x): z fastest, a "plane" of 6 * 5 voxels for each x.
    np.save(tmp_path / "f.npy", np.asfortranarray(ARRAY[0]))
    _read(tmp_path / "f.npy", [0])
    assert asked == [(128 + x * 60 + 2 * 10 + 1 * 2, 2 * 10 + 2 * 2) for x in (3, 4, 5)]


def test_planes_in_files_of_their_own(tmp_path: Path, asked: list[tuple[int, int]]) -> None:
    for z in range(5):
        tifffile.imwrite(tmp_path / f"{z}.tif", ARRAY[0, z], metadata=None)
    with tifffile.TiffFile(tmp_path / "0.tif") as tif:
        offset = tif.pages[0].dataoffsets[0]
    _read(tmp_path, [0])
    assert asked == [(offset + INTO_PLANE, SPAN)] * 2
