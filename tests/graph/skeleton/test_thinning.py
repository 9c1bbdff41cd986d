"""Thinning: topology, centring, ends, spurs, and no dependence on where the array begins."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from phantoms import FLAT, UNIT, betti, capsules, neighbours, polyline, skeleton_of, topology
from scipy import ndimage

from vpbsd.errors import DataError
from vpbsd.geometry import VoxelSize
from vpbsd.graph.skeleton.distance import distance_um
from vpbsd.graph.skeleton.simple_points import is_simple
from vpbsd.graph.skeleton.thinning import thin


def circle(count=48):
    turn = np.linspace(0, 2 * np.pi, count + 1)
    return np.stack([18 + 3 * np.sin(turn), 20 + 13 * np.sin(turn), 20 + 13 * np.cos(turn)], 1)


def helix():
    turn = np.linspace(0, 5 * np.pi, 120)
    return np.stack([6 + 2.6 * turn, 20 + 12 * np.sin(turn), 20 + 12 * np.cos(turn)], 1)


def simple_and_no_end(skeleton):
    """Simple voxels of a skeleton that have more than one neighbour: there may be none."""
    bits = 1 << np.arange(27)
    around = np.lib.stride_tricks.sliding_window_view(np.pad(skeleton, 1), (3, 3, 3))[skeleton]
    codes = around.reshape(-1, 27) @ bits
    return [c for c in codes.tolist() if is_simple(c) and (c & ~(1 << 13)).bit_count() > 1]


# ----------------------------------------------------------------------------------------- topology


@settings(max_examples=60)
@given(hnp.arrays(bool, (6, 6, 6), elements=st.booleans()))
def test_random_masks_keep_their_topology(mask):
    skeleton = skeleton_of(mask)
    assert not (skeleton & ~mask).any()
    assert betti(skeleton) == betti(mask) == topology(mask)
    assert simple_and_no_end(skeleton) == []


@pytest.mark.parametrize("voxel_size", [UNIT, FLAT, VoxelSize(1, 1, 3)], ids=str)
@pytest.mark.parametrize("seed", range(2))
def test_random_unions_of_tubes_keep_their_topology(voxel_size, seed):
    rng = np.random.default_rng(seed)
    shape = np.ceil(30 / np.array(voxel_size.zyx_um)).astype(int)
    lines = [(*rng.uniform(0, 30, (2, 3)), rng.uniform(1, 5)) for _ in range(12)]
    mask = capsules(shape, lines, voxel_size)
    skeleton = skeleton_of(mask, voxel_size)
    assert betti(skeleton) == betti(mask)
    assert skeleton.sum() < mask.sum() / 5
    assert simple_and_no_end(skeleton) == []


def test_a_hollow_ball_keeps_its_cavity():
    ball = capsules((21, 21, 21), [((10, 10, 10), (10, 10, 10), 8)])
    hollow = ball & ~capsules((21, 21, 21), [((10, 10, 10), (10, 10, 10), 3)])
    assert topology(skeleton_of(hollow)) == [1, 0, 1]


def test_a_ring_is_a_closed_line():
    skeleton = skeleton_of(capsules((40, 40, 40), polyline(circle(), 3)))
    assert topology(skeleton) == [1, 1, 0]
    assert set(neighbours(skeleton)) == {2}


def test_a_ladder_keeps_each_loop():
    rails = [((10, y, 4), (10, y, 70), 2.5) for y in (8, 28)]
    rungs = [((10, 8, x), (10, 28, x), 1.5) for x in (10, 25, 40, 55, 66)]
    skeleton = skeleton_of(capsules((20, 36, 75), rails + rungs))
    assert topology(skeleton) == [1, 4, 0]
    assert (neighbours(skeleton) == 1).sum() == 4


# ------------------------------------------------------------------------ ends, spurs, vessels lost


@pytest.mark.parametrize(
    "section", [(1, 1), (1, 2), (2, 2), (2, 3), (3, 3), (4, 4), (3, 6), (6, 6)]
)
@pytest.mark.parametrize("voxel_size", [UNIT, FLAT], ids=["cubes", "flat"])
def test_a_bar_of_any_width_becomes_one_line(section, voxel_size):
    bar = np.pad(np.ones((*section, 40), bool), 3)
    for axis in range(3):
        for origin in np.ndindex(2, 2, 2):
            skeleton = skeleton_of(np.moveaxis(bar, 2, axis), voxel_size, origin)
            assert topology(skeleton)[:2] == [1, 0]
            assert (neighbours(skeleton) == 1).sum() == 2
            assert np.ptp(np.argwhere(skeleton), axis=0).max() >= 39 - max(section) - 2


def test_a_line_of_single_voxels_stays_as_it_is():
    line = np.zeros((9, 9, 30), bool)
    line[4, 4, 3:27] = True
    assert (skeleton_of(line) == line).all()


@pytest.mark.parametrize("radius", [1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 12.0])
@pytest.mark.parametrize("way", [(0, 0, 1), (0, 1, 1), (1, 1, 1), (0.1, 0.4, 1), (0.7, -0.3, 0.5)])
def test_a_straight_tube_becomes_one_centred_line(radius, way):
    way = np.array(way) / np.linalg.norm(way)
    middle = np.array([30.3, 30.1, 29.8])
    start, stop = middle - 14 * way, middle + 14 * way
    skeleton = skeleton_of(capsules((60, 60, 60), [(start, stop, radius)]))
    at = np.argwhere(skeleton)
    assert (neighbours(skeleton) == 1).sum() == 2 and neighbours(skeleton).max() == 2
    along = (at - start) @ way
    off = np.linalg.norm(at - start - along[:, None] * way, axis=1)
    inside = (along > 0) & (along < 28)
    assert off[inside].max() <= 1.0
    assert abs(np.ptp(along) - 28) <= 4  # a diagonal voxel at each end


@pytest.mark.parametrize("axis", range(3))
def test_a_tube_in_thick_slices_is_centred_within_half_a_slice(axis):
    edges = np.ones(3)
    edges[axis] = 5
    voxel_size = VoxelSize.of(edges)
    way = np.array([0.5, 0.6, 0.62])
    start = np.array([18, 17, 16.0])
    shape = np.ceil(80 / edges).astype(int)
    mask = capsules(shape, [(start, start + 60 * way, 6)], voxel_size)
    skeleton = skeleton_of(mask, voxel_size)
    assert (neighbours(skeleton) == 1).sum() == 2
    at = np.argwhere(skeleton) * edges - start
    off = np.linalg.norm(at - np.outer(at @ way / (way @ way), way), axis=1)
    assert off.max() < 3.5 and off.mean() < 2


def test_a_rough_wall_leaves_no_spurs():
    rng = np.random.default_rng(0)
    ends = []
    for _ in range(6):
        way = rng.normal(size=3)
        way *= 20 / np.linalg.norm(way)
        rough = ndimage.gaussian_filter(rng.normal(size=(56, 56, 56)), 1.2)
        radius = 4 + 0.6 * rough / rough.std()
        mask = capsules((56, 56, 56), [(28 - way, 28 + way, radius)])
        pieces, _ = ndimage.label(mask, np.ones((3, 3, 3)))
        mask = pieces == np.bincount(pieces[mask]).argmax()
        if topology(mask)[:2] == [1, 0]:
            ends.append((neighbours(skeleton_of(mask)) == 1).sum())
    assert len(ends) >= 4 and set(ends) == {2}


def test_a_y_has_three_ends():
    arms = [((20, 20, 5), 3.0), ((8, 6, 52), 2.0), ((34, 33, 50), 2.5)]
    skeleton = skeleton_of(capsules((42, 42, 58), [((20, 20, 30), tip, r) for tip, r in arms]))
    ends = np.argwhere(skeleton)[neighbours(skeleton) == 1]
    assert len(ends) == 3 and topology(skeleton) == [1, 0, 0]
    for tip, _ in arms:
        assert np.linalg.norm(ends - tip, axis=1).min() < 2.5


def test_a_helix_keeps_its_length():
    curve = helix()
    skeleton = skeleton_of(capsules((54, 40, 40), polyline(curve, 2.5)))
    at = np.argwhere(skeleton)
    assert set(neighbours(skeleton)) <= {1, 2} and (neighbours(skeleton) == 1).sum() == 2
    to_curve = np.linalg.norm(at[:, None] - curve[None], axis=2)
    assert to_curve.min(axis=1).max() < 1.5
    assert np.ptp(to_curve.argmin(axis=1)) >= 114


@pytest.mark.parametrize("radius", [0.5, 1.5, 4, 9])
def test_a_ball_shrinks_to_its_middle(radius):
    at = np.argwhere(skeleton_of(capsules((25, 25, 25), [((12, 12, 12), (12, 12, 12), radius)])))
    assert 1 <= len(at) <= 3
    assert np.abs(at - 12).max() <= 1


def test_a_plate_is_no_surface_in_the_end():
    assert skeleton_of(np.pad(np.ones((2, 30, 30), bool), 3)).sum() <= 5


def test_a_vessel_cut_by_the_border_reaches_it():
    mask = capsules((24, 24, 30), [((12, 12, -20), (12, 12, 60), 5)])
    at = np.argwhere(skeleton_of(mask))
    assert (at[:, 2].min(), at[:, 2].max()) == (0, 29) and len(at) == 30


# ----------------------------------------------------------------------------------------- symmetry


def test_the_skeleton_moves_with_the_mask():
    rng = np.random.default_rng(1)
    lines = [(*rng.uniform(5, 25, (2, 3)), 2.5) for _ in range(5)]
    mask = capsules((32, 32, 32), lines)
    skeleton = skeleton_of(mask)
    for before in [(3, 1, 5), (1, 0, 0), (0, 2, 7)]:
        moved = np.pad(mask, [(n, 0) for n in before])
        expected = np.pad(skeleton, [(n, 0) for n in before])
        assert (skeleton_of(moved, origin=tuple(-n for n in before)) == expected).all()


def test_permuted_axes_give_the_same_branches():
    rng = np.random.default_rng(2)
    lines = [(*rng.uniform(4, 44, (2, 3)), rng.uniform(1.5, 4)) for _ in range(6)]
    mask = capsules((48, 48, 48), lines)
    skeleton = skeleton_of(mask)
    ends = (neighbours(skeleton) == 1).sum()
    for axes in [(1, 0, 2), (2, 1, 0), (1, 2, 0)]:
        other = skeleton_of(np.ascontiguousarray(mask.transpose(axes)))
        assert topology(other) == topology(skeleton)
        assert abs((neighbours(other) == 1).sum() - ends) <= 1
        assert abs(int(other.sum()) - int(skeleton.sum())) <= 2 * len(lines)


# -------------------------------------------------------------------------------------------- input


def test_an_empty_mask_and_an_array_without_background():
    assert not skeleton_of(np.zeros((4, 5, 6), bool)).any()
    assert skeleton_of(np.zeros((0, 5, 6), bool)).shape == (0, 5, 6)
    assert topology(skeleton_of(np.ones((4, 5, 6), bool))) == [1, 0, 0]


def test_leaves_its_input():
    distance = distance_um(capsules((9, 9, 20), [((4, 4, 4), (4, 4, 15), 2)]), UNIT)
    before = distance.copy()
    thin(distance, UNIT)
    assert (distance == before).all()


def test_refuses_what_is_no_distance_map():
    with pytest.raises(DataError, match="3D distance map of float32"):
        thin(np.zeros((3, 3, 3)), UNIT)
    with pytest.raises(DataError, match="not finite"):
        thin(np.full((3, 3, 3), np.inf, np.float32), UNIT)
