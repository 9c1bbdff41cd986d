from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from vpbsd.errors import VolumeFormatError
from vpbsd.geometry import Box
from vpbsd.volumes import open_volume

Change = Callable[[h5py.File], None]


@pytest.fixture
def changed(written: Path, tmp_path: Path) -> Callable[[Change], Path]:
    def make(change: Change) -> Path:
        path = tmp_path / "changed.ims"
        shutil.copy(written / "imaris.ims", path)
        with h5py.File(path, "r+") as file:
            change(file)
        return path

    return make


def _drop_image_size(file: h5py.File) -> None:
    for channel in file["DataSet/ResolutionLevel 0/TimePoint 0"].values():
        for axis in "XYZ":
            del channel.attrs[f"ImageSize{axis}"]


def _other_unit(file: h5py.File) -> None:
    file["DataSetInfo/Image"].attrs["Unit"] = np.array(list("mm"), "S1")


def _no_unit(file: h5py.File) -> None:
    del file["DataSetInfo/Image"].attrs["Unit"]


def test_size_falls_back_to_the_image_info(changed: Callable[[Change], Path]) -> None:
    assert open_volume(changed(_drop_image_size)).shape == (2, 5, 6, 7)


def test_unit_of_the_extent_counts(changed: Callable[[Change], Path]) -> None:
    volume = open_volume(changed(_other_unit))
    assert volume.require_voxel_size().zyx_um == pytest.approx((5000.0, 2500.0, 1250.0))
    assert open_volume(changed(_no_unit)).voxel_size_um is None


def _second_time(file: h5py.File) -> None:
    file.copy("DataSet/ResolutionLevel 0/TimePoint 0", "DataSet/ResolutionLevel 0/TimePoint 1")


def _no_layout(file: h5py.File) -> None:
    del file["DataSetInfo"]


def _no_channel(file: h5py.File) -> None:
    del file["DataSet/ResolutionLevel 0/TimePoint 0/Channel 0"]


def _too_large(file: h5py.File) -> None:
    channel = file["DataSet/ResolutionLevel 0/TimePoint 0/Channel 0"]
    channel.attrs["ImageSizeX"] = np.array(list("9"), "S1")
    del file["DataSet/ResolutionLevel 0/TimePoint 0/Channel 1"]


def _other_type(file: h5py.File) -> None:
    channel = file["DataSet/ResolutionLevel 0/TimePoint 0/Channel 1"]
    del channel["Data"]
    channel["Data"] = np.zeros((8, 8, 8), np.uint8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_second_time, "2 time points"),
        (_no_layout, "not an Imaris 5.5 file"),
        (_no_channel, "lacks 'Channel 0/Data'"),
        (_too_large, r"states a size \(z, y, x\) of \(5, 6, 9\), but stores \(8, 8, 8\)"),
        (_other_type, "differ in shape or type"),
    ],
)
def test_other_layouts_are_refused(
    change: Change, message: str, changed: Callable[[Change], Path]
) -> None:
    with pytest.raises(VolumeFormatError, match=message):
        open_volume(changed(change))


def _add_level(file: h5py.File) -> None:
    for c in (0, 1):
        group = file.create_group(f"DataSet/ResolutionLevel 1/TimePoint 0/Channel {c}")
        data = np.full((6, 4, 4), 10 + c, np.uint16)
        group.create_dataset("Data", data=data, chunks=(2, 4, 4))
        for axis, size in zip("ZYX", "534", strict=True):
            group.attrs[f"ImageSize{axis}"] = np.array([size], "S1")


def test_coarser_levels_are_those_of_the_file(changed: Callable[[Change], Path]) -> None:
    with open_volume(changed(_add_level)) as volume:
        found = volume.coarser(5 * 3 * 4)
        assert found is not None and found[1] == (1, 2, 2)
        with found[0] as level:
            assert level.shape == (2, 5, 3, 4)
            assert level.chunk_voxels == (2, 4, 4)
            assert level.require_voxel_size().zyx_um == pytest.approx((5.0, 5.0, 2.5))
            assert level.read(Box((4, 2, 3), (5, 3, 4))).ravel().tolist() == [10, 11]
            assert level.coarser(10**9) is None
        assert volume.coarser(5 * 3 * 4 - 1) is None
