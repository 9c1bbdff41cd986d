from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpbsd.blockwise import Block, choose_block, plan_blocks, projected_peak_bytes
from vpbsd.errors import ConfigError
from vpbsd.geometry import Box


def test_blocks_of_one_axis_written_out() -> None:
    # 50 voxels padded to 56; blocks of 16; halo 5 rounded out to multiples of 8.
    plan = plan_blocks((50, 8, 8), (16, 8, 8), halo=(5, 0, 0), stride=8)
    assert plan.padded_shape == (56, 8, 8)
    assert [(b.write.start[0], b.write.stop[0]) for b in plan] == [
        (0, 16),
        (16, 32),
        (32, 48),
        (48, 50),
    ]
    assert [(b.read.start[0], b.read.stop[0]) for b in plan] == [
        (0, 24),
        (8, 40),
        (24, 56),
        (40, 56),
    ]


def test_block_order_is_z_slowest_and_indices_count_up() -> None:
    plan = plan_blocks((4, 4, 6), (2, 4, 2), halo=1)
    assert len(plan) == 6
    assert [b.index for b in plan] == [0, 1, 2, 3, 4, 5]
    assert plan[4] == Block(4, Box((2, 0, 2), (4, 4, 4)), Box((1, 0, 1), (4, 4, 5)))
    assert plan[4].crop == Box((1, 0, 1), (3, 4, 3))
    assert plan[-1] == plan[5]
    assert [b.index for b in plan[1:4]] == [1, 2, 3]
    with pytest.raises(IndexError, match="block 6 of a plan of 6"):
        plan[6]


@pytest.mark.parametrize(
    ("shape", "block", "halo", "stride"),
    [
        ((7, 30, 1), 8, 3, 4),
        ((1, 1, 1), 16, 40, 8),
        ((33, 9, 65), (16, 8, 32), (20, 0, 5), (16, 4, 2)),
    ],
)
def test_written_boxes_cover_each_voxel_once(shape, block, halo, stride) -> None:  # type: ignore[no-untyped-def]
    plan = plan_blocks(shape, block, halo, stride)
    count = np.zeros(shape, int)
    for item in plan:
        assert item.read.contains(item.write)
        count[item.write.slices] += 1
    assert (count == 1).all()


edges = st.tuples(*[st.integers(1, 70)] * 3)


@given(
    shape=edges,
    blocks=st.tuples(*[st.integers(1, 5)] * 3),
    halo=st.integers(0, 40),
    stride=st.sampled_from([1, 2, 3, 8]),
)
def test_read_boxes_are_aligned_inside_and_hold_the_halo(
    shape: tuple[int, int, int], blocks: tuple[int, int, int], halo: int, stride: int
) -> None:
    plan = plan_blocks(shape, [b * 8 * stride for b in blocks], halo, stride)
    padded = Box.whole(plan.padded_shape)
    reads = 0
    for block in plan:
        assert padded.contains(block.read)
        assert block.read.contains(block.write.grow(halo).clip(plan.padded_shape))
        assert all(v % stride == 0 for v in (*block.read.start, *block.read.stop))
        assert all(a <= b for a, b in zip(block.read.shape, plan.largest_read, strict=True))
        reads += block.read.size_voxels
    assert plan.overhead == pytest.approx(reads / np.prod(shape))


def test_overhead_by_hand() -> None:
    # Along z reads are [0:6] and [2:8], 12 voxels for 8; y and x are read once.
    assert plan_blocks((8, 4, 4), (4, 4, 4), halo=(2, 0, 0)).overhead == 1.5


def test_a_billion_blocks_cost_nothing_until_asked_for() -> None:
    start = time.process_time()
    plan = plan_blocks((64_000, 64_000, 64_000), 64, halo=32, stride=16)
    assert len(plan) == 1_000_000_000
    assert plan[999_999_999].write.stop == (64_000, 64_000, 64_000)
    assert plan.largest_read == (128, 128, 128)
    assert plan.overhead == pytest.approx(7.97, abs=0.02)
    assert time.process_time() - start < 1


def test_projected_peak_is_that_of_a_block_not_of_the_volume() -> None:
    small = plan_blocks((300, 300, 300), 64, halo=16, stride=8)
    large = plan_blocks((3000, 3000, 3000), 64, halo=16, stride=8)
    # 96^3 * 20 + 64^3 * 4
    expected = 17_694_720 + 1_048_576
    for plan in (small, large):
        peak = projected_peak_bytes(plan, read_bytes_per_voxel=20, write_bytes_per_voxel=4)
        assert peak == expected


@pytest.mark.parametrize(
    ("shape", "halo", "stride", "limit", "expected"),
    [
        # A small volume is one block, rounded up to the stride.
        ((50, 96, 97), 32, 8, 10**7, (56, 128, 128)),
        # 192^3 is read for 128^3 written; 256 along one axis would pass the limit.
        ((1000, 1000, 1000), 32, 16, 192**3, (128, 128, 128)),
        # Thin volumes get wide blocks: halves of 512 read 288 each.
        ((14, 512, 512), 32, 8, 16 * 352 * 288, (16, 256, 256)),
        # One axis whole costs less than a cube: 288 * 288 * 512 are read for 256 * 256 * 512.
        ((512, 512, 512), 32, 8, 288 * 288 * 512, (256, 256, 512)),
        # Never less than one unit, whatever the limit.
        ((1000, 1000, 1000), 32, 8, 1, (64, 64, 64)),
        # A stride that does not divide the unit: 60 is the largest multiple of 12 below 64.
        ((500, 500, 500), 12, 12, 1, (60, 60, 60)),
    ],
)
def test_choose_block(shape, halo, stride, limit, expected) -> None:  # type: ignore[no-untyped-def]
    assert choose_block(shape, halo, stride, limit_voxels=limit) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((8, 8, 8), 12, 0, 8), r"multiple of the net's stride .* use \(16, 16, 16\)"),
        (((8, 0, 8), 8, 0, 1), "every edge must be >= 1"),
        (((8, 8, 8), 0, 0, 1), "must be at least 1 voxel"),
        (((8, 8, 8), 8, -1, 1), "halo .* at least 0"),
        (((8, 8), 8, 0, 1), "three"),
    ],
)
def test_plans_that_make_no_sense_are_refused(arguments, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match=message):
        plan_blocks(*arguments)
