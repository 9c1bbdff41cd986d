from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpbsd.geometry import VoxelSize
from vpbsd.volumes.pyramid import downsample, level_shape, pyramid_factors


@pytest.mark.parametrize(
    ("shape", "voxel_um", "expected"),
    [
        ((256, 256, 256), (1, 1, 1), [(1, 1, 1)]),
        ((1000, 257, 40), (1, 1, 1), [(1, 1, 1), (2, 2, 2), (4, 4, 4)]),
        # Planes 5 µm apart wait until the pixels are 4 µm wide, then all are halved.
        (
            (100, 4000, 4000),
            (5, 1, 1),
            [(1, 1, 1), (1, 2, 2), (1, 4, 4), (2, 8, 8), (4, 16, 16)],
        ),
        # Exactly twice as coarse is not more than twice.
        ((10, 300, 300), (2, 1, 1), [(1, 1, 1), (2, 2, 2)]),
        # A single plane cannot be halved, however fine it is.
        ((1, 600, 600), (0.1, 1, 1), [(1, 1, 1), (1, 2, 2), (1, 4, 4)]),
    ],
)
def test_factors(
    shape: tuple[int, int, int],
    voxel_um: tuple[float, float, float],
    expected: list[tuple[int, int, int]],
) -> None:
    assert pyramid_factors(shape, VoxelSize.of(voxel_um)) == expected


@given(
    shape=st.tuples(*[st.integers(1, 100_000)] * 3),
    voxel=st.tuples(*[st.floats(0.01, 100)] * 3),
)
def test_factors_always_end(shape: tuple[int, int, int], voxel: tuple[float, float, float]) -> None:
    factors = pyramid_factors(shape, VoxelSize.of(voxel))
    assert max(level_shape(shape, factors[-1])) <= 256
    assert all(max(level_shape(shape, f)) > 256 for f in factors[:-1])


def test_level_shape_counts_a_part_as_one() -> None:
    assert level_shape((5, 6, 1), (2, 2, 2)) == (3, 3, 1)


def test_mask_takes_the_majority_and_ties_are_foreground() -> None:
    mask = np.array([[[1, 0, 0, 0, 1], [1, 0, 1, 0, 0], [0, 0, 0, 0, 1]]], np.uint8)
    # windows: 2 of 4 | 1 of 4 | 1 of 2;  0 of 2 | 0 of 2 | 1 of 1
    assert downsample(mask, (1, 2, 2), "mask").tolist() == [[[1, 0, 1], [0, 0, 1]]]
    assert downsample(mask * 255, (1, 2, 2), "mask").tolist() == [[[255, 0, 255], [0, 0, 255]]]


def test_probability_takes_the_mean_of_what_is_there() -> None:
    values = np.array([[[0, 1, 10], [0, 1, 20]]], np.uint8)
    # (0 + 1 + 0 + 1) / 4 = 0.5 rounds up; (10 + 20) / 2 = 15
    assert downsample(values, (2, 2, 2), "probability").tolist() == [[[1, 15]]]
    halves = downsample(values.astype(np.float32), (2, 2, 2), "image")
    assert halves.dtype == np.float32 and halves.tolist() == [[[0.5, 15.0]]]


def test_means_do_not_overflow_the_type() -> None:
    values = np.full((2, 2, 2), 65535, np.uint16)
    assert downsample(values, (2, 2, 2), "image").tolist() == [[[65535]]]


def test_channels_are_kept_apart() -> None:
    values = np.stack([np.full((2, 2, 2), 3), np.full((2, 2, 2), 8)]).astype(np.uint8)
    assert downsample(values, (2, 2, 2), "image").ravel().tolist() == [3, 8]


def test_factor_of_one_copies() -> None:
    values = np.ones((1, 2, 3), np.uint8)
    copy = downsample(values, (1, 1, 1), "mask")
    copy[:] = 0
    assert values.all()


def test_negative_means_are_rounded_half_up() -> None:
    # -1.5, -0.5 and 0.5 become -1, 0 and 1.
    values = np.array([[[-1, -2, 0, -1, 1, 0]]], np.int16)
    assert downsample(values, (1, 1, 2), "image").tolist() == [[[-1, 0, 1]]]


def test_many_voxels_of_any_type_do_not_overflow() -> None:
    for dtype in (np.uint8, np.int8, np.uint16, np.int32, np.uint32, np.uint64, np.float16):
        largest = 32752.0 if dtype == np.float16 else np.iinfo(dtype).max // 2
        values = np.full((8, 8, 9), largest, dtype)
        assert downsample(values, (8, 8, 9), "image").astype(float).item() == float(largest)
        if np.dtype(dtype).kind == "u":
            assert downsample(values, (8, 8, 9), "mask").item() == largest


def test_the_block_itself_is_not_touched() -> None:
    values = np.arange(27, dtype=np.uint16).reshape(3, 3, 3)
    values.flags.writeable = False
    for kind in ("mask", "image"):
        # The last corner is a window of a single voxel.
        assert downsample(values, (2, 2, 2), kind)[1, 1, 1] == 26
    assert values.ravel().tolist() == list(range(27))


@given(
    seed=st.integers(0, 2**32),
    shape=st.tuples(*[st.integers(1, 7)] * 3),
    factor=st.tuples(*[st.integers(1, 3)] * 3),
    dtype=st.sampled_from(["u1", "i2", "u4", "f4", "f8"]),
    kind=st.sampled_from(["mask", "image"]),
)
def test_each_window_is_on_its_own(
    seed: int,
    shape: tuple[int, int, int],
    factor: tuple[int, int, int],
    dtype: str,
    kind: Literal["mask", "image"],
) -> None:
    rng = np.random.default_rng(seed)
    values = (rng.integers(-3 if dtype == "i2" and kind == "image" else 0, 4, (2, *shape))).astype(
        dtype
    )
    coarse = downsample(values, factor, kind)
    assert coarse.dtype == values.dtype
    assert coarse.shape == (2, *level_shape(shape, factor))
    for c, *at in np.ndindex(coarse.shape):
        start = [i * f for i, f in zip(at, factor, strict=True)]
        spans = [slice(a, a + f) for a, f in zip(start, factor, strict=True)]
        window = values[(c, *spans)]
        if kind == "mask":
            expected = window.max() if 2 * np.count_nonzero(window) >= window.size else 0
        elif values.dtype.kind == "f":
            expected = pytest.approx(float(window.mean(dtype=float)), rel=1e-6)
        else:
            expected = int(np.floor(window.mean(dtype=float) + 0.5))
        assert coarse[(c, *at)] == expected
