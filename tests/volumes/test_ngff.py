"""Outputs as others see them: the specification's models, ome-zarr and napari's reader."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from ome_zarr.io import parse_url
from ome_zarr.reader import Label, Multiscales, Reader
from ome_zarr_models import v04, v05

from vpbsd.errors import ConfigError, OutputError
from vpbsd.geometry import Box, Triplet, VoxelSize
from vpbsd.volumes import (
    OmeZarrWriter,
    OutputLayout,
    labels_image,
    open_volume,
    read_attributes,
)
from vpbsd.volumes.labels import LabelledImage

SHAPE = (3, 20, 600)
VERSIONS = ["0.4", "0.5"]


def _layout(**changes: Any) -> OutputLayout:
    fields: dict[str, Any] = {
        "shape": SHAPE,
        "dtype": np.uint8,
        "voxel_size_um": VoxelSize(5, 1, 1),
        "kind": "mask",
        "shard": (4, 8, 200),
        "chunk": (2, 4, 100),
    }
    return OutputLayout(**(fields | changes))


def _values() -> np.ndarray:
    values = np.zeros(SHAPE, np.uint8)
    values[:, 4:8, 100:140] = 1
    return values


def _write(path: Path, **changes: Any) -> Path:
    with OmeZarrWriter.create(path, _layout(**changes), attributes={"seed": 7}) as writer:
        writer.write(Box.whole(SHAPE), _values())
    return path


def _attributes(path: Path) -> dict[str, Any]:
    """Return the OME attributes of a group of either version."""
    attributes = zarr.open_group(path, mode="r").attrs.asdict()
    return attributes.get("ome", attributes)


def _transforms(path: Path) -> list[list[list[float]]]:
    (multiscale,) = _attributes(path)["multiscales"]
    return [
        [list(t.values())[1] for t in d["coordinateTransformations"]]
        for d in multiscale["datasets"]
    ]


@pytest.mark.parametrize("ngff", VERSIONS)
def test_a_mask_is_a_label_image(tmp_path: Path, ngff: str) -> None:
    path = _write(tmp_path / "vessels.ome.zarr", ngff=ngff)
    group = zarr.open_group(path, mode="r")
    (v05 if ngff == "0.5" else v04).ImageLabel.from_zarr(group)
    ome = _attributes(path)
    assert ome["image-label"]["version"] == ngff
    assert ome["image-label"]["colors"][0] == {"label-value": 1, "rgba": [230, 60, 60, 255]}
    assert "source" not in ome["image-label"]
    assert (ome if ngff == "0.5" else ome["multiscales"][0])["version"] == ngff
    assert _transforms(path) == [
        [[5.0, 1.0, 1.0], [0.0, 0.0, 0.0]],
        [[5.0, 2.0, 2.0], [0.0, 0.5, 0.5]],
        [[5.0, 4.0, 4.0], [0.0, 1.5, 1.5]],
    ]
    assert read_attributes(path) == read_attributes(str(path)) == {"seed": 7}
    with open_volume(path) as volume:
        assert volume.require_voxel_size() == VoxelSize(5, 1, 1)
        np.testing.assert_array_equal(volume.read(Box.whole(SHAPE))[0], _values())


def test_version_0_4_has_a_file_for_each_chunk(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.zarr", ngff="0.4")
    group = zarr.open_group(path, mode="r")
    assert [group[k].metadata.zarr_format for k in "012"] == [2, 2, 2]
    assert [group[k].metadata.dimension_separator for k in "012"] == ["/", "/", "/"]
    files = [f for f in (path / "0").rglob("*") if f.is_file() and f.name[0] != "."]
    # x 100 to 140 lies in chunk 1 of 100, y 4 to 8 in chunk 1 of 4, z 0 to 3 in both of 2.
    assert sorted(str(f.relative_to(path)) for f in files) == ["0/0/1/1", "0/1/1/1"]
    assert not list(path.rglob("zarr.json"))


def test_both_versions_hold_the_same_values(tmp_path: Path) -> None:
    values = np.random.default_rng(3).integers(0, 60_000, (2, *SHAPE)).astype(np.uint16)
    groups = []
    for ngff in VERSIONS:
        layout = _layout(ngff=ngff, shape=values.shape, dtype=np.uint16, kind="image")
        with OmeZarrWriter.create(tmp_path / f"{ngff}.zarr", layout) as writer:
            writer.write(Box.whole(SHAPE), values)
        groups.append(zarr.open_group(tmp_path / f"{ngff}.zarr", mode="r"))
    np.testing.assert_array_equal(groups[0]["0"][:], values)
    for level in "012":
        np.testing.assert_array_equal(groups[0][level][:], groups[1][level][:])
    # Two by two pixels of one plane, rounded half up.
    mean = values[1, 2, 8:10, 20:22].astype(int).sum() / 4
    assert groups[0]["1"][1, 2, 4, 10] == int(np.floor(mean + 0.5))


def test_other_versions_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"version 0\.4 or 0\.5, not '0\.3'"):
        _layout(ngff="0.3")


@pytest.mark.parametrize("ngff", VERSIONS)
def test_ome_zarr_reads_it_as_labels(tmp_path: Path, ngff: str) -> None:
    path = _write(tmp_path / "vessels.ome.zarr", ngff=ngff)
    (node,) = Reader(parse_url(str(path)))()
    assert isinstance(node.load(Label), Label)
    assert isinstance(node.load(Multiscales), Multiscales)
    assert [level.shape for level in node.data] == [(3, 20, 600), (3, 10, 300), (3, 5, 150)]
    np.testing.assert_array_equal(np.asarray(node.data[0]), _values())
    assert node.metadata["coordinateTransformations"][0][0]["scale"] == [5, 1, 1]


NAPARI = """
import json, sys
from napari_ome_zarr import napari_get_reader
layers = []
for path in sys.argv[1:]:
    for levels, about, kind in napari_get_reader(path)(path):
        layers.append({
            "kind": kind,
            "shapes": [list(level.shape) for level in levels],
            "sum": int(levels[0].sum().compute()),
            "scale": list(about["scale"]),
            "values": sorted(about.get("colormap", {})),
        })
json.dump(layers, open("layers.json", "w"))
"""


def _napari_layers(folder: Path, *paths: Path) -> list[dict[str, Any]]:
    # In a process of its own: napari takes seconds to load and brings plugins for pytest with it.
    command = [sys.executable, "-W", "ignore", "-c", NAPARI, *paths]
    subprocess.run(command, cwd=folder, check=True, timeout=120, stdout=subprocess.DEVNULL)
    layers: list[dict[str, Any]] = json.loads((folder / "layers.json").read_text())
    return layers


def test_napari_shows_masks_as_labels_over_their_image(tmp_path: Path) -> None:
    alone = [_write(tmp_path / f"alone{v}.ome.zarr", ngff=v) for v in VERSIONS]
    images = [_write(tmp_path / f"image{v}.ome.zarr", ngff=v, kind="image") for v in VERSIONS]
    for image in images:
        _write(image / "labels" / "vessels")
    layers = _napari_layers(tmp_path, *alone, *images)
    labels = {
        "kind": "labels",
        "shapes": [[3, 20, 600], [3, 10, 300], [3, 5, 150]],
        "sum": 480,
        "scale": [5.0, 1.0, 1.0],
        "values": [1, 255],
    }
    image_layer = labels | {"kind": "image", "values": []}
    assert layers == [labels, labels, image_layer, labels, image_layer, labels]


def _image(path: Path, shapes: list[Triplet], scales: list[list[float]], ngff: str) -> Path:
    """Write the metadata of an image of channels as another tool may have done."""
    group = zarr.create_group(path, zarr_format=3 if ngff == "0.5" else 2)
    datasets = []
    for level, (shape, scale) in enumerate(zip(shapes, scales, strict=True)):
        group.create_array(
            str(level),
            shape=(2, *shape),
            dtype=np.uint16,
            chunks=(1, *shape),
            chunk_key_encoding={"name": "default" if ngff == "0.5" else "v2", "separator": "/"},
            dimension_names=["c", "z", "y", "x"] if ngff == "0.5" else None,
        )
        transforms = [{"type": "scale", "scale": [1.0, *scale]}]
        transforms.append({"type": "translation", "translation": [0.0, 7.0, 8.0, 9.0]})
        datasets.append({"path": str(level), "coordinateTransformations": transforms})
    axes: list[dict[str, str]] = [{"name": "c", "type": "channel"}]
    axes += [{"name": a, "type": "space", "unit": "nanometer"} for a in "zyx"]
    outer = [{"type": "scale", "scale": [1.0, 2.0, 1.0, 1.0]}]
    multiscale = {"axes": axes, "datasets": datasets, "coordinateTransformations": outer}
    if ngff == "0.5":
        group.attrs["ome"] = {"version": "0.5", "multiscales": [multiscale]}
    else:
        group.attrs["multiscales"] = [multiscale | {"version": "0.4"}]
    return path


@pytest.mark.parametrize("ngff", VERSIONS)
def test_labels_lie_over_their_image(tmp_path: Path, ngff: str) -> None:
    # Pixels of 10 nm, planes 25 nm apart, doubled by the outer scale; rounded down, as some do.
    image = _image(
        tmp_path / "image.zarr",
        [(3, 21, 601), (3, 10, 300), (3, 2, 75)],
        [[25, 10, 10], [25, 20.03, 20.03], [25, 80, 80]],
        ngff,
    )
    values = np.zeros((3, 21, 601), np.uint8)
    values[:, 0:8, 0:8] = 1
    # What the layout says of version and voxel size gives way to the image.
    with OmeZarrWriter.create(image / "labels" / "vessels", _layout(shape=values.shape)) as writer:
        writer.write(Box.whole(values.shape), values)
    assert writer.layout.ngff == ngff
    assert writer.factors == [(1, 1, 1), (1, 2, 2), (1, 8, 8)]
    path = image / "labels" / "vessels"
    assert _transforms(path) == [
        [[50.0, 10.0, 10.0], [14.0, 8.0, 9.0]],
        [[50.0, 20.0, 20.0], [14.0, 13.0, 14.0]],
        [[50.0, 80.0, 80.0], [14.0, 43.0, 44.0]],
    ]
    ome = _attributes(path)
    assert [axis["unit"] for axis in ome["multiscales"][0]["axes"]] == ["nanometer"] * 3
    assert ome["image-label"]["source"] == {"image": "../../"}
    (v05 if ngff == "0.5" else v04).ImageLabel.from_zarr(zarr.open_group(path, mode="r"))
    (v05 if ngff == "0.5" else v04).Labels.from_zarr(zarr.open_group(path.parent, mode="r"))
    coarsest = zarr.open_array(path / "2", mode="r")[:]
    assert coarsest.shape == (3, 3, 76)
    assert np.argwhere(coarsest).tolist() == [[0, 0, 0], [1, 0, 0], [2, 0, 0]]
    with open_volume(image, key="labels/vessels") as volume:
        assert volume.require_voxel_size().zyx_um == pytest.approx((0.05, 0.01, 0.01))


@pytest.mark.parametrize("ngff", VERSIONS)
def test_one_level_has_labels_of_one_level(tmp_path: Path, ngff: str) -> None:
    image = _image(tmp_path / "image.zarr", [SHAPE], [[1, 1, 1]], ngff)
    path = _write(image / "labels" / "vessels")
    assert [d["path"] for d in _attributes(path)["multiscales"][0]["datasets"]] == ["0"]


@pytest.mark.parametrize("ngff", VERSIONS)
def test_names_of_other_labels_stay(tmp_path: Path, ngff: str) -> None:
    image = _write(tmp_path / "image.ome.zarr", kind="image", ngff=ngff)
    group = zarr.create_group(image / "labels", zarr_format=3 if ngff == "0.5" else 2)
    listed = {"labels": ["cells"]}
    group.attrs.put({"ome": {"version": "0.5", **listed}} if ngff == "0.5" else listed)
    before = (image / "zarr.json", image / ".zattrs")
    states = [f.read_bytes() for f in before if f.exists()]
    _write(image / "labels" / "vessels")
    assert _attributes(image / "labels")["labels"] == ["cells", "vessels"]
    with OmeZarrWriter.create(image / "labels" / "vessels", _layout(), overwrite=True) as writer:
        writer.write(Box.whole(SHAPE), 1 - _values())
    assert _attributes(image / "labels")["labels"] == ["cells", "vessels"]
    assert zarr.open_array(image / "labels/vessels/0", mode="r")[0, 0, 0] == 1
    assert [f.read_bytes() for f in before if f.exists()] == states
    with open_volume(image) as volume:
        np.testing.assert_array_equal(volume.read(Box.whole(SHAPE))[0], _values())


def test_names_that_come_at_once_all_stay(tmp_path: Path) -> None:
    image = LabelledImage.read(_write(tmp_path / "image.ome.zarr", kind="image"))
    (image.path / "labels").mkdir()
    names = [f"mask{i}" for i in range(12)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(image.register, names))
    assert sorted(_attributes(image.path / "labels")["labels"]) == sorted(names)


def test_an_aborted_label_leaves_the_image_as_it_was(tmp_path: Path) -> None:
    image = _write(tmp_path / "image.ome.zarr", kind="image")
    with (
        pytest.raises(KeyboardInterrupt),
        OmeZarrWriter.create(image / "labels" / "vessels", _layout()) as writer,
    ):
        writer.write(Box.whole(SHAPE), _values())
        names = {p.name for p in tmp_path.iterdir()}
        assert names == {"image.ome.zarr", ".image.ome.zarr.labels.vessels.partial"}
        raise KeyboardInterrupt
    assert [p.name for p in tmp_path.iterdir()] == ["image.ome.zarr"]
    assert not (image / "labels").exists()


def test_labels_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    image = _write(tmp_path / "image.ome.zarr", kind="image")
    with pytest.raises(OutputError, match=r"its shape \(z, y, x\) \(3, 20, 600\), but the mask"):
        OmeZarrWriter.create(image / "labels" / "a", _layout(shape=(3, 20, 599)))
    uneven = _image(
        tmp_path / "uneven.zarr",
        [SHAPE, (3, 10, 300), (3, 7, 200)],
        [[1, 1, 1], [1, 2, 2], [1, 3, 3]],
        "0.5",
    )
    with pytest.raises(OutputError, match=r"\(1, 3, 3\) is no multiple of \(1, 2, 2\)"):
        OmeZarrWriter.create(uneven / "labels" / "a", _layout())
    zarr.create_group(tmp_path / "plain.zarr")
    with pytest.raises(OutputError, match=r"is not an OME-Zarr image.*write the mask beside it"):
        OmeZarrWriter.create(tmp_path / "plain.zarr" / "labels" / "a", _layout())


@pytest.mark.parametrize("place", ["{}/image.zarr", "memory://image.zarr", "s3://brains/a.zarr"])
def test_labels_without_their_image_are_refused(place: str, tmp_path: Path) -> None:
    location = place.format(tmp_path)
    with pytest.raises(OutputError, match=f"no OME-Zarr image '{location}' on a local disk"):
        OmeZarrWriter.create(f"{location}/labels/a", _layout())
    assert list(tmp_path.iterdir()) == []


def test_which_paths_are_labels(tmp_path: Path) -> None:
    for zarr_format in (2, 3):
        image = tmp_path / f"{zarr_format}.zarr"
        zarr.create_group(image, zarr_format=zarr_format)
        assert labels_image(image / "labels" / "vessels") == image
        assert labels_image(str(image / "labels" / "vessels")) == image
        assert labels_image(image / "labels") is None
        assert labels_image(image / "masks" / "vessels") is None
    assert labels_image(tmp_path / "labels" / "vessels") is None
    assert labels_image("s3://bucket/image.zarr/labels/vessels") is None
