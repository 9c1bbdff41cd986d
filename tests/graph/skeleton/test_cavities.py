"""Cavities: what is filled, what stays open, and block by block as in one piece."""

import cc3d
import numpy as np
import pytest

from vpbsd.errors import ConfigError
from vpbsd.geometry import Box, tile
from vpbsd.graph.skeleton.cavities import fill_cavities


def solid(*holes, shape=(7, 8, 9)):
    mask = np.ones(shape, bool)
    for hole in holes:
        mask[hole] = False
    return mask


def test_fills_a_cavity_and_leaves_its_input():
    mask = solid((3, 3, slice(2, 5)))
    filled, count = fill_cavities(mask, 3)
    assert filled.all() and count == 1
    assert np.count_nonzero(~mask) == 3


def test_leaves_what_is_too_large_too_long_or_open():
    mask = solid((3, 3, slice(2, 5)))
    assert fill_cavities(mask, 2) == (mask, 0)
    assert fill_cavities(mask, 3, longest_voxels=2)[1] == 0
    assert fill_cavities(mask, 3, longest_voxels=3)[1] == 1
    assert fill_cavities(mask, 0)[1] == 0
    at_border = solid((0, 3, 3))
    filled, count = fill_cavities(at_border, 9)
    assert count == 0 and not filled[0, 3, 3]


def test_diagonal_background_is_two_cavities():
    assert fill_cavities(solid((2, 2, 2), (3, 3, 2)), 1)[1] == 2


@pytest.mark.parametrize(("most", "longest"), [(1, None), (6, None), (9, 3), (500, None)])
def test_agrees_with_labelling(most, longest):
    rng = np.random.default_rng(most)
    cavities = 0
    for _ in range(40):
        mask = rng.random(rng.integers(1, 14, 3)) < rng.choice([0.6, 0.7, 0.8, 0.9])
        labels = cc3d.connected_components((~mask).view(np.uint8), connectivity=6)
        pieces = cc3d.statistics(labels)
        expected, count = mask.copy(), 0
        for label in range(1, len(pieces["voxel_counts"])):
            spans = pieces["bounding_boxes"][label]
            inside = all(s.start > 0 and s.stop < n for s, n in zip(spans, mask.shape, strict=True))
            span = max(s.stop - s.start for s in spans)
            if inside and pieces["voxel_counts"][label] <= most and span <= (longest or most):
                expected[labels == label] = True
                count += 1
        filled, found = fill_cavities(mask, most, longest_voxels=longest)
        assert found == count and (filled == expected).all()
        cavities += count
    assert cavities > 10


def test_blocks_fill_and_count_as_the_whole():
    mask = np.random.default_rng(5).random((24, 26, 28)) < 0.8
    whole, count = fill_cavities(mask, 12, longest_voxels=4)
    joined, found = np.zeros_like(mask), 0
    for core in tile(mask.shape, (9, 7, 11)):
        read = core.grow(4).clip(mask.shape)
        inner = core.relative_to(read)
        filled, counted = fill_cavities(
            mask[read.slices],
            12,
            owns=lambda at, inner=inner: inner.contains(Box.at(at, (1, 1, 1))),
            longest_voxels=4,
        )
        joined[core.slices] = filled[inner.slices]
        found += counted
    assert (joined == whole).all() and found == count > 50


def test_refuses_a_negative_size():
    with pytest.raises(ConfigError, match="most_voxels=-1"):
        fill_cavities(solid(), -1)
    with pytest.raises(ConfigError, match="longest_voxels=0"):
        fill_cavities(solid(), 3, longest_voxels=0)
