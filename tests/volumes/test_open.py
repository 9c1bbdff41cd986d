from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from vpbsd.errors import UserError, VolumeFormatError
from vpbsd.geometry import Box
from vpbsd.volumes import open_volume

FILES = [
    "ome.ome.tif",
    "ome_zlib.ome.tif",
    "ome_tiled_t1.ome.tif",
    "imagej.tif",
    "imagej_zlib.tif",
    "plain.tif",
    "plain_big_endian.tif",
    "bigtiff.tif",
    "rgb.tif",
    "nifti.nii",
    "nifti.nii.gz",
    "nifti_2_channels.nii",
    "array.h5",
    "ilastik.h5",
    "imaris.ims",
    "array.npy",
]


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_named(name: str, share: float, written: Path, tmp_path: Path) -> None:
    whole = (written / name).read_bytes()
    cut = tmp_path / name
    cut.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(VolumeFormatError) as caught, open_volume(cut) as volume:
        volume.read(Box.whole(volume.shape_zyx))
    assert str(cut) in str(caught.value)


@pytest.mark.parametrize("name", ["array_v2.zarr", "array_v3.zarr", "ome_04.zarr", "ome_05.zarr"])
def test_a_truncated_chunk_is_named(name: str, written: Path, tmp_path: Path) -> None:
    copy = tmp_path / name
    shutil.copytree(written / name, copy)
    chunks = [
        f for f in copy.rglob("*") if f.is_file() and "json" not in f.name and f.name[:2] != ".z"
    ]
    assert chunks
    for chunk in chunks:
        chunk.write_bytes(chunk.read_bytes()[:-5])
    with open_volume(copy) as volume, pytest.raises(VolumeFormatError, match=name):
        volume.read(Box.whole(volume.shape_zyx))


def test_a_truncated_plane_is_named(written: Path, tmp_path: Path) -> None:
    copy = tmp_path / "planes"
    shutil.copytree(written / "planes", copy)
    last = copy / "img12.tif"
    last.write_bytes(last.read_bytes()[:-30])
    with pytest.raises(VolumeFormatError, match="planes"), open_volume(copy) as volume:
        volume.read(Box.whole(volume.shape_zyx))


@pytest.mark.parametrize("name", FILES)
def test_noise_under_a_known_name_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(VolumeFormatError, match=name):
        open_volume(path)


def test_a_missing_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VolumeFormatError, match=r"brain\.tif' does not exist; check the path"):
        open_volume(tmp_path / "brain.tif")


@pytest.mark.parametrize("name", ["scan.czi", "scan"])
def test_an_unknown_format_lists_what_can_be_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(b"ZISRAWFILE")
    with pytest.raises(VolumeFormatError, match=r"scan.*readable: TIFF.*NIfTI.*\.npy"):
        open_volume(path)


@pytest.mark.parametrize("name", ["imagej.tif", "bigtiff.tif", "array.h5", "array.npy"])
def test_an_unknown_suffix_is_told_by_its_first_bytes(
    name: str, written: Path, tmp_path: Path
) -> None:
    nameless = tmp_path / "scan.dat"
    shutil.copy(written / name, nameless)
    with open_volume(nameless) as volume:
        assert volume.shape_zyx == (5, 6, 7)


def test_upper_case_suffixes_are_known(written: Path, tmp_path: Path) -> None:
    shutil.copy(written / "imagej.tif", tmp_path / "SCAN.TIF")
    with open_volume(str(tmp_path / "SCAN.TIF")) as volume:
        assert volume.shape == (2, 5, 6, 7)


@pytest.mark.parametrize("name", ["planes", "nifti.nii", "imaris.ims", "array.npy"])
def test_a_key_for_a_file_of_one_volume_is_refused(name: str, written: Path) -> None:
    with pytest.raises(VolumeFormatError, match="no 'raw' to choose"):
        open_volume(written / name, key="raw")


def test_an_empty_zarr_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "brain.zarr").mkdir()
    with pytest.raises(VolumeFormatError, match=r"holds none of zarr.json"):
        open_volume(tmp_path / "brain.zarr")


def test_a_folder_without_planes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    with pytest.raises(VolumeFormatError, match=r"holds no TIFF planes.*among its 1 files"):
        open_volume(tmp_path)


def test_refusals_are_the_users_to_mend(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        open_volume(tmp_path / "missing.nii.gz")


@pytest.mark.real_data
def test_real_volumes_open_with_the_stated_shape(shared_data: Path) -> None:
    expected = {
        "lightsheet/vessap_014_image.tif": (1, 50, 96, 96),
        "twophoton/poon2015_plaqueVessels_image.tif": (1, 14, 512, 512),
        "unlabelled/thin_data15_image.tif": (1, 116, 113, 134),
    }
    for name, shape in expected.items():
        with open_volume(shared_data / name) as volume:
            assert volume.shape == shape
            block = volume.read(Box((3, 4, 5), (9, 11, 13)))
            assert block.shape == (1, 6, 7, 8) and block.std() > 0
