from __future__ import annotations

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
