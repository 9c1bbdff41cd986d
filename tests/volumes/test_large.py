"""Volumes larger than the memory that the reading process is allowed, most above 4 GB.

The files are sparse, or hold almost only zeros, so that they take little time and room. What
limits the reader is ``RLIMIT_DATA``: it bounds heap and anonymous memory, where a careless reader
would put the volume, and leaves out pages of mapped files, which the system takes back whenever
it needs them. (``RLIMIT_AS`` would refuse the mere mapping of a file that is larger than it.)
"""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import nibabel as nib
import numpy as np
import pytest
import tifffile
import zarr

from vpbsd.errors import VolumeFormatError
from vpbsd.geometry import Box, Triplet
from vpbsd.volumes import open_volume

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="needs /proc, RLIMIT_DATA and GNU cp"),
]

ALLOWED_BYTES = 256 << 20
SHAPE = (530, 2048, 2048)  # 4.1 GiB of uint16
MARK = np.arange(1, 31, dtype=np.uint16).reshape(2, 3, 5)


def marks(shape: Triplet) -> list[Box]:
    """Where MARK is written: near the start, across the middle, in the far corner."""
    middle = [n // 2 - 1 for n in shape]
    last = [n - m for n, m in zip(shape, MARK.shape, strict=True)]
    return [Box.at(start, MARK.shape) for start in ((1, 2, 3), middle, last)]


def plane(shape: Triplet, z: int) -> np.ndarray:
    values = np.zeros(shape[1:], np.uint16)
    for box in marks(shape):
        if box.start[0] <= z < box.stop[0]:
            values[box.slices[1:]] = MARK[z - box.start[0]]
    return values


def is_marked(shape: Triplet, z: int) -> bool:
    return any(box.start[0] <= z < box.stop[0] for box in marks(shape))


def _fill(array: Any, shape: Triplet = SHAPE) -> None:
    for box in marks(shape):
        array[(..., *box.slices)] = MARK


# ------------------------------------------------------------------------------------- the writers


def imagej(path: Path) -> None:
    """One page, then all the pixels: what ImageJ writes above 4 GB. Two channels, z slowest."""
    z, y, x = SHAPE
    text = f"ImageJ=1.54f\nimages={2 * z}\nchannels=2\nslices={z}\nhyperstack=true\nunit=micron\n"
    options: dict[str, Any] = {"metadata": None, "byteorder": ">", "photometric": "minisblack"}
    tifffile.imwrite(path, np.zeros((y, x), np.uint16), description=text, **options)
    with tifffile.TiffFile(path) as tif:
        offset = int(tif.pages[0].dataoffsets[0])
    with path.open("r+b") as file:
        file.truncate(offset + 2 * z * y * x * 2)
    stored = np.memmap(path, ">u2", "r+", offset, (z, 2, y, x))
    _fill(stored[:, 0])
    _fill(stored[:, 1])


def bigtiff(path: Path) -> None:
    options: dict[str, Any] = {"shape": SHAPE, "dtype": np.uint16, "bigtiff": True}
    _fill(tifffile.memmap(path, photometric="minisblack", **options))


def ome_tiff(path: Path) -> None:
    options: dict[str, Any] = {"shape": SHAPE, "dtype": np.uint16, "bigtiff": True, "ome": True}
    _fill(tifffile.memmap(path, photometric="minisblack", metadata={"axes": "ZYX"}, **options))


def compressed_ome_tiff(path: Path) -> None:
    empty = zlib.compress(bytes(SHAPE[1] * SHAPE[2] * 2 // 8), 1)

    def strips() -> Iterator[bytes]:
        for z in range(SHAPE[0]):
            if is_marked(SHAPE, z):
                yield from (zlib.compress(s.tobytes()) for s in np.split(plane(SHAPE, z), 8))
            else:
                yield from [empty] * 8

    with tifffile.TiffWriter(path, ome=True, bigtiff=True) as tif:
        options: dict[str, Any] = {"compression": "zlib", "photometric": "minisblack"}
        options["metadata"] = {"axes": "ZYX"}
        rows = SHAPE[1] // 8
        tif.write(strips(), shape=SHAPE, dtype=np.uint16, rowsperstrip=rows, **options)


def planes(path: Path, compression: str | None) -> None:
    path.mkdir()
    options: dict[str, Any] = {"compression": compression, "rowsperstrip": 64, "metadata": None}
    tifffile.imwrite(path / "0.tif", plane(SHAPE, 0), **options)
    for z in range(1, SHAPE[0]):
        if is_marked(SHAPE, z):
            tifffile.imwrite(path / f"{z}.tif", plane(SHAPE, z), **options)
        else:
            (path / f"{z}.tif").hardlink_to(path / "0.tif")


def hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        options: dict[str, Any] = {"chunks": (32, 128, 128), "compression": "gzip"}
        _fill(file.create_dataset("raw", SHAPE, np.uint16, **options))


def contiguous_hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        _fill(file.create_dataset("raw", SHAPE, np.uint16, fill_time="never"))


def imaris(path: Path) -> None:
    padded = (544, 2048, 2048)
    with h5py.File(path, "w") as file:
        channel = file.create_group("DataSet/ResolutionLevel 0/TimePoint 0/Channel 0")
        file.create_group("DataSetInfo/Image")
        options: dict[str, Any] = {"chunks": (32, 128, 128), "compression": "gzip"}
        _fill(channel.create_dataset("Data", padded, np.uint16, **options))
        for axis, size in zip("ZYX", SHAPE, strict=True):
            channel.attrs[f"ImageSize{axis}"] = np.array(list(str(size)), "S1")


def ome_zarr(path: Path, zarr_format: int) -> None:
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format)
    shards = {"shards": (256, 256, 256)} if zarr_format == 3 else {}
    _fill(group.create_array("0", shape=SHAPE, dtype="uint16", chunks=(64, 64, 64), **shards))
    axes = [{"name": a, "type": "space", "unit": "micrometer"} for a in "zyx"]
    transforms = [{"type": "scale", "scale": [5, 1, 1]}]
    datasets = [{"path": "0", "coordinateTransformations": transforms}]
    if zarr_format == 3:
        group.attrs["ome"] = {
            "version": "0.5",
            "multiscales": [{"axes": axes, "datasets": datasets}],
        }
    else:
        group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]


def nifti(path: Path) -> None:
    header = nib.Nifti1Header()
    header.set_data_dtype(np.uint16)
    header.set_data_shape(SHAPE[::-1])
    header["vox_offset"], header["magic"] = 352, b"n+1"
    path.write_bytes(header.binaryblock + bytes(4))
    with path.open("r+b") as file:
        file.truncate(352 + int(np.prod(SHAPE)) * 2)
    _fill(np.memmap(path, np.uint16, "r+", 352, SHAPE))


GZIP_SHAPE = (300, 1024, 1024)  # 600 MiB


def gzip_nifti(path: Path) -> None:
    header = nib.Nifti1Header()
    header.set_data_dtype(np.uint16)
    header.set_data_shape(GZIP_SHAPE[::-1])
    header["vox_offset"], header["magic"] = 352, b"n+1"
    empty = gzip.compress(bytes(GZIP_SHAPE[1] * GZIP_SHAPE[2] * 2), 1)
    with path.open("wb") as file:
        # A gzip file may be a chain of gzip files.
        file.write(gzip.compress(header.binaryblock + bytes(4)))
        for z in range(GZIP_SHAPE[0]):
            marked = is_marked(GZIP_SHAPE, z)
            file.write(gzip.compress(plane(GZIP_SHAPE, z).tobytes(), 1) if marked else empty)


def npy(path: Path) -> None:
    _fill(np.lib.format.open_memmap(path, "w+", np.uint16, SHAPE))


WRITERS: dict[str, Callable[[Path], None]] = {
    "imagej.tif": imagej,
    "bigtiff.tif": bigtiff,
    "contiguous.ome.tif": ome_tiff,
    "zlib.ome.tif": compressed_ome_tiff,
    "planes": lambda path: planes(path, None),
    "zlib_planes": lambda path: planes(path, "zlib"),
    "gzip.h5": hdf5,
    "contiguous.h5": contiguous_hdf5,
    "imaris.ims": imaris,
    "ome_04.zarr": lambda path: ome_zarr(path, 2),
    "ome_05_sharded.zarr": lambda path: ome_zarr(path, 3),
    "nifti.nii": nifti,
    "gzip.nii.gz": gzip_nifti,
    "array.npy": npy,
}

READER = """
import json, resource, sys
import h5py, nibabel, numpy as np, tifffile, zarr
from vpbsd.geometry import Box
from vpbsd.volumes import CachedVolume, open_volume

allowed = int(sys.argv[1])
held = next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmData")) << 10
resource.setrlimit(resource.RLIMIT_DATA, (held + allowed, held + allowed))
try:
    np.ones(allowed * 5 // 4, np.uint8)
except MemoryError:
    pass
else:
    sys.exit("the limit does not hold")

for line in sys.stdin:
    path, boxes = json.loads(line)
    found = []
    with open_volume(path) as volume:
        for reader in (volume, CachedVolume(volume, 16 << 20)):
            for start, shape in boxes:
                mark = Box.at(start, shape)
                around = mark.grow(40).clip(volume.shape_zyx)
                block = reader.read(around)
                values = block[(slice(None), *mark.relative_to(around).slices)]
                found.append([values.tolist(), int(block.sum(dtype=np.int64))])
        print(json.dumps([volume.shape, found]), flush=True)
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder with all of them, removed at the end: sparse or not, they would fill a backup."""
    folder = tmp_path_factory.mktemp("large")
    for name, write in WRITERS.items():
        write(folder / name)
    yield folder
    shutil.rmtree(folder)


def test_boxes_are_read_within_a_fraction_of_the_volumes_size(large: Path) -> None:
    jobs = []
    for name in WRITERS:
        shape = GZIP_SHAPE if name == "gzip.nii.gz" else SHAPE
        assert np.prod(shape) * 2 > 2 * ALLOWED_BYTES
        boxes = [[box.start, box.shape] for box in marks(shape)]
        jobs.append(json.dumps([str(large / name), boxes]))
    done = subprocess.run(
        [sys.executable, "-c", READER, str(ALLOWED_BYTES)],
        input="\n".join(jobs),
        capture_output=True,
        text=True,
        timeout=200,
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0, f"after {list(WRITERS)[: len(lines)]}:\n{done.stderr}"
    for name, line in zip(WRITERS, lines, strict=True):
        shape, found = json.loads(line)
        channels = 2 if name == "imagej.tif" else 1
        expected_shape = GZIP_SHAPE if name == "gzip.nii.gz" else SHAPE
        assert shape == [channels, *expected_shape], name
        # MARK's values add up to 30 * 31 / 2 = 465, and all else is 0.
        assert found == [[[MARK.tolist()] * channels, 465 * channels]] * 6, name


def _cut(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(int(path.stat().st_size * 0.8))


@pytest.mark.parametrize("name", WRITERS)
def test_a_large_file_cut_short_is_refused(name: str, large: Path, tmp_path: Path) -> None:
    path = tmp_path / name
    # cp keeps the holes; shutil would fill them.
    subprocess.run(["cp", "-r", "--sparse=always", large / name, path], check=True)
    if path.is_file():
        _cut(path)
    else:
        files = (f for f in path.rglob("*") if f.is_file() and "json" not in f.name)
        _cut(max((f for f in files if f.name[0] != "."), key=_far))
    with pytest.raises(VolumeFormatError, match=name), open_volume(path) as volume:
        volume.read(marks(volume.shape_zyx)[2])


def _far(path: Path) -> list[int]:
    """Order planes and chunks by where they lie: ``c/8/31/31``, ``8.31.31``, ``529.tif``."""
    parts = "/".join(path.parts[-3:]).replace(".", "/").split("/")
    return [int(part) for part in parts if part.isdecimal()]
