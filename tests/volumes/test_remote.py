"""Outputs in object stores: fsspec's own in memory, and S3 as moto plays it on this machine."""

from __future__ import annotations

import pickle
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import s3fs
import zarr
from moto.server import ThreadedMotoServer
from ome_zarr_models.v05 import ImageLabel

from vpbsd.errors import ConfigError, MissingExtraError, OutputError, VolumeFormatError
from vpbsd.geometry import Box, VoxelSize, tile
from vpbsd.volumes import OmeZarrWriter, OutputLayout, open_volume, read_attributes
from vpbsd.volumes.store import exists, is_url, join, local_path, open_store, remove

SHAPE = (5, 20, 600)
LAYOUT = OutputLayout(
    shape=SHAPE,
    dtype=np.uint8,
    voxel_size_um=VoxelSize(5, 1, 1),
    kind="mask",
    shard=(4, 16, 256),
    chunk=(2, 8, 64),
)


def _mask() -> np.ndarray:
    return (np.random.default_rng(5).random(SHAPE) < 0.3).astype(np.uint8)


@pytest.fixture
def memory() -> Iterator[str]:
    """A URL of its own in fsspec's store in memory."""
    url = f"memory://{uuid.uuid4().hex}/brain.ome.zarr"
    yield url
    remove(url)


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """A bucket of an S3 server on this machine, which the environment points to."""
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "nobody")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        s3fs.S3FileSystem.clear_instance_cache()
        s3fs.S3FileSystem().mkdir("brains")
        yield "s3://brains"
    for filesystem in s3fs.S3FileSystem._cache.values():
        # s3fs closes its own connections at the end, but not those that it opens for zarr.
        if filesystem.asynchronous:
            zarr.core.sync.sync(filesystem._s3creator.__aexit__(None, None, None))
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def _group(url: str) -> Any:
    return zarr.open_group(open_store(url, read_only=True), mode="r")


def test_a_mask_in_memory_is_that_on_disk(tmp_path: Path, memory: str) -> None:
    for location in (memory, tmp_path / "a.zarr"):
        with OmeZarrWriter.create(location, LAYOUT, attributes={"seed": 7}, name="a") as writer:
            writer.write(Box.whole(SHAPE), _mask())
        assert writer.finish() == location
        assert read_attributes(location) == {"seed": 7}
        with open_volume(location) as volume:
            assert volume.require_voxel_size() == VoxelSize(5, 1, 1)
            np.testing.assert_array_equal(volume.read(Box.whole(SHAPE))[0], _mask())
    files = [f for f in (tmp_path / "a.zarr").rglob("*") if f.is_file()]
    assert len(files) > 12
    store = fsspec.filesystem("memory")
    assert len(store.find(memory)) == len(files)
    for file in files:
        name = file.relative_to(tmp_path / "a.zarr").as_posix()
        assert store.cat_file(join(memory, name)) == file.read_bytes(), name


def test_it_is_no_image_before_it_is_finished(memory: str) -> None:
    writer = OmeZarrWriter.create(memory, LAYOUT, attributes={"seed": 7})
    writer.write(Box.whole(SHAPE), _mask())
    writer.build_levels()
    assert _group(memory).attrs.asdict() == {}
    with pytest.raises(VolumeFormatError):
        open_volume(memory)
    again = pickle.loads(pickle.dumps(OmeZarrWriter.attach(memory, LAYOUT, attributes={"a": 1})))
    assert again.finish() == memory
    ImageLabel.from_zarr(_group(memory))
    assert read_attributes(memory) == {"a": 1}


def test_an_aborted_output_is_removed(memory: str) -> None:
    with pytest.raises(RuntimeError), OmeZarrWriter.create(memory, LAYOUT) as writer:
        writer.write(Box.whole(SHAPE), _mask())
        assert exists(memory)
        raise RuntimeError
    assert not exists(memory)


def test_an_output_is_replaced_only_when_told_so(memory: str) -> None:
    with OmeZarrWriter.create(memory, LAYOUT) as writer:
        writer.write(Box.whole(SHAPE), _mask())
    with pytest.raises(OutputError, match="exists already; pass --overwrite"):
        OmeZarrWriter.create(memory, LAYOUT)
    writer = OmeZarrWriter.create(memory, LAYOUT, overwrite=True)
    assert _group(memory).attrs.asdict() == {}
    assert not _group(memory)["0"][:].any()
    writer.abort()
    with pytest.raises(OutputError, match="cannot be continued from 'memory"):
        OmeZarrWriter.attach(memory, LAYOUT)
    other = join(memory, "thesis")
    open_store(other, read_only=False)
    fsspec.filesystem("memory").pipe_file(join(memory, "thesis/page.txt"), b"years")
    with pytest.raises(OutputError, match="is not a zarr folder, so --overwrite does not touch"):
        OmeZarrWriter.create(other, LAYOUT, overwrite=True)
    assert exists(join(memory, "thesis/page.txt"))


def test_emptied_shards_are_removed(memory: str) -> None:
    writer = OmeZarrWriter.create(memory, LAYOUT)
    box = Box.whole(LAYOUT.shard)
    writer.write(box, np.ones(box.shape, np.uint8))
    assert exists(join(memory, "0/c/0/0/0"))
    writer.write(box, np.zeros(box.shape, np.uint8))
    assert not exists(join(memory, "0/c/0/0/0"))


def test_file_urls_are_paths(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/a.zarr"
    with OmeZarrWriter.create(url, LAYOUT) as writer:
        writer.write(Box.whole(SHAPE), _mask())
        assert [p.name for p in tmp_path.iterdir()] == [".a.zarr.partial"]
    assert writer.path == tmp_path / "a.zarr"
    ImageLabel.from_zarr(zarr.open_group(tmp_path / "a.zarr", mode="r"))
    assert read_attributes(url) == {}


def test_what_is_a_url() -> None:
    assert [is_url(u) for u in ("s3://a/b", "memory://a", "file:///a", "simplecache::s3://a")] == [
        True
    ] * 4
    assert not any(is_url(u) for u in ("a/b", "C://b", "s3:/a", Path("s3://a"), ""))
    assert join("s3://a/b.zarr/", "labels", "x/") == "s3://a/b.zarr/labels/x"
    assert join(Path("a"), "labels", "x") == Path("a/labels/x")
    assert local_path("file:///a/b") == Path("/a/b")
    assert local_path("memory://a/b") is None


def test_what_cannot_be_spoken_is_refused_with_the_way_out() -> None:
    with pytest.raises(ConfigError, match=r"Protocol not known.*a scheme that fsspec knows"):
        OmeZarrWriter.create("s4://a/b.zarr", LAYOUT)
    script = (
        "import sys; sys.modules['s3fs'] = None\n"
        "from vpbsd.errors import MissingExtraError\n"
        "from vpbsd.volumes import read_attributes\n"
        "try:\n"
        "    read_attributes('s3://a/b.zarr')\n"
        "except MissingExtraError as error:\n"
        "    sys.stdout.write(str(error))\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    assert "pip install 'vpbsd[cloud]'" in said
    assert issubclass(MissingExtraError, Exception)


def test_a_pyramid_goes_to_s3_and_comes_back(bucket: str) -> None:
    url = f"{bucket}/mice/7/vessels.ome.zarr"
    writer = OmeZarrWriter.create(url, LAYOUT, attributes={"seed": 7})
    mask = _mask()
    for box in tile(SHAPE, LAYOUT.shard):
        pickle.loads(pickle.dumps(writer)).write(box, mask[box.slices])
    writer.build_levels()
    with pytest.raises(VolumeFormatError):
        open_volume(url)
    OmeZarrWriter.attach(url, LAYOUT, attributes={"seed": 7}).finish()
    ImageLabel.from_zarr(_group(url))
    assert [_group(url)[k].shape for k in "012"] == [SHAPE, (5, 10, 300), (5, 5, 150)]
    assert read_attributes(url) == {"seed": 7}
    with open_volume(url) as volume:
        assert volume.require_voxel_size() == VoxelSize(5, 1, 1)
        np.testing.assert_array_equal(volume.read(Box.whole(SHAPE))[0], mask)
    with pytest.raises(OutputError, match="exists already"):
        OmeZarrWriter.create(url, LAYOUT)
    remove(url)
    assert not exists(url)


def test_a_bucket_that_is_not_there_is_named(bucket: str) -> None:
    with pytest.raises(OutputError, match=r"nowhere/a\.zarr' cannot be written: .*credentials"):
        OmeZarrWriter.create("s3://nowhere/a.zarr", LAYOUT)
    with pytest.raises(VolumeFormatError):
        read_attributes(f"{bucket}/nothing.zarr")
