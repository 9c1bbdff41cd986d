from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from vpbsd.errors import VolumeFormatError
from vpbsd.geometry import Box
from vpbsd.volumes import open_volume


@pytest.fixture
def two(tmp_path: Path) -> Path:
    path = tmp_path / "two.h5"
    with h5py.File(path, "w") as file:
        file["raw"] = np.full((2, 3, 4), 7, np.uint8)
        file["labels/vessel"] = np.full((2, 3, 4), 1, np.uint8)
        file["plane"] = np.zeros((3, 4))
        file["names"] = np.zeros((2, 3, 4), "S3")
    return path


def test_several_datasets_need_a_key(two: Path) -> None:
    with pytest.raises(VolumeFormatError, match=r"holds 2: labels/vessel, raw; .*--key NAME"):
        open_volume(two)
    with open_volume(two, key="labels/vessel") as volume:
        assert volume.read(Box.whole((2, 3, 4))).max() == 1


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("mask", "holds no array 'mask'; it holds: labels/vessel, raw"),
        ("labels", "is a group"),
        ("plane", "2D image"),
        ("names", "holds values of type"),
    ],
)
def test_a_key_that_is_no_volume_is_refused(key: str, message: str, two: Path) -> None:
    with pytest.raises(VolumeFormatError, match=message):
        open_volume(two, key=key)


def test_no_dataset_at_all_is_refused(tmp_path: Path) -> None:
    h5py.File(tmp_path / "empty.h5", "w").close()
    with pytest.raises(VolumeFormatError, match="holds 0: none"):
        open_volume(tmp_path / "empty.h5")


def test_element_size_that_is_not_three_numbers_is_unknown(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["raw"] = np.zeros((2, 3, 4))
        file["raw"].attrs["element_size_um"] = [1.0, 2.0]
    assert open_volume(tmp_path / "a.h5").voxel_size_um is None
