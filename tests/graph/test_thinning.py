"""Thinning: topology, centring, ends, spurs, and no dependence on where the array begins."""

import gudhi
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from vpbsd.errors import DataError
from vpbsd.geometry import VoxelSize
from vpbsd.graph.distance import distance_um
from vpbsd.graph.thinning import thin

UNIT = VoxelSize(1, 1, 1)
FLAT = VoxelSize(5, 1, 1)


def skeleton_of(mask, voxel_size=UNIT, origin=(0, 0, 0)):
    return thin(distance_um(mask, voxel_size), voxel_size, origin)


def betti(mask):
    """Pieces, loops and cavities of a mask with 26-connected foreground."""
    complex_ = gudhi.CubicalComplex(top_dimensional_cells=np.where(np.pad(mask, 1), 0.0, 1.0))
    complex_.compute_persistence()
    return complex_.persistent_betti_numbers(0.5, 0.5)[:3]


def capsules(shape, lines, voxel_size=UNIT):
    """Union of tubes with round ends: lines of (start_um, stop_um, radius_um)."""
    edges = np.array(voxel_size.zyx_um)
    at = np.moveaxis(np.indices(shape), 0, -1) * edges
    mask = np.zeros(shape, bool)
    for start, stop, radius in lines:
        start, way = np.array(start, float), np.subtract(stop, start, dtype=float)
        share = np.clip((at - start) @ way / max(way @ way, 1e-9), 0, 1)
        mask |= np.linalg.norm(at - start - share[..., None] * way, axis=-1) <= radius
    return mask


def neighbours(skeleton):
    """Of each skeleton voxel, how many of its 26 neighbours are skeleton."""
    count = ndimage.convolve(skeleton.astype(int), np.ones((3, 3, 3), int), mode="constant") - 1
    return count[skeleton]


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(bool, (6, 6, 6), elements=st.booleans()))
def test_random_masks_keep_their_topology(mask):
    skeleton = skeleton_of(mask)
    assert not (skeleton & ~mask).any()
    assert betti(skeleton) == betti(mask)


@pytest.mark.parametrize("origin", list(np.ndindex(2, 2, 2)))
def test_a_bar_of_even_width_keeps_its_length(origin):
    bar = np.pad(np.ones((2, 2, 30), bool), 3)
    skeleton = skeleton_of(bar, origin=origin)
    assert sorted(neighbours(skeleton)) == [1, 1] + [2] * 28


def test_a_line_of_single_voxels_stays_as_it_is():
    line = np.zeros((9, 9, 30), bool)
    line[4, 4, 3:27] = True
    assert (skeleton_of(line) == line).all()


def test_the_skeleton_moves_with_the_mask():
    rng = np.random.default_rng(1)
    lines = [(rng.uniform(5, 25, 3), rng.uniform(5, 25, 3), 2.5) for _ in range(5)]
    mask = capsules((32, 32, 32), lines)
    moved = np.pad(mask, ((3, 0), (1, 0), (5, 0)))
    expected = np.pad(skeleton_of(mask), ((3, 0), (1, 0), (5, 0)))
    assert (skeleton_of(moved, origin=(-3, -1, -5)) == expected).all()


def test_refuses_what_is_no_distance_map():
    with pytest.raises(DataError, match="3D distance map of float32"):
        thin(np.zeros((3, 3, 3)), UNIT)
    with pytest.raises(DataError, match="not finite"):
        thin(np.full((3, 3, 3), np.inf, np.float32), UNIT)
