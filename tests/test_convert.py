"""Any volume to OME-Zarr: the same values and voxel size, each part decoded once, resumable."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import nibabel as nib
import numpy as np
import pytest
import s3fs
import tifffile
import zarr
from moto.server import ThreadedMotoServer
from ome_zarr_models.v04 import Image as ImageV04
from ome_zarr_models.v05 import Image as ImageV05

from vpbsd import cli
from vpbsd.blockwise import Part, Workers
from vpbsd.config import SimulateConfig
from vpbsd.convert import ConvertOptions, convert_volume
from vpbsd.data.simulate import simulate_volume
from vpbsd.errors import ConfigError, OutputError, VolumeFormatError, VoxelSizeUnknownError
from vpbsd.geometry import Box, Triplet, VoxelSize
from vpbsd.volumes import ArrayVolume, CachedVolume, Volume, open_volume, read_attributes
from vpbsd.volumes.store import remove

SIZE = VoxelSize(5.0, 2.5, 1.25)
SHAPE = (12, 70, 90)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(4).integers(0, 4000, SHAPE).astype(np.uint16)


def values_of(location: Path | str) -> np.ndarray:
    with open_volume(location) as volume:
        return volume.read(Box.whole(volume.shape_zyx))


# ------------------------------------------------------------------------------- from any format


def _npy(folder: Path, image: np.ndarray) -> Path:
    np.save(folder / "image.npy", image)
    return folder / "image.npy"


def _ome_tiff(folder: Path, image: np.ndarray) -> Path:
    sizes = {"PhysicalSizeZ": 5.0, "PhysicalSizeY": 2.5, "PhysicalSizeX": 1.25}
    tifffile.imwrite(
        folder / "image.ome.tif", image, compression="zlib", metadata={"axes": "ZYX", **sizes}
    )
    return folder / "image.ome.tif"


def _planes(folder: Path, image: np.ndarray) -> Path:
    (folder / "planes").mkdir()
    for z, plane in enumerate(image):
        tifffile.imwrite(folder / "planes" / f"z{z}.tif", plane)
    return folder / "planes"


def _hdf5(folder: Path, image: np.ndarray) -> Path:
    with h5py.File(folder / "image.h5", "w") as file:
        data = file.create_dataset("raw", data=image, chunks=(5, 16, 33), compression="gzip")
        data.attrs["element_size_um"] = [5.0, 2.5, 1.25]
    return folder / "image.h5"


def _nifti(folder: Path, image: np.ndarray) -> Path:
    nib.save(nib.Nifti1Image(image.transpose(2, 1, 0), np.eye(4)), folder / "image.nii.gz")
    return folder / "image.nii.gz"


def _bare_zarr(folder: Path, image: np.ndarray) -> Path:
    zarr.save_array(folder / "image.zarr", image, zarr_format=2)
    return folder / "image.zarr"


@pytest.mark.parametrize("write", [_npy, _ome_tiff, _planes, _hdf5, _nifti, _bare_zarr])
@pytest.mark.parametrize("ngff", ["0.4", "0.5"])
def test_every_format_gives_the_same_values(
    tmp_path: Path, image: np.ndarray, write: Callable[[Path, np.ndarray], Path], ngff: str
) -> None:
    source, out = write(tmp_path, image), tmp_path / "out.ome.zarr"
    with open_volume(source, voxel_size_um=SIZE) as volume:
        run = convert_volume(volume, out, ConvertOptions(ngff=ngff))
        fingerprint = volume.fingerprint()
    assert (run.done, run.missing) == (1, 0)
    with open_volume(out) as written:
        assert written.dtype == np.uint16
        assert written.require_voxel_size() == SIZE
        np.testing.assert_array_equal(written.read(Box.whole(SHAPE))[0], image)
    group = zarr.open_group(out, mode="r")
    (ImageV04 if ngff == "0.4" else ImageV05).from_zarr(group)
    assert group.metadata.zarr_format == (2 if ngff == "0.4" else 3)
    about = read_attributes(out)
    assert about["kind"] == "image"
    assert about["input"] == {"source": str(source), "fingerprint": fingerprint}
    assert {p.name for p in tmp_path.iterdir()} == {
        *(source.name, "out.ome.zarr", "out.ome.zarr.log.jsonl")
    }


def test_the_voxel_size_of_the_file_is_kept(tmp_path: Path, image: np.ndarray) -> None:
    for write in (_ome_tiff, _hdf5):
        out = tmp_path / f"{write.__name__}.ome.zarr"
        convert_volume(write(tmp_path, image), out)
        with open_volume(out) as written:
            assert written.require_voxel_size() == SIZE
    with pytest.raises(VoxelSizeUnknownError, match="--voxel-size"):
        convert_volume(_npy(tmp_path, image), tmp_path / "no.ome.zarr")
    assert not (tmp_path / "no.ome.zarr").exists()


def test_channels_and_their_pyramid(tmp_path: Path) -> None:
    pair = np.random.default_rng(1).integers(0, 4000, (2, 12, 70, 300)).astype(np.uint16)
    out = tmp_path / "pair.ome.zarr"
    convert_volume(ArrayVolume(pair, VoxelSize(1, 1, 1)), out)
    np.testing.assert_array_equal(values_of(out), pair)
    # 12 x 70 x 300 is halved to 6 x 35 x 150: each voxel is the mean of eight, rounded.
    coarse = zarr.open_array(out / "1", mode="r")[:]
    assert coarse.shape == (2, 6, 35, 150)
    means = pair.reshape(2, 6, 2, 35, 2, 150, 2).mean(axis=(2, 4, 6))
    assert np.abs(coarse - means).max() <= 0.5


def test_labels_are_never_averaged(tmp_path: Path) -> None:
    labels = np.zeros((8, 128, 300), np.int32)
    labels[:, ::2] = 70_000
    out = tmp_path / "labels.ome.zarr"
    convert_volume(ArrayVolume(labels, VoxelSize(1, 1, 1)), out, ConvertOptions(labels=True))
    np.testing.assert_array_equal(values_of(out)[0], labels)
    coarse = zarr.open_array(out / "1", mode="r")[:]
    assert coarse.shape == (4, 64, 150)
    assert set(np.unique(coarse)) <= {0, 70_000}
    assert read_attributes(out)["kind"] == "labels"
    with pytest.raises(ConfigError, match="labels are integers; leave out --labels"):
        convert_volume(
            ArrayVolume(labels.astype(np.float32), SIZE),
            tmp_path / "no.ome.zarr",
            ConvertOptions(labels=True),
        )


def test_existing_outputs_and_full_disks_are_refused(
    tmp_path: Path, image: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume, out = ArrayVolume(image, SIZE), tmp_path / "a.ome.zarr"
    convert_volume(volume, out)
    with pytest.raises(OutputError, match="exists already; pass --overwrite"):
        convert_volume(volume, out)
    convert_volume(ArrayVolume(image + 1, SIZE), out, ConvertOptions(overwrite=True))
    np.testing.assert_array_equal(values_of(out)[0], image + 1)
    with pytest.raises(OutputError, match="is the input itself"):
        convert_volume(out, out, ConvertOptions(overwrite=True))
    np.testing.assert_array_equal(values_of(out)[0], image + 1)
    monkeypatch.setattr("vpbsd.convert.free_bytes", lambda _: 1000)
    # 12 x 70 x 90 voxels of 2 bytes and their pyramid.
    with pytest.raises(OutputError, match=r"may take 0.0 GB as OME-Zarr, and 0.0 GB are free"):
        convert_volume(volume, tmp_path / "b.ome.zarr")
    assert not (tmp_path / "b.ome.zarr.work").exists()


# ----------------------------------------------------------------------------- each part only once


class Stored(Volume):
    """A volume of any size, stored in pieces of any shape, computed when it is read."""

    def __init__(self, shape: Triplet, stored: Triplet) -> None:
        super().__init__("stored", (1, *shape), np.uint8, SIZE)
        self._stored = stored

    @property
    def chunk_voxels(self) -> Triplet:
        return self._stored

    def _read(self, box: Box, channels: tuple[int, ...]) -> np.ndarray:
        z, y, x = (np.arange(a, b) for a, b in zip(box.start, box.stop, strict=True))
        return ((z[:, None, None] * 7 + y[:, None] * 5 + x * 3) % 251).astype(np.uint8)[None]


@pytest.mark.parametrize(
    ("shape", "stored"),
    [
        ((70, 300, 520), (1, 300, 520)),  # whole planes
        ((70, 300, 520), (1, 300, 260)),  # halves of planes
        ((40, 300, 520), (64, 64, 64)),  # chunks
    ],
)
def test_each_part_of_the_input_is_decoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: Triplet, stored: Triplet
) -> None:
    caches = []

    def cached(*arguments: Any) -> CachedVolume:
        caches.append(CachedVolume(*arguments))
        return caches[-1]

    monkeypatch.setattr("vpbsd.convert.CachedVolume", cached)
    volume = Stored(shape, stored)
    convert_volume(volume, tmp_path / "a.ome.zarr")
    assert [cache.decoded_voxels for cache in caches] == [np.prod(shape)]
    np.testing.assert_array_equal(values_of(tmp_path / "a.ome.zarr"), volume.read(Box.whole(shape)))


# ------------------------------------------------------------------------------------ object stores


@pytest.fixture
def memory() -> Iterator[str]:
    """A URL of its own in fsspec's store in memory."""
    url = f"memory://{uuid.uuid4().hex}/copy.ome.zarr"
    yield url
    remove(url)


def test_to_and_from_an_object_store(
    tmp_path: Path, image: np.ndarray, memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    convert_volume(ArrayVolume(image, SIZE), memory)
    with open_volume(memory) as volume:
        assert volume.require_voxel_size() == SIZE
        convert_volume(volume, tmp_path / "back.ome.zarr")
    np.testing.assert_array_equal(values_of(tmp_path / "back.ome.zarr")[0], image)
    with pytest.raises(OutputError, match="exists already"):
        convert_volume(ArrayVolume(image, SIZE), memory)
    # What a run into a store needs to go on lies in the current folder, and only until then.
    assert not (tmp_path / "copy.ome.zarr.work").exists()


class Failing(ArrayVolume):
    """Cannot be read beyond a plane, but for its fingerprint, which takes the whole."""

    broken_from = 10**9

    def _read(self, box: Box, channels: tuple[int, ...]) -> np.ndarray:
        if box.stop[0] > self.broken_from and box.start != (0, 0, 0):
            raise OSError("torn cable")
        return super()._read(box, channels)


@pytest.mark.parametrize("remote", [False, True])
def test_a_broken_conversion_goes_on_where_it_stood(
    tmp_path: Path, memory: str, monkeypatch: pytest.MonkeyPatch, remote: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    array = np.random.default_rng(0).integers(0, 9, (700, 16, 16)).astype(np.uint8)
    out: Any = memory if remote else tmp_path / "copy.ome.zarr"
    volume = Failing(array, SIZE)
    # Three blocks of 256 planes at most, of which the second and the last cannot be read.
    volume.broken_from = 256
    with pytest.raises(VolumeFormatError, match=r"2 of 3 blocks failed: 1 .*torn cable"):
        convert_volume(volume, out)
    with pytest.raises(VolumeFormatError):
        open_volume(out)
    volume.broken_from = 10**9
    run = convert_volume(volume, out)
    assert (run.done, run.skipped) == (2, 1)
    np.testing.assert_array_equal(values_of(out)[0], array)


def test_parts_of_a_conversion(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 9, (600, 16, 16)).astype(np.uint8)
    volume, out = ArrayVolume(array, SIZE), tmp_path / "copy.ome.zarr"
    runs = [convert_volume(volume, out, ConvertOptions(part=Part(n, 2))) for n in (2, 1)]
    # Three blocks: the first part has one of them, the second two.
    assert [(run.done, run.missing) for run in runs] == [(2, 1), (1, 0)]
    np.testing.assert_array_equal(values_of(out)[0], array)
    late = convert_volume(volume, out, ConvertOptions(part=Part(2, 2)))
    assert (late.done, late.missing, late.elsewhere) == (0, 0, True)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket of an S3 server on this machine, which the environment points to."""
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().mkdir("converted")
    yield "s3://converted"
    for filesystem in s3fs.S3FileSystem._cache.values():
        # s3fs closes its own connections at the end, but not those that it opens for zarr.
        if filesystem.asynchronous:
            zarr.core.sync.sync(filesystem._s3creator.__aexit__(None, None, None))
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.mark.slow
def test_the_command_line_converts_and_segments_in_s3(
    tmp_path: Path,
    student_file: Path,
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    image = simulate_volume(SimulateConfig(shape_voxels=(24, 70, 90)), 3).image
    source = str(_ome_tiff(tmp_path, image))
    brain, mask = f"{bucket}/brain.ome.zarr", f"{bucket}/mask.ome.zarr"
    assert cli.main(["convert", source, "-o", brain, "--quiet"]) == 0
    assert f"wrote                  {brain}" in capsys.readouterr().out
    np.testing.assert_array_equal(values_of(brain)[0], image)
    words = ["--model", str(student_file), "--precision", "fp32", "--quiet", "-o"]
    assert cli.main(["segment", brain, *words, mask]) == 0
    assert cli.main(["segment", source, *words, "here.ome.zarr"]) == 0
    np.testing.assert_array_equal(values_of(mask), values_of(tmp_path / "here.ome.zarr"))
    assert cli.main(["segment", brain, *words, mask]) == 2
    assert "exists already" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.work"))


# ------------------------------------------------------------------------------- labels of an image


def test_a_mask_among_the_labels_of_its_image(
    tmp_path: Path, student_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = simulate_volume(SimulateConfig(shape_voxels=(24, 70, 90)), 3).image
    brain = tmp_path / "brain.ome.zarr"
    convert_volume(ArrayVolume(image, SIZE), brain)
    before = {p: p.read_bytes() for p in brain.rglob("*") if p.is_file()}
    target = brain / "labels" / "vessels"
    words = ["segment", str(brain), "--model", str(student_file), "--quiet", "-o", str(target)]
    assert cli.main([*words, "--precision", "fp32", "--dry-run"]) == 0
    assert {p: p.read_bytes() for p in brain.rglob("*") if p.is_file()} == before
    assert cli.main([*words, "--precision", "fp32"]) == 0
    assert f"wrote                  {target}" in capsys.readouterr().out
    alone = tmp_path / "alone.ome.zarr"
    assert cli.main([*words[:-1], str(alone), "--precision", "fp32"]) == 0
    np.testing.assert_array_equal(values_of(target), values_of(alone))
    assert 0.005 < values_of(target).mean() < 0.3
    with open_volume(target) as written:
        assert written.require_voxel_size() == SIZE
    assert zarr.open_group(brain / "labels", mode="r").attrs["ome"]["labels"] == ["vessels"]
    # The image itself is untouched, and work folder and log lie beside it.
    assert {p: p.read_bytes() for p in before} == before
    assert (tmp_path / "brain.ome.zarr.vessels.log.jsonl").exists()
    seen = {p.name for p in tmp_path.iterdir() if not p.name.startswith(".")}
    assert {name for name in seen if "log" not in name} == {brain.name, alone.name}
    assert cli.main(words) == 2
    assert "exists already" in capsys.readouterr().err


# ----------------------------------------------------------------------------------- nothing lost


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="signals as Linux has them")
def test_a_killed_conversion_ends_as_if_undisturbed(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 250, (320, 512, 512)).astype(np.uint8)
    np.save(tmp_path / "image.npy", array)
    command = ["convert", "../image.npy", "-o", "copy.ome.zarr", "--voxel-size", "2", "2", "2"]
    for name in ("here", "whole"):
        (tmp_path / name).mkdir()
    run = subprocess.Popen(
        [sys.executable, "-m", "vpbsd", *command],
        cwd=tmp_path / "here",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    done = tmp_path / "here" / "copy.ome.zarr.work" / "blocks" / "done"
    end = time.monotonic() + 60
    while not list(done.glob("*/*")) and run.poll() is None and time.monotonic() < end:
        time.sleep(0.005)
    run.send_signal(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    # 2 x 2 x 2 blocks.
    assert 1 <= len(list(done.glob("*/*"))) < 8
    assert not (tmp_path / "here" / "copy.ome.zarr").exists()
    for name in ("here", "whole"):
        again = [sys.executable, "-m", "vpbsd", *command, "--quiet"]
        subprocess.run(again, cwd=tmp_path / name, check=True, capture_output=True)
    trees = [_files(tmp_path / name / "copy.ome.zarr") for name in ("here", "whole")]
    assert len(trees[0]) > 8
    assert trees[0].keys() == trees[1].keys()
    assert [name for name in trees[0] if trees[0][name] != trees[1][name]] == []
    np.testing.assert_array_equal(values_of(tmp_path / "here" / "copy.ome.zarr")[0], array)


def _files(folder: Path) -> dict[str, bytes]:
    """Every file; of the provenance, all but when it was written and by which words."""
    found = {}
    for file in (f for f in folder.rglob("*") if f.is_file()):
        content = file.read_bytes()
        if file == folder / "zarr.json":
            metadata = json.loads(content)
            for name in ("time_utc", "command"):
                metadata["attributes"]["vpbsd"]["provenance"].pop(name)
            content = json.dumps(metadata).encode()
        found[file.relative_to(folder).as_posix()] = content
    return found


@pytest.mark.slow
def test_two_processes_write_what_one_does(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 4000, (300, 40, 300)).astype(np.uint16)
    np.save(tmp_path / "image.npy", array)
    outputs = []
    for workers in (Workers(), Workers(processes=2, threads=1)):
        out = tmp_path / str(workers) / "copy.ome.zarr"
        out.parent.mkdir()
        with open_volume(tmp_path / "image.npy", voxel_size_um=SIZE) as volume:
            assert convert_volume(volume, out, ConvertOptions(workers=workers)).done == 4
        outputs.append(_files(out))
    assert outputs[0] == outputs[1]


PEAK = """
import re
from pathlib import Path
from vpbsd.convert import convert_volume, peak_bytes
from vpbsd.geometry import VoxelSize
from vpbsd.volumes import open_volume
def peak():
    # Not getrusage: its maximum includes that of the process which started this one.
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
volume = open_volume("image.npy", voxel_size_um=VoxelSize(2, 2, 2))
projected = peak_bytes(volume)
convert_volume(volume, "out.ome.zarr")
print(projected, peak())
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is counted as Linux does")
def test_measured_peak_stays_below_the_projected(tmp_path: Path) -> None:
    np.save(
        tmp_path / "image.npy",
        np.random.default_rng(0).integers(0, 4000, (512, 256, 512)).astype(np.uint16),
    )
    done = subprocess.run(
        [sys.executable, "-c", PEAK], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    projected, measured = (int(number) for number in done.stdout.split())
    assert 0.4 * projected < measured <= projected


def test_memory_that_is_not_there_is_refused(
    tmp_path: Path, image: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vpbsd.convert.available_memory_bytes", lambda: 2**30 // 10)
    two = ConvertOptions(workers=Workers(processes=2))
    with pytest.raises(ConfigError) as refused:
        convert_volume(ArrayVolume(image, SIZE), tmp_path / "a.ome.zarr", two)
    assert re.fullmatch(
        r"converting 'array' with 2 processes would need [\d.]+ GiB, but only 0.1 GiB of memory "
        r"are free; choose fewer workers \(--workers\), or close other programs",
        str(refused.value),
    )
    assert list(tmp_path.iterdir()) == []
