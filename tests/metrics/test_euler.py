from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from skimage.measure import euler_number

from vpbsd.blockwise import plan_blocks
from vpbsd.errors import DataError
from vpbsd.metrics import euler_characteristic
from vpbsd.metrics.euler import euler_cells
from vpbsd.metrics.view import View, framed_core


def _ring() -> np.ndarray:
    mask = np.zeros((3, 7, 7), bool)
    mask[:] = True
    mask[:, 2:5, 2:5] = False
    return mask


def _shell() -> np.ndarray:
    mask = np.ones((5, 5, 5), bool)
    mask[2, 2, 2] = False
    return mask


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (np.zeros((3, 3, 3), bool), 0),
        (np.ones((1, 1, 1), bool), 1),  # 8 corners - 12 edges + 6 faces - 1 voxel
        (np.ones((3, 4, 5), bool), 1),
        (_ring(), 0),  # 1 piece - 1 loop
        (_shell(), 2),  # 1 piece + 1 cavity
        (np.concatenate([_ring(), np.zeros((1, 7, 7), bool), _ring()]), 0),
        (np.eye(3, dtype=bool)[None], 1),  # voxels that touch at edges are one piece
        (np.array([[[1, 0, 1, 0, 1]]], bool), 3),
    ],
)
def test_known_shapes(mask: np.ndarray, expected: int) -> None:
    assert euler_characteristic(mask) == expected


@given(arrays(bool, array_shapes(min_dims=3, max_dims=3, max_side=6)))
def test_scikit_image_agrees(mask: np.ndarray) -> None:
    # scikit-image 0.26 miscounts arrays one voxel thick unless they are framed.
    assert euler_characteristic(mask) == euler_number(np.pad(mask, 1), connectivity=3)


@given(arrays(bool, (7, 6, 5)), st.tuples(*3 * [st.integers(1, 7)]), st.integers(1, 2))
def test_blocks_add_up_to_the_whole(
    mask: np.ndarray, block: tuple[int, int, int], halo: int
) -> None:
    total = 0
    for one in plan_blocks(mask.shape, block, halo):
        part = mask[one.read.slices]
        for view in (
            View.of_block(one, part, part, mask.shape),
            View.of_block(one, part, part, mask.shape).tight(),
        ):
            count = euler_cells(framed_core(view.true, view.core, view.ends))
        total += count
        assert count == euler_cells(framed_core(view.true, view.core, view.ends))
    assert total == euler_number(np.pad(mask, 1), connectivity=3)


def test_what_is_no_mask() -> None:
    with pytest.raises(DataError, match="channel"):
        euler_characteristic(np.ones((3, 3), bool))
