from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from vpbsd.errors import VolumeFormatError
from vpbsd.geometry import Box
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
