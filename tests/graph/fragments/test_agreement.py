"""Neighbouring blocks agree on the voxels between them, or are named."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

from vpbsd.blockwise import plan_blocks
from vpbsd.graph.fragments.agreement import disagreeing, with_halo

from ..skeletons import fragments_of

# A line along each axis through the corner where eight blocks of 3 x 3 x 3 meet.
CROSSING = np.zeros((6, 6, 6), bool)
CROSSING[3, 3, :] = CROSSING[3, :, 3] = CROSSING[:, 3, 3] = True
PLAN = plan_blocks(CROSSING.shape, 3)


def test_blocks_of_one_skeleton_agree() -> None:
    fragments = fragments_of(CROSSING, 3)
    assert disagreeing(PLAN, range(8), fragments.__getitem__) == []


def test_a_block_that_misses_a_voxel_of_its_neighbour_is_named_with_it() -> None:
    fragments = fragments_of(CROSSING, 3)
    # Block 7 holds the crossing (3, 3, 3), seven blocks have it in their rim; block 6, beside it
    # along x, no longer sees it there.
    crossing, rim = (3 * 6 + 3) * 6 + 3, fragments[6].rim
    assert crossing in rim
    fragments[6] = replace(fragments[6], rim=rim[rim != crossing])
    assert disagreeing(PLAN, range(8), fragments.__getitem__) == [(6, 7)]


def test_a_block_that_sees_what_its_neighbours_do_not_have_is_named_with_them() -> None:
    fragments = fragments_of(CROSSING, 3)
    ghost = np.array([(2 * 6 + 2) * 6 + 2])  # at the corner, so that it touches all blocks
    fragments[0] = replace(fragments[0], skin=ghost)
    assert disagreeing(PLAN, range(8), fragments.__getitem__) == [(0, n) for n in range(1, 8)]


def test_a_block_without_fragment_is_one_without_skeleton() -> None:
    skeleton = np.zeros((1, 1, 9), bool)
    skeleton[0, 0, 0:2] = True
    plan = plan_blocks(skeleton.shape, (1, 1, 3))
    fragments = fragments_of(skeleton, (1, 1, 3))
    assert disagreeing(plan, [0], fragments.__getitem__) == []
    # Nothing of it is near the next block; now this one claims to see a voxel there.
    fragments[0] = replace(fragments[0], rim=np.array([3]))
    assert disagreeing(plan, [0], fragments.__getitem__) == [(0, 1)]


def test_each_fragment_is_read_once() -> None:
    fragments, read = fragments_of(CROSSING, 2), []

    def reading(index: int):
        read.append(index)
        return fragments[index]

    plan = plan_blocks(CROSSING.shape, 2)
    assert disagreeing(plan, range(27), reading) == []
    assert sorted(read) == list(range(27))


def test_chosen_blocks_keep_their_index_and_get_another_halo() -> None:
    chosen = with_halo(PLAN, (1, 2, 0), [7, 2])
    assert len(chosen) == 2
    assert [block.index for block in chosen] == [2, 7]
    assert chosen[1].write == PLAN[7].write
    assert chosen[1].read.start == (2, 1, 3)
    assert [block.index for block in chosen[:1]] == [2]
    with pytest.raises(IndexError):
        chosen[2]
    # Workers get it by pickle.
    assert pickle.loads(pickle.dumps(chosen)) == chosen
