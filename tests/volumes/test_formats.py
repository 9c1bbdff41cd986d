"""One law for every reader: any box of any channel equals the slice of the array written."""

from __future__ import annotations

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vpbsd.geometry import Box, VoxelSize
from vpbsd.volumes import Volume, open_volume

KNOWN = (5.0, 2.5, 1.25)

# name: channels stored, voxel size in the file
FORMATS: dict[str, tuple[list[int], tuple[float, float, float] | None]] = {
    "ome.ome.tif": ([0, 1], KNOWN),
    "ome_zlib.ome.tif": ([0, 1], KNOWN),
    "ome_tiled_t1.ome.tif": ([0, 1], KNOWN),
    "imagej.tif": ([0, 1], KNOWN),
    "imagej_zlib.tif": ([0], KNOWN),
    "plain.tif": ([0], None),
    "plain_big_endian.tif": ([0], None),
    "bigtiff.tif": ([0], None),
    "rgb.tif": ([0, 1, 0], None),
    "planes": ([0], None),
    "nifti.nii": ([0], KNOWN),
    "nifti.nii.gz": ([0], KNOWN),
    "nifti_2_channels.nii": ([0, 1], KNOWN),
    "array.h5": ([0, 1], KNOWN),
    "ilastik.h5": ([0, 1], None),
    "imaris.ims": ([0, 1], KNOWN),
    "ome_04.zarr": ([0, 1], KNOWN),
    "ome_05.zarr": ([0, 1], KNOWN),
    "array_v2.zarr": ([0, 1], None),
    "array_v3.zarr": ([0, 1], None),
    "named.zarr": ([0], None),
    "array.npy": ([0, 1], None),
    "fortran.npy": ([0], None),
}
# What is decoded at once along (z, y, x); the others are read where they lie.
CHUNKS = {
    "ome_zlib.ome.tif": (1, 6, 7),
    "ome_tiled_t1.ome.tif": (1, 16, 16),
    "imagej_zlib.tif": (1, 6, 7),
    "bigtiff.tif": (1, 6, 7),
    "planes": (1, 6, 7),
    "nifti.nii.gz": (1, 6, 7),
    "array.h5": (2, 3, 4),
    "imaris.ims": (4, 4, 4),
    "ome_04.zarr": (5, 6, 7),
    "ome_05.zarr": (5, 6, 7),
    "array_v2.zarr": (5, 6, 7),
    "array_v3.zarr": (5, 6, 7),
    "named.zarr": (4, 4, 4),
}
every_format = pytest.mark.parametrize("name", FORMATS)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    """Boxes inside (5, 6, 7), empty ones too."""
    edges = [sorted(draw(st.tuples(*[st.integers(0, n)] * 2))) for n in (5, 6, 7)]
    (z0, z1), (y0, y1), (x0, x1) = edges
    return Box((z0, y0, x0), (z1, y1, x1))


@every_format
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_box_equals_the_slice(
    name: str, written: Path, array: np.ndarray, data: st.DataObject
) -> None:
    expected = array[FORMATS[name][0]]
    box = data.draw(boxes())
    channels = data.draw(
        st.none() | st.lists(st.integers(0, len(expected) - 1), min_size=1, max_size=3)
    )
    with open_volume(written / name) as volume:
        block = volume.read(box, channels)
    chosen = expected if channels is None else expected[channels]
    np.testing.assert_array_equal(block, chosen[(slice(None), *box.slices)])
    assert block.dtype == np.dtype("uint16") and block.dtype.isnative


@every_format
def test_shape_type_and_voxel_size(name: str, written: Path) -> None:
    channels, voxel_size = FORMATS[name]
    with open_volume(written / name) as volume:
        assert volume.shape == (len(channels), 5, 6, 7)
        assert volume.shape_zyx == (5, 6, 7)
        assert volume.dtype == np.uint16
        if voxel_size is None:
            assert volume.voxel_size_um is None
        else:
            assert volume.require_voxel_size().zyx_um == pytest.approx(voxel_size, rel=1e-5)


@every_format
def test_chunks_are_those_that_a_read_decodes(name: str, written: Path) -> None:
    with open_volume(written / name) as volume:
        assert volume.chunk_voxels == CHUNKS.get(name)


@every_format
def test_two_threads_may_read_at_once(name: str, written: Path, array: np.ndarray) -> None:
    expected = array[FORMATS[name][0]]
    start = threading.Barrier(2)

    def read(volume: Volume, seed: int) -> bool:
        rng = np.random.default_rng(seed)
        start.wait()
        same = True
        for _ in range(15):
            edges = [np.sort(rng.choice(n + 1, 2, replace=False)) for n in (5, 6, 7)]
            (z0, z1), (y0, y1), (x0, x1) = np.array(edges).tolist()
            box = Box((z0, y0, x0), (z1, y1, x1))
            same &= np.array_equal(volume.read(box), expected[(slice(None), *box.slices)])
        return same

    with ThreadPoolExecutor(2) as pool:
        for round_ in range(3):  # each time they race for opening the file, too
            with open_volume(written / name) as volume:
                jobs = [pool.submit(read, volume, 2 * round_ + i) for i in (0, 1)]
                assert all(job.result(timeout=60) for job in jobs)


@every_format
def test_a_given_voxel_size_overrides_the_file(name: str, written: Path) -> None:
    with open_volume(written / name, voxel_size_um=VoxelSize(4.0, 3.0, 2.0)) as volume:
        assert volume.require_voxel_size().zyx_um == (4.0, 3.0, 2.0)


@every_format
def test_survives_pickling_copying_and_closing(name: str, written: Path, array: np.ndarray) -> None:
    voxel = Box((4, 1, 2), (5, 2, 3))
    expected = array[FORMATS[name][0], 4, 1, 2]
    volume = open_volume(written / name)
    volume.read(voxel)
    for other in (pickle.loads(pickle.dumps(volume)), volume.with_voxel_size(VoxelSize(1, 1, 1))):
        np.testing.assert_array_equal(other.read(voxel).ravel(), expected)
        other.close()
    volume.close()
    np.testing.assert_array_equal(volume.read(voxel).ravel(), expected)
    volume.close()


@every_format
def test_a_block_may_be_changed_without_touching_the_volume(name: str, written: Path) -> None:
    with open_volume(written / name) as volume:
        block = volume.read(Box.whole((5, 6, 7)))
        block += 1
        assert volume.read(Box.whole((5, 6, 7))).ravel()[0] == 0


def test_content_digest_is_the_same_in_every_format(written: Path) -> None:
    names = [name for name, (channels, _) in FORMATS.items() if channels == [0, 1]]
    digests = set()
    for name in names:
        with open_volume(written / name) as volume:
            digests.add(volume.content_digest())
    assert len(names) > 5 and len(digests) == 1
