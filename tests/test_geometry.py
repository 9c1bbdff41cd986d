"""Boxes and voxel sizes: hand-worked cases and laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpbsd.errors import ConfigError, DataError
from vpbsd.geometry import Box, VoxelSize, as_triplet, tile

coordinate = st.integers(-20, 20)
corner = st.tuples(coordinate, coordinate, coordinate)
shape = st.tuples(*[st.integers(0, 12)] * 3)
boxes = st.builds(Box.at, corner, shape)


def voxels(box: Box) -> set[tuple[int, int, int]]:
    z, y, x = (range(a, b) for a, b in zip(box.start, box.stop, strict=True))
    return {(i, j, k) for i in z for j in y for k in x}


def test_one_number_stands_for_three() -> None:
    assert as_triplet(4) == (4, 4, 4)
    assert as_triplet([1, 2, 3]) == (1, 2, 3)
    assert as_triplet(np.array([1, 2, 3])) == (1, 2, 3)
    assert all(type(v) is int for v in as_triplet(np.array([1, 2, 3])))


@pytest.mark.parametrize("wrong", [[], [1], [1, 2], [1, 2, 3, 4]])
def test_three_axes_or_none(wrong: list[int]) -> None:
    with pytest.raises(ConfigError, match="three"):
        as_triplet(wrong)


def test_a_box_by_hand() -> None:
    box = Box.at((1, 2, 3), (4, 5, 6))
    assert box == Box((1, 2, 3), (5, 7, 9))
    assert box.shape == (4, 5, 6)
    assert box.size_voxels == 120
    assert str(box) == "z[1:5] y[2:7] x[3:9]"
    assert box.grow((1, 0, 2)) == Box((0, 2, 1), (6, 7, 11))
    assert box.shift((1, -1, 0)) == Box((2, 1, 3), (6, 6, 9))
    assert box.relative_to(Box.at((1, 1, 1), (9, 9, 9))) == Box((0, 1, 2), (4, 6, 8))
    assert box.clip((4, 9, 5)) == Box((1, 2, 3), (4, 7, 5))


def test_slices_cut_the_box_out() -> None:
    array = np.arange(5 * 6 * 7).reshape(5, 6, 7)
    cut = array[Box.at((1, 2, 3), (2, 1, 3)).slices]
    # index = z * 42 + y * 7 + x
    assert cut.tolist() == [[[59, 60, 61]], [[101, 102, 103]]]


@given(boxes, boxes)
def test_intersection_is_what_both_hold(a: Box, b: Box) -> None:
    common = a.intersect(b)
    assert voxels(common) == voxels(a) & voxels(b)
    assert common.size_voxels == len(voxels(common))
    assert common.is_empty == (not voxels(a) & voxels(b))
    assert all(n >= 0 for n in common.shape)


@given(boxes, boxes)
def test_containing_a_box_is_containing_its_voxels(a: Box, b: Box) -> None:
    if not b.is_empty:
        assert a.contains(b) == (voxels(b) <= voxels(a))


@given(boxes, corner)
def test_shifting_back_and_forth(box: Box, by: tuple[int, int, int]) -> None:
    assert box.shift(by).shift([-v for v in by]) == box
    assert box.shift(by).shape == box.shape
    assert box.relative_to(Box.at(by, (1, 1, 1))).shift(by) == box


@given(st.tuples(*[st.integers(1, 12)] * 3), st.tuples(*[st.integers(1, 7)] * 3))
def test_tiles_cover_every_voxel_once(
    size: tuple[int, int, int], block: tuple[int, int, int]
) -> None:
    count = np.zeros(size, dtype=int)
    for box in tile(size, block):
        assert not box.is_empty
        assert all(n <= b for n, b in zip(box.shape, block, strict=True))
        count[box.slices] += 1
    assert (count == 1).all()


def test_tiles_run_along_x_first() -> None:
    assert [b.start for b in tile((2, 4, 6), (2, 2, 4))] == [
        *((0, 0, 0), (0, 0, 4)),
        *((0, 2, 0), (0, 2, 4)),
    ]


@pytest.mark.parametrize("block", [0, (1, 0, 1), (2, -1, 2)])
def test_tiles_need_an_edge(block: int | tuple[int, int, int]) -> None:
    with pytest.raises(ConfigError, match="at least 1 voxel"):
        list(tile((4, 4, 4), block))


def test_voxel_size_by_hand() -> None:
    size = VoxelSize.of([5, 1, 2])
    assert size.zyx_um == (5.0, 1.0, 2.0)
    assert size.anisotropy == 5.0
    assert size.scaled((1, 4, 2)) == VoxelSize(5.0, 4.0, 4.0)
    assert str(size) == "z 5, y 1, x 2 µm"


@pytest.mark.parametrize(
    "wrong", [(0.0, 1.0, 1.0), (1.0, -1.0, 1.0), (1.0, 1.0, math.inf), (math.nan, 1.0, 1.0)]
)
def test_impossible_voxel_sizes(wrong: tuple[float, float, float]) -> None:
    with pytest.raises(DataError, match="positive"):
        VoxelSize.of(wrong)


@pytest.mark.parametrize("wrong", [(1.0,), (1.0, 2.0), (1.0, 2.0, 3.0, 4.0)])
def test_voxel_size_needs_three_numbers(wrong: tuple[float, ...]) -> None:
    with pytest.raises(DataError, match="three numbers"):
        VoxelSize.of(wrong)
