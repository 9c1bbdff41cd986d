from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from vpbsd.errors import DataError, VolumeFormatError, VoxelSizeUnknownError
from vpbsd.geometry import Box, VoxelSize
from vpbsd.volumes import ArrayVolume, open_volume


def test_an_array_is_a_volume_of_one_channel() -> None:
    volume = ArrayVolume(np.arange(24, dtype=np.uint8).reshape(2, 3, 4), VoxelSize(3, 2, 1))
    assert volume.shape == (1, 2, 3, 4)
    assert volume.channels == 1
    assert volume.read(Box((1, 2, 1), (2, 3, 3))).tolist() == [[[[21, 22]]]]
    assert volume.require_voxel_size() == VoxelSize(3, 2, 1)


def test_channels_come_in_the_order_asked_for() -> None:
    volume = ArrayVolume(np.arange(3, dtype=np.int16).reshape(3, 1, 1, 1))
    assert volume.read(Box.whole((1, 1, 1)), [2, 0, 2]).ravel().tolist() == [2, 0, 2]


def test_foreign_byte_order_becomes_native() -> None:
    volume = ArrayVolume(np.array([[[258]]], dtype=">u2"))
    block = volume.read(Box.whole((1, 1, 1)))
    assert block.dtype.isnative and block.item() == 258


@pytest.mark.parametrize(
    "box",
    [
        Box((0, 0, 0), (2, 3, 5)),
        Box((-1, 0, 0), (1, 1, 1)),
        Box((1, 0, 0), (0, 1, 1)),
        Box((3, 0, 0), (3, 1, 1)),
    ],
)
def test_a_box_outside_is_refused_with_the_shape(box: Box) -> None:
    volume = ArrayVolume(np.zeros((2, 3, 4), np.uint8), source="brain")
    with pytest.raises(DataError, match=r"not inside 'brain' of shape \(z, y, x\) \(2, 3, 4\)"):
        volume.read(box)


@pytest.mark.parametrize("channels", [[], [1], [-1], [0, 2]])
def test_an_unknown_channel_is_refused(channels: list[int]) -> None:
    volume = ArrayVolume(np.zeros((2, 3, 4), np.uint8))
    with pytest.raises(DataError, match="has 1, counted from 0"):
        volume.read(Box.whole((2, 3, 4)), channels)


@pytest.mark.parametrize("dtype", ["bool", "complex64", "object", "U3", [("r", "u1")]])
def test_values_that_are_not_numbers_are_refused(dtype: object) -> None:
    with pytest.raises(VolumeFormatError, match="integers or real numbers"):
        ArrayVolume(np.zeros((2, 3, 4), dtype))


@pytest.mark.parametrize("shape", [(3, 4), (1, 1, 2, 3, 4), (7,)])
def test_other_numbers_of_axes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(VolumeFormatError, match=f"has {len(shape)} axes"):
        ArrayVolume(np.zeros(shape))


def test_an_empty_volume_is_refused() -> None:
    with pytest.raises(VolumeFormatError, match="empty along an axis"):
        ArrayVolume(np.zeros((2, 0, 4)))


def test_an_unknown_voxel_size_is_refused_with_the_remedy() -> None:
    volume = ArrayVolume(np.zeros((2, 3, 4)), source="brain.tif")
    with pytest.raises(VoxelSizeUnknownError, match=r"'brain.tif'.*--voxel-size Z Y X"):
        volume.require_voxel_size()
    assert volume.with_voxel_size(VoxelSize(1, 2, 3)).require_voxel_size() == VoxelSize(1, 2, 3)
    assert volume.voxel_size_um is None


def test_fingerprint_sees_content_type_shape_and_time(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    np.save(path, array)
    os.utime(path, ns=(10**18, 10**18))
    first = open_volume(path)
    fingerprint, digest = first.fingerprint(), first.content_digest()
    assert open_volume(path).fingerprint() == fingerprint
    assert first.with_voxel_size(VoxelSize(9, 9, 9)).fingerprint() == fingerprint

    os.utime(path, ns=(10**18, 10**18 + 5))
    assert open_volume(path).fingerprint() != fingerprint
    assert open_volume(path).content_digest() == digest

    others = [array + 1, array.astype(np.int16), array.reshape(2, 4, 3)]
    digests = {ArrayVolume(other).content_digest() for other in others}
    assert len(digests | {digest}) == 4


def test_digest_of_a_large_volume_reads_a_bounded_sample() -> None:
    class Counting(ArrayVolume):
        voxels_read = 0

        def _read(self, box: Box, channels: tuple[int, ...]) -> np.ndarray:
            self.voxels_read += box.size_voxels
            return super()._read(box, channels)

    rows = np.arange(300, dtype=np.uint16)[:, None, None]
    large = Counting(np.broadcast_to(rows, (300, 4000, 4000)))
    digest = large.content_digest()
    assert large.voxels_read == 9 * 128 * 128
    changed = Counting(np.broadcast_to(np.where(rows == 299, 0, rows), (300, 4000, 4000)))
    assert changed.content_digest() != digest


def test_repr_says_what_it_is() -> None:
    volume = ArrayVolume(np.zeros((2, 3, 4), np.uint8), VoxelSize(5, 1.5, 1.5), source="brain")
    assert "'brain'" in repr(volume) and "z 5, y 1.5, x 1.5 µm" in repr(volume)
