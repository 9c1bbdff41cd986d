from __future__ import annotations

import errno
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from ome_zarr_models.v05 import Image

from vpbsd.errors import ConfigError, DataError, OutputError, VolumeFormatError
from vpbsd.geometry import Box, VoxelSize, tile
from vpbsd.volumes import OmeZarrWriter, OutputLayout, levels, open_volume, read_attributes

MakeLayout = Callable[..., OutputLayout]


@pytest.fixture
def layout() -> MakeLayout:
    """Return a small valid layout with some fields replaced."""

    def make(**changes: Any) -> OutputLayout:
        fields: dict[str, Any] = {
            "shape": (5, 6, 7),
            "dtype": np.uint8,
            "voxel_size_um": VoxelSize(5, 2, 1),
            "kind": "mask",
            "shard": (4, 4, 4),
            "chunk": (2, 2, 2),
        }
        return OutputLayout(**(fields | changes))

    return make


def _write(path: Path, array: np.ndarray, layout: OutputLayout, **options: Any) -> Path:
    with OmeZarrWriter.create(path, layout, **options) as writer:
        for box in tile(layout.shape_zyx, layout.shard):
            writer.write(box, array[(..., *box.slices)])
    return path


def test_what_is_written_is_read_back(
    tmp_path: Path, array: np.ndarray, layout: MakeLayout
) -> None:
    for values, changes in (
        ((array[0] > 900).astype(np.uint8), {}),
        (array, {"shape": (2, 5, 6, 7), "dtype": np.uint16, "kind": "image"}),
        (array[0] / np.float32(7), {"dtype": np.float16, "kind": "probability"}),
    ):
        path = tmp_path / f"{changes.get('kind', 'mask')}.ome.zarr"
        _write(path, values, layout(**changes))
        with open_volume(path) as volume:
            assert volume.require_voxel_size() == VoxelSize(5, 2, 1)
            assert volume.dtype == np.dtype(changes.get("dtype", np.uint8))
            block = volume.read(Box.whole((5, 6, 7)))
        np.testing.assert_array_equal(block, values.reshape(block.shape).astype(block.dtype))
        assert list(tmp_path.glob(".*")) == []


@pytest.fixture(scope="module")
def pyramid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mask of thick planes, large enough for three levels, in several shards each."""
    mask = np.zeros((3, 20, 600), np.uint8)
    mask[:, 0:2, 0:2] = 1  # 4 of 4 pixels, then 4 of 16
    mask[:, 4:8, 8:10] = 1  # 4 of 4 twice, then 8 of 16
    mask[2, 19, 599] = 1  # 1 of 4
    layout = OutputLayout(
        shape=mask.shape,
        dtype=np.uint8,
        voxel_size_um=VoxelSize(5, 1, 1),
        kind="mask",
        shard=(4, 8, 64),
        chunk=(2, 4, 16),
    )
    path = tmp_path_factory.mktemp("pyramid") / "vessels.ome.zarr"
    return _write(path, mask, layout, attributes={"seed": 7, "inputs": ["a"]})


def test_pyramid_values_by_hand(pyramid: Path) -> None:
    group = zarr.open_group(pyramid, mode="r")
    assert [group[k].shape for k in "012"] == [(3, 20, 600), (3, 10, 300), (3, 5, 150)]
    finer, coarser = group["1"][:], group["2"][:]
    assert np.argwhere(finer[0]).tolist() == [[0, 0], [2, 4], [3, 4]]
    assert np.argwhere(coarser[0]).tolist() == [[1, 2]]
    assert finer.sum() == 9 and coarser.sum() == 3
    for level in "012":
        assert group[level].shards is not None
        assert group[level].metadata.dimension_names == ("z", "y", "x")


def test_pyramid_metadata_by_hand(pyramid: Path) -> None:
    group = zarr.open_group(pyramid, mode="r")
    Image.from_zarr(group)
    ome = group.attrs["ome"]
    assert ome["version"] == "0.5"
    (multiscale,) = ome["multiscales"]
    assert multiscale["name"] == "vessels"
    assert multiscale["axes"] == [
        {"name": axis, "type": "space", "unit": "micrometer"} for axis in "zyx"
    ]
    assert [
        [list(t.values())[1] for t in d["coordinateTransformations"]]
        for d in multiscale["datasets"]
    ] == [
        [[5.0, 1.0, 1.0], [0.0, 0.0, 0.0]],
        [[5.0, 2.0, 2.0], [0.0, 0.5, 0.5]],
        [[5.0, 4.0, 4.0], [0.0, 1.5, 1.5]],
    ]
    assert [d["path"] for d in multiscale["datasets"]] == ["0", "1", "2"]


def test_provenance_is_read_back(pyramid: Path, tmp_path: Path, layout: MakeLayout) -> None:
    assert read_attributes(pyramid) == {"seed": 7, "inputs": ["a"]}
    bare = _write(tmp_path / "bare.zarr", np.zeros((5, 6, 7), np.uint8), layout())
    assert read_attributes(bare) == {}
    with pytest.raises(VolumeFormatError, match="is not a zarr folder"):
        read_attributes(tmp_path / "missing.zarr")
    with pytest.raises(VolumeFormatError, match="cannot be read"):
        read_attributes(tmp_path)


def test_channels_have_an_axis_of_their_own(tmp_path: Path, layout: MakeLayout) -> None:
    values = np.zeros((2, 2, 2, 300), np.uint16)
    values[0], values[1] = 10, 20
    shape = {"shape": values.shape, "dtype": np.uint16, "kind": "image", "shard": (2, 2, 64)}
    path = _write(tmp_path / "a.zarr", values, layout(**shape, voxel_size_um=VoxelSize(1, 1, 1)))
    group = zarr.open_group(path, mode="r")
    (multiscale,) = Image.from_zarr(group).ome_attributes.multiscales
    assert [axis.name for axis in multiscale.axes] == ["c", "z", "y", "x"]
    second = multiscale.datasets[1].coordinateTransformations
    assert list(second[0].scale) == [1.0, 2.0, 2.0, 2.0]
    assert list(second[1].translation) == [0.0, 0.5, 0.5, 0.5]
    np.testing.assert_array_equal(group["1"][:, 0, 0, 149], [10, 20])


@pytest.mark.parametrize(
    "box",
    [
        Box((0, 0, 0), (2, 4, 4)),
        Box((1, 0, 0), (4, 4, 4)),
        Box((0, 0, 0), (4, 4, 6)),
        Box((4, 4, 4), (5, 6, 6)),
    ],
)
def test_a_box_that_cuts_a_shard_is_refused(box: Box, tmp_path: Path, layout: MakeLayout) -> None:
    writer = OmeZarrWriter.create(tmp_path / "a.zarr", layout())
    with pytest.raises(DataError, match=r"cuts a shard of \(4, 4, 4\) voxels"):
        writer.write(box, np.zeros(box.shape, np.uint8))
    writer.write(Box((4, 4, 4), (5, 6, 7)), np.zeros((1, 2, 3), np.uint8))
    writer.abort()


def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, layout: MakeLayout) -> None:
    writer = OmeZarrWriter.create(tmp_path / "a.zarr", layout())
    whole = Box.whole((5, 6, 7))
    with pytest.raises(DataError, match="not inside"):
        writer.write(Box.whole((8, 8, 8)), np.zeros((8, 8, 8), np.uint8))
    with pytest.raises(DataError, match=r"needs an array of shape \(5, 6, 7\)"):
        writer.write(whole, np.zeros((5, 6, 8), np.uint8))
    for dtype in (np.float32, np.uint16, np.int8):
        with pytest.raises(DataError, match="without loss"):
            writer.write(whole, np.zeros((5, 6, 7), dtype))
    writer.write(whole, np.ones((5, 6, 7), bool))
    writer.finish()
    with pytest.raises(OutputError, match="finished or aborted already"):
        writer.write(whole, np.ones((5, 6, 7), bool))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": (6, 7)}, r"\(z, y, x\) or \(c, z, y, x\)"),
        ({"shape": (0, 6, 7)}, "at least 1 voxel"),
        ({"shard": (3, 4, 4)}, "whole chunks"),
        ({"chunk": (0, 2, 2)}, "whole chunks"),
        ({"kind": "label"}, "kind must be"),
        ({"dtype": np.float32}, "a mask needs an integer type"),
        ({"dtype": bool}, "integers or real numbers"),
    ],
)
def test_a_layout_that_makes_no_sense_is_refused(
    changes: dict[str, Any], message: str, layout: MakeLayout
) -> None:
    with pytest.raises(ConfigError, match=message):
        layout(**changes)


def test_nothing_shows_before_the_end_and_nothing_stays_after_an_error(
    tmp_path: Path, layout: MakeLayout
) -> None:
    path = tmp_path / "deep" / "a.zarr"
    with pytest.raises(KeyboardInterrupt), OmeZarrWriter.create(path, layout()) as writer:
        writer.write(Box.whole((5, 6, 7)), np.ones((5, 6, 7), np.uint8))
        assert not path.exists()
        assert [p.name for p in path.parent.iterdir()] == [".a.zarr.partial"]
        raise KeyboardInterrupt
    assert list(path.parent.iterdir()) == []


def test_an_existing_output_is_kept_unless_overwritten(tmp_path: Path, layout: MakeLayout) -> None:
    path = tmp_path / "a.zarr"
    _write(path, np.full((5, 6, 7), 1, np.uint8), layout())
    with pytest.raises(OutputError, match=r"a\.zarr' exists already; pass --overwrite"):
        OmeZarrWriter.create(path, layout())
    with (
        pytest.raises(RuntimeError),
        OmeZarrWriter.create(path, layout(), overwrite=True) as writer,
    ):
        writer.write(Box.whole((5, 6, 7)), np.full((5, 6, 7), 2, np.uint8))
        raise RuntimeError
    assert zarr.open_array(path / "0", mode="r")[0, 0, 0] == 1
    _write(path, np.full((5, 6, 7), 3, np.uint8), layout(), overwrite=True)
    assert zarr.open_array(path / "0", mode="r")[0, 0, 0] == 3
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]


def test_overwriting_never_touches_what_is_not_zarr(tmp_path: Path, layout: MakeLayout) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.txt").write_text("years")
    with pytest.raises(OutputError, match="is not a zarr folder, so --overwrite does not touch"):
        OmeZarrWriter.create(home, layout(), overwrite=True)
    assert (home / "thesis.txt").read_text() == "years"


def test_an_output_that_appears_meanwhile_is_not_lost(tmp_path: Path, layout: MakeLayout) -> None:
    path = tmp_path / "a.zarr"
    ones, twos = np.full((5, 6, 7), 1, np.uint8), np.full((5, 6, 7), 2, np.uint8)
    writer = OmeZarrWriter.create(path, layout())
    writer.write(Box.whole((5, 6, 7)), ones)
    zarr.save_array(path, twos)
    with pytest.raises(OutputError, match="exists already"):
        writer.finish()
    writer.abort()
    assert zarr.open_array(path, mode="r")[0, 0, 0] == 2


def test_leftovers_of_a_killed_run_do_not_matter(tmp_path: Path, layout: MakeLayout) -> None:
    left = OmeZarrWriter.create(tmp_path / "a.zarr", layout())
    left.write(Box.whole((5, 6, 7)), np.full((5, 6, 7), 9, np.uint8))
    path = tmp_path / "a.zarr"
    with OmeZarrWriter.create(path, layout()):
        pass
    assert zarr.open_array(path / "0", mode="r")[:].max() == 0


def test_a_full_disk_is_reported_with_the_free_bytes(
    tmp_path: Path, layout: MakeLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*shard: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with (
        pytest.raises(OutputError, match=r"No space left on device; [\d,]+ bytes are free in"),
        OmeZarrWriter.create(tmp_path / "a.zarr", layout()) as writer,
    ):
        monkeypatch.setattr(levels, "write_shard", full)
        writer.write(Box.whole((5, 6, 7)), np.ones((5, 6, 7), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path, layout: MakeLayout) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"cannot be written: .*choose another folder"):
        OmeZarrWriter.create(tmp_path / "file" / "a.zarr", layout())


def test_finishing_twice_does_nothing(tmp_path: Path, layout: MakeLayout) -> None:
    path = tmp_path / "a.zarr"
    with OmeZarrWriter.create(path, layout(), name="brain") as writer:
        assert writer.finish() == path
        assert writer.finish() == path
    assert zarr.open_group(path, mode="r").attrs["ome"]["multiscales"][0]["name"] == "brain"


def test_a_pickled_writer_writes_into_the_same_output(tmp_path: Path, layout: MakeLayout) -> None:
    with OmeZarrWriter.create(tmp_path / "a.zarr", layout()) as writer:
        other = pickle.loads(pickle.dumps(writer))
        other.write(Box.whole((5, 6, 7)), np.full((5, 6, 7), 4, np.uint8))
    assert zarr.open_array(tmp_path / "a.zarr" / "0", mode="r")[:].min() == 4
