"""The reader on files that our writer wrote, shown in a napari viewer without a screen."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from vpbsd.errors import VpbsdError
from vpbsd.geometry import VoxelSize
from vpbsd.views.plugin.graph_layers import graph_layers
from vpbsd.views.plugin.lazy import LazyArray, lazy_channels
from vpbsd.views.plugin.reader import get_reader, read
from vpbsd.volumes import ArrayVolume, open_volume


@pytest.fixture
def viewer(qt):
    from napari.components import ViewerModel

    return ViewerModel()


def add(viewer, path: Path) -> list:
    """Add what the reader returns, as napari does."""
    from napari.layers import Layer

    reader = get_reader(str(path))
    assert reader is not None
    layers = [Layer.create(*data) for data in reader(str(path))]
    for layer in layers:
        viewer.add_layer(layer)
    return layers


def place(layer) -> tuple[list[float], list[float], list[str]]:
    return list(layer.scale), list(layer.translate), [str(u) for u in layer.units]


MICROMETRES = ["micrometer"] * 3


def test_mask_is_a_labels_layer(viewer, brain: Path) -> None:
    (layer,) = add(viewer, brain / "mask.ome.zarr")
    assert (type(layer).__name__, layer.name) == ("Labels", "mask")
    assert place(layer) == ([4, 2, 2], [0, 0, 0], MICROMETRES)
    assert isinstance(layer.data, LazyArray)
    values = open_volume(brain / "mask.ome.zarr")._handle[:]
    assert np.array_equal(np.asarray(layer.data), values)
    assert layer.metadata["vpbsd"]["kind"] == "mask"


def test_image_and_probability_are_image_layers(viewer, brain: Path) -> None:
    (image,) = add(viewer, brain / "image.ome.zarr")
    (probability,) = add(viewer, brain / "mask_probability.ome.zarr")
    assert [type(v).__name__ for v in (image, probability)] == ["Image", "Image"]
    assert probability.contrast_limits == [0, 255]
    assert image.contrast_limits[0] < 20
    assert image.contrast_limits[1] > 980
    assert place(probability) == ([4, 2, 2], [0, 0, 0], MICROMETRES)


def test_older_ome_zarr(viewer, brain: Path) -> None:
    (layer,) = add(viewer, brain / "old.ome.zarr")
    assert type(layer).__name__ == "Labels"
    assert place(layer) == ([4, 2, 2], [0, 0, 0], MICROMETRES)


def test_pyramid_comes_along(viewer, long_image: Path) -> None:
    (layer,) = add(viewer, long_image)
    assert layer.multiscale
    assert [tuple(level.shape) for level in layer.data] == [(16, 32, 300), (8, 16, 150)]


def test_only_what_is_shown_is_read(long_image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume = open_volume(long_image)
    boxes = []
    original = type(volume)._read

    def counted(self, box, channels):
        boxes.append(box)
        return original(self, box, channels)

    monkeypatch.setattr(type(volume), "_read", counted)
    (array,) = lazy_channels(volume)
    assert boxes == []
    assert array[5, 0:16, 32:48].shape == (16, 16)
    # Small chunks are read by the eight; the volume has 150.
    assert sum(box.size_voxels for box in boxes) <= 8 * 16**3
    before = len(boxes)
    array[6, 0:16, 32:48]  # in the same chunks, which are kept
    assert len(boxes) == before


def test_lazy_array_is_the_volume() -> None:
    values = np.random.default_rng(0).integers(0, 99, (2, 7, 9, 11)).astype(np.uint16)
    array = LazyArray(ArrayVolume(values, VoxelSize(1, 1, 1)), 1)
    assert (array.shape, array.dtype, array.ndim, array.size) == ((7, 9, 11), np.uint16, 3, 693)
    indices = (
        *(np.s_[:], np.s_[3], np.s_[1:6:2, 4, ::3], np.s_[-1, -3:], np.s_[::-1], np.s_[2:2]),
        *(np.s_[...], np.s_[..., 2], np.s_[1, ..., np.int64(2)], np.s_[1, 2, 3]),
    )
    for index in indices:
        assert np.array_equal(array[index], values[1][index])
    assert np.array_equal(np.asarray(array), values[1])
    for wrong in (np.s_[7], np.s_[0, 0, 0, 0]):
        with pytest.raises(IndexError):
            array[wrong]


def test_slice_of_a_whole_brain_takes_no_time() -> None:
    class Brain(ArrayVolume):
        """10 000 voxels along each axis, in chunks of 64."""

        def __init__(self) -> None:
            super().__init__(np.zeros((1, 1, 1), np.uint8), VoxelSize(1, 1, 1))
            self.shape = (1, 10_000, 10_000, 10_000)

        chunk_voxels = (64, 64, 64)

        def _read(self, box, channels):
            return np.ones((1, *box.shape), np.uint8)

    started = time.process_time()
    (array,) = lazy_channels(Brain())
    assert array[5_000, 3_000:3_500, 3_000:3_500].all()
    assert time.process_time() - started < 2


def test_channels_are_layers(tmp_path: Path, viewer) -> None:
    from vpbsd.convert import ConvertOptions, convert_volume

    values = np.arange(2 * 8 * 8 * 8, dtype=np.uint16).reshape(2, 8, 8, 8)
    convert_volume(
        ArrayVolume(values, VoxelSize(1, 1, 1)), tmp_path / "two.ome.zarr", ConvertOptions()
    )
    layers = add(viewer, tmp_path / "two.ome.zarr")
    assert [layer.name for layer in layers] == ["two channel 0", "two channel 1"]
    assert np.array_equal(np.asarray(layers[1].data), values[1])


def test_graph(viewer, graph_folder: Path) -> None:
    vessels, nodes = add(viewer, graph_folder)
    assert [type(v).__name__ for v in (vessels, nodes)] == ["Vectors", "Points"]
    assert vessels.data.shape == (7, 2, 3)
    # The last piece of the second vessel: from (0, 2, 8) by 4 µm along y, between radii 2 and 2.
    assert vessels.data[5].tolist() == [[0, 2, 8], [0, 4, 0]]
    assert vessels.features["radius_um"].tolist() == [1, 1.5, 2.5, 3, 2.5, 2, 4]
    assert vessels.features["edge"].tolist() == [0, 0, 0, 0, 1, 1, 2]
    assert len({tuple(c) for c in np.asarray(vessels.edge_color).round(3)}) > 3, "one colour"
    assert nodes.data[1].tolist() == [0, 0, 8]
    assert nodes.features["degree"].tolist() == [1, 2, 1, 1, 1]
    assert nodes.size.tolist() == [2, 6, 4, 8, 8]
    for layer in (vessels, nodes):
        assert place(layer) == ([1, 1, 1], [0, 0, 0], MICROMETRES)


def test_graph_by_its_table(graph_folder: Path) -> None:
    assert get_reader(str(graph_folder / "edges.parquet")) is read
    assert len(read(str(graph_folder / "edges.parquet"))) == 2
    assert get_reader(str(graph_folder / "nodes.parquet")) is None


def test_what_is_left_out_of_a_graph_is_said(graph_folder: Path) -> None:
    (_, vessels, _), (_, nodes, _) = graph_layers(graph_folder, most_points=4)
    assert vessels["name"] == "graph vessels (one point in 5, without the 2 thinnest vessels)"
    assert nodes["name"] == "graph nodes (without the 1 thinnest)"


def test_empty_graph(viewer, graph_folder: Path) -> None:
    import pyarrow.parquet as pq

    for name in ("edges", "nodes"):
        path = graph_folder / f"{name}.parquet"
        pq.write_table(pq.read_table(path).slice(0, 0), path)
    assert [len(layer.data) for layer in add(viewer, graph_folder)] == [0, 0]


def test_what_is_not_ours_is_left_to_others(tmp_path: Path, brain: Path) -> None:
    import zarr

    zarr.create_array(tmp_path / "plain.zarr", shape=(4, 4, 4), dtype="u1")
    (tmp_path / "image.tif").write_bytes(b"II*\x00")
    for path in (tmp_path, tmp_path / "plain.zarr", tmp_path / "image.tif", tmp_path / "none.zarr"):
        assert get_reader(str(path)) is None
    assert get_reader([str(brain / "mask.ome.zarr")] * 2) is None


def test_damage_is_told(brain: Path, tmp_path: Path) -> None:
    import shutil

    path = tmp_path / "mask.ome.zarr"
    shutil.copytree(brain / "mask.ome.zarr", path)
    ((array, _, _),) = read(str(path))
    for chunk in (p for p in (path / "0" / "c").rglob("*") if p.is_file()):
        chunk.write_bytes(chunk.read_bytes()[:20])
    with pytest.raises(VpbsdError, match="truncated"):
        array[0]


def test_sample(viewer) -> None:
    from napari.layers import Layer

    from vpbsd.views.plugin.sample import simulated_volume

    image, truth = (Layer.create(*data) for data in simulated_volume())
    assert [type(v).__name__ for v in (image, truth)] == ["Image", "Labels"]
    assert image.data.shape == truth.data.shape == (64, 96, 96)
    assert place(image) == place(truth)
    assert 0.01 < truth.data.mean() < 0.5
    assert image.data[truth.data > 0].mean() > 2 * image.data[truth.data == 0].mean()
