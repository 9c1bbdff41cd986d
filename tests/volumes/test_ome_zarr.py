from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import zarr

from vpbsd.errors import DataError, VolumeFormatError
from vpbsd.geometry import Box, VoxelSize
from vpbsd.volumes import open_volume


def _space(unit: str | None) -> list[dict[str, str]]:
    return [{"name": a, "type": "space"} | ({"unit": unit} if unit else {}) for a in "zyx"]


def _group(path: Path, axes: list[Any], scale: list[float], shape: tuple[int, ...]) -> Any:
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group["0"] = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    transforms = [{"type": "scale", "scale": scale}]
    dataset = {"path": "0", "coordinateTransformations": transforms}
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": [dataset]}]
    return group


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("micrometer", (5, 2, 1)),
        ("millimeter", (5000, 2000, 1000)),
        (None, None),
        ("parsec", None),
    ],
)
def test_scale_counts_with_its_unit(
    unit: str | None, expected: tuple[float, float, float] | None, tmp_path: Path
) -> None:
    _group(tmp_path / "a.zarr", _space(unit), [5, 2, 1], (2, 3, 4))
    volume = open_volume(tmp_path / "a.zarr")
    assert (volume.voxel_size_um and volume.voxel_size_um.zyx_um) == expected


def test_a_scale_of_the_whole_pyramid_multiplies(tmp_path: Path) -> None:
    group = _group(tmp_path / "a.zarr", _space("micrometer"), [5, 2, 1], (2, 3, 4))
    (multiscale,) = group.attrs["multiscales"]
    outer = [{"type": "scale", "scale": [1, 10, 100]}]
    group.attrs["multiscales"] = [multiscale | {"coordinateTransformations": outer}]
    assert open_volume(tmp_path / "a.zarr").require_voxel_size().zyx_um == (5, 20, 100)


def test_time_axis_of_one_point_is_dropped_and_of_two_refused(tmp_path: Path) -> None:
    axes = [{"name": "t", "type": "time", "unit": "second"}, *_space("micrometer")]
    _group(tmp_path / "one.zarr", axes, [1, 5, 2, 1], (1, 2, 3, 4))
    _group(tmp_path / "two.zarr", axes, [1, 5, 2, 1], (2, 2, 3, 4))
    with open_volume(tmp_path / "one.zarr") as volume:
        assert volume.shape == (1, 2, 3, 4)
        assert volume.read(Box((1, 2, 3), (2, 3, 4))).item() == 23
    with pytest.raises(VolumeFormatError, match="2 time points"):
        open_volume(tmp_path / "two.zarr")


def test_early_versions_without_axis_objects(tmp_path: Path) -> None:
    _group(tmp_path / "a.zarr", list("tczyx"), [1] * 5, (1, 2, 2, 3, 4))
    volume = open_volume(tmp_path / "a.zarr")
    assert volume.shape == (2, 2, 3, 4)
    assert volume.voxel_size_um is None


def test_labels_are_opened_by_key(tmp_path: Path) -> None:
    _group(tmp_path / "a.zarr", _space("micrometer"), [5, 2, 1], (2, 3, 4))
    _group(tmp_path / "a.zarr/labels/vessel", _space("micrometer"), [5, 2, 1], (2, 3, 4))
    with open_volume(tmp_path / "a.zarr", key="labels/vessel") as volume:
        assert volume.require_voxel_size().zyx_um == (5, 2, 1)
    with pytest.raises(VolumeFormatError, match="nothing called 'labels/other'"):
        open_volume(tmp_path / "a.zarr", key="labels/other")


def test_bioformats2raw_opens_its_first_series(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    group.attrs["bioformats2raw.layout"] = 3
    with pytest.raises(VolumeFormatError, match="series '0' that is not there"):
        open_volume(tmp_path / "a.zarr")
    _group(tmp_path / "a.zarr/0", _space("micrometer"), [5, 2, 1], (2, 3, 4))
    assert open_volume(tmp_path / "a.zarr").shape == (1, 2, 3, 4)


def test_a_plain_group_needs_one_array_or_a_key(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    group["raw"] = np.zeros((2, 3, 4))
    group["table"] = np.zeros((2, 3))
    assert open_volume(tmp_path / "a.zarr").shape == (1, 2, 3, 4)
    group["mask"] = np.zeros((2, 3, 4))
    with pytest.raises(VolumeFormatError, match="holds 2: mask, raw; choose one with --key"):
        open_volume(tmp_path / "a.zarr")
    assert open_volume(tmp_path / "a.zarr", key="mask").shape == (1, 2, 3, 4)


def _without_axis(multiscale: dict[str, Any]) -> None:
    multiscale["axes"].pop(0)


def _without_array(multiscale: dict[str, Any]) -> None:
    multiscale["datasets"][0]["path"] = "7"


def _without_datasets(multiscale: dict[str, Any]) -> None:
    multiscale["datasets"] = []


def _short_scale(multiscale: dict[str, Any]) -> None:
    multiscale["datasets"][0]["coordinateTransformations"][0]["scale"] = [1, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without_axis, "incomplete"),
        (_without_array, "name the array '7', which is not there"),
        (_without_datasets, "incomplete"),
        (_short_scale, "scale of 2 numbers for 3 axes"),
    ],
)
def test_metadata_that_contradict_the_arrays_are_refused(
    change: Any, message: str, tmp_path: Path
) -> None:
    group = _group(tmp_path / "a.zarr", _space("micrometer"), [5, 2, 1], (2, 3, 4))
    (multiscale,) = group.attrs["multiscales"]
    change(multiscale)
    group.attrs["multiscales"] = [multiscale]
    with pytest.raises(VolumeFormatError, match=message):
        open_volume(tmp_path / "a.zarr")


def test_broken_json_is_named(written: Path, tmp_path: Path) -> None:
    copy = tmp_path / "broken.zarr"
    shutil.copytree(written / "ome_05.zarr", copy)
    (copy / "zarr.json").write_text((copy / "zarr.json").read_text()[:-20])
    with pytest.raises(VolumeFormatError, match=r"broken\.zarr' cannot be read"):
        open_volume(copy)


def test_fingerprint_sees_changed_metadata(written: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.zarr"
    shutil.copytree(written / "ome_05.zarr", copy)
    before = open_volume(copy).fingerprint()
    assert open_volume(copy).fingerprint() == before
    metadata = json.loads((copy / "zarr.json").read_text())
    (copy / "zarr.json").write_text(json.dumps(metadata, indent=7))
    assert open_volume(copy).fingerprint() != before


def _pyramid(path: Path, zarr_format: int, shapes: list[tuple[int, ...]]) -> None:
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format)
    datasets = []
    for level, shape in enumerate(shapes):
        group[str(level)] = np.full(shape, level, np.uint8)
        scale = [5.0, 2.0 * 2**level, 1.0 * 2**level]
        transforms = [{"type": "scale", "scale": scale}]
        datasets.append({"path": str(level), "coordinateTransformations": transforms})
    multiscales = [{"version": "0.4", "axes": _space("micrometer"), "datasets": datasets}]
    if zarr_format == 2:
        group.attrs["multiscales"] = multiscales
    else:
        group.attrs["ome"] = {"version": "0.5", "multiscales": multiscales}


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_coarser_is_the_finest_level_that_is_small_enough(zarr_format: int, tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    _pyramid(path, zarr_format, [(3, 21, 40), (3, 11, 20), (3, 5, 10)])
    volume = open_volume(path)
    for most, level, factor in (
        (10**9, 1, (1, 2, 2)),
        (3 * 11 * 20, 1, (1, 2, 2)),
        (3 * 11 * 20 - 1, 2, (1, 4, 4)),
    ):
        found = volume.coarser(most)
        assert found is not None and found[1] == factor
        assert found[0].require_voxel_size() == VoxelSize(5, 2 * factor[1], factor[2])
        assert found[0].read(Box.whole((1, 1, 1))).item() == level
        assert pickle.loads(pickle.dumps(found[0])).read(Box.whole((1, 1, 1))).item() == level
    assert volume.coarser(3 * 5 * 10 - 1) is None
    level_1 = volume.coarser(10**9)
    assert level_1 is not None
    found = level_1[0].coarser(10**9)
    assert found is not None and found[0].shape_zyx == (3, 5, 10) and found[1] == (1, 2, 2)


def test_coarser_follows_a_given_voxel_size(tmp_path: Path) -> None:
    _pyramid(tmp_path / "a.zarr", 3, [(3, 21, 40), (3, 11, 20)])
    found = open_volume(tmp_path / "a.zarr", voxel_size_um=VoxelSize(9, 3, 3)).coarser(1000)
    assert found is not None
    assert found[0].require_voxel_size() == VoxelSize(9, 6, 6)


def test_a_level_in_no_whole_ratio_is_passed_over(tmp_path: Path) -> None:
    _pyramid(tmp_path / "a.zarr", 3, [(3, 20, 40), (3, 13, 27), (3, 10, 20)])
    found = open_volume(tmp_path / "a.zarr").coarser(10**9)
    assert found is not None and found[1] == (1, 2, 2)


def test_a_level_that_is_announced_and_missing_is_named(tmp_path: Path) -> None:
    _pyramid(tmp_path / "a.zarr", 3, [(3, 20, 40), (3, 10, 20)])
    shutil.rmtree(tmp_path / "a.zarr" / "1")
    volume = open_volume(tmp_path / "a.zarr")
    assert volume.read(Box.whole((1, 1, 1))).item() == 0
    with pytest.raises(VolumeFormatError, match="name the array '1', which is not there"):
        volume.coarser(10**9)


def test_a_volume_without_a_pyramid_has_nothing_coarser(written: Path) -> None:
    for name in ("array_v3.zarr", "array.npy", "ome.ome.tif", "array.h5", "imaris.ims"):
        with open_volume(written / name) as volume:
            assert volume.coarser(10**9) is None


def test_the_inner_chunk_of_a_shard_is_what_a_read_decodes(tmp_path: Path) -> None:
    zarr.create_array(
        tmp_path / "a.zarr", shape=(2, 64, 64, 64), chunks=(1, 8, 16, 32), shards=(1, 64, 64, 64),
        dtype="uint8",
    )  # fmt: skip
    assert open_volume(tmp_path / "a.zarr").chunk_voxels == (8, 16, 32)


# -------------------------------------------------------------------------------------------- URLs


@pytest.fixture
def memory_url(written: Path) -> Iterator[str]:
    """An OME-Zarr 0.5 image in fsspec's memory."""
    files = fsspec.filesystem("memory")
    files.put(str(written / "ome_05.zarr"), "/bucket/brain.zarr", recursive=True)
    yield "memory://bucket/brain.zarr"
    files.rm("/bucket", recursive=True)


def test_a_url_is_read_like_a_folder(memory_url: str, written: Path, array: np.ndarray) -> None:
    here, there = open_volume(written / "ome_05.zarr"), open_volume(memory_url)
    assert there.source == memory_url
    assert there.voxel_size_um == here.voxel_size_um
    box = Box((1, 2, 3), (4, 6, 7))
    np.testing.assert_array_equal(there.read(box), array[(slice(None), *box.slices)])
    copy = pickle.loads(pickle.dumps(there))
    np.testing.assert_array_equal(copy.read(box), there.read(box))
    level = there.coarser(60)
    assert level is not None and level[0].source == memory_url


def test_fingerprint_of_a_url_is_that_of_its_content(memory_url: str) -> None:
    files = fsspec.filesystem("memory")
    before = open_volume(memory_url).fingerprint()
    files.copy("/bucket/brain.zarr", "/bucket/copy.zarr", recursive=True)
    assert open_volume("memory://bucket/copy.zarr").fingerprint() == before
    array = zarr.open_array(memory_url, path="s0", mode="r+")
    array[0, 0, 0, 0] = 7
    assert open_volume(memory_url).fingerprint() != before


def test_a_file_url_is_a_folder(written: Path, array: np.ndarray) -> None:
    with open_volume(f"file://{written}/array_v3.zarr") as volume:
        np.testing.assert_array_equal(volume.read(Box.whole((5, 6, 7))), array)


@pytest.mark.parametrize("name", ["brain.ome.tif", "brain.nii.gz", "brain.h5", "brain.IMS?v=2"])
def test_other_formats_by_url_are_refused_with_the_way_out(name: str) -> None:
    with pytest.raises(VolumeFormatError, match=r"copy the file to a disk.*vpbsd convert"):
        open_volume(f"memory://bucket/{name}")


def test_a_url_that_leads_nowhere_is_refused() -> None:
    with pytest.raises(VolumeFormatError, match=r"nowhere\.zarr' holds no zarr hierarchy"):
        open_volume("memory://bucket/nowhere.zarr")


def test_a_lost_connection_is_not_called_damage(
    memory_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = open_volume(memory_url)

    async def lost(*args: object, **kwargs: object) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(zarr.storage.FsspecStore, "get", lost)
    with pytest.raises(DataError, match=r"Access Denied.*check address, credentials and network"):
        volume.read(Box.whole((1, 1, 1)))
    with pytest.raises(DataError, match=r"Access Denied.*check address, credentials and network"):
        open_volume(memory_url)
