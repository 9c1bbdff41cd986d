from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vpbsd.data.simulate.capsules import Capsules, Grid, distance_to_capsules
from vpbsd.data.simulate.network import VesselNetwork
from vpbsd.data.simulate.raster import Raster, rasterise
from vpbsd.geometry import VoxelSize


def tube(*points: tuple[float, float, float], radius: float) -> VesselNetwork:
    return VesselNetwork.from_curves([points[0], points[-1]], [(0, 1)], [points], [radius])


def drawn(network: VesselNetwork, shape: tuple[int, int, int], *voxel: float) -> Raster:
    return rasterise(network, shape, VoxelSize.of(voxel))


def test_mask_of_a_tube_along_x_is_the_discs_of_its_radius() -> None:
    raster = drawn(tube((10, 10, -20), (10, 10, 60), radius=3.6), (21, 21, 40), 1, 1, 1)
    # Lattice points within 3.6 of a lattice point, counted by hand row by row: 3+5+7+7+7+5+3.
    disc = [3, 5, 7, 7, 7, 5, 3]
    for x in (0, 17, 39):
        assert raster.mask[7:14, :, x].sum(axis=1).tolist() == disc
        assert raster.mask[:, :, x].sum() == 37


def test_volume_of_a_straight_tube_is_pi_r_squared_l() -> None:
    raster = drawn(tube((20.3, 19.8, -20), (20.3, 19.8, 80), radius=8.0), (40, 40, 50), 1, 1, 1)
    assert raster.mask.sum() == pytest.approx(np.pi * 64 * 50, rel=0.03)
    assert raster.occupancy.sum() == pytest.approx(np.pi * 64 * 50, rel=0.01)


def test_volume_of_an_oblique_tube() -> None:
    # Along the diagonal of the xy plane a slab of 40 µm in x holds a length of 40·sqrt(2).
    raster = drawn(tube((15, -10.2, -30), (15, 109.8, 90), radius=6.0), (30, 90, 40), 1, 1, 1)
    assert raster.mask.sum() == pytest.approx(np.pi * 36 * 40 * np.sqrt(2), rel=0.03)


def test_volume_and_width_of_a_tube_in_thick_planes() -> None:
    raster = drawn(tube((40, 30, -20), (40, 30, 90), radius=11.0), (16, 60, 70), 5, 1, 1)
    assert raster.occupancy.sum() * 5 == pytest.approx(np.pi * 121 * 70, rel=0.02)
    assert raster.mask[8, :, 35].sum() == 21  # |y| < 11 of whole µm
    assert raster.mask[:, 30, 35].sum() == 5  # |z| < 11 of multiples of 5 µm


def test_a_tube_thinner_than_a_plane_fills_its_share_of_it() -> None:
    # A tube of radius 2 µm, area 4π, centred in a plane of 5 µm thickness.
    raster = drawn(tube((10, 20, -20), (10, 20, 60), radius=2.0), (5, 40, 40), 5, 1, 1)
    assert raster.occupancy[2].sum() * 5 == pytest.approx(4 * np.pi * 40, rel=0.05)
    assert raster.occupancy[[0, 1, 3, 4]].max() == 0
    assert raster.mask[2, :, 20].sum() == 3


def test_a_fork_is_the_union_of_its_arms() -> None:
    arms = [(0, 0, 20), (0, 17.32, -10), (0, -17.32, -10)]
    nodes = [(0.0, 0.0, 0.0), *arms]
    fork = VesselNetwork.from_curves(
        nodes, [(0, 1), (0, 2), (0, 3)], [[nodes[0], arm] for arm in arms], [4.0] * 3
    )
    raster = rasterise(fork, (30, 60, 60), VoxelSize(1, 1, 1), (-14.5, -29.5, -29.5))
    union = np.zeros((30, 60, 60), bool)
    z, y, x = np.meshgrid(
        np.arange(30) - 14.5, np.arange(60) - 29.5, np.arange(60) - 29.5, indexing="ij"
    )
    for _, ay, ax in arms:
        along = np.clip((y * ay + x * ax) / 400.0, 0, 1)
        union |= z**2 + (y - along * ay) ** 2 + (x - along * ax) ** 2 < 16
    np.testing.assert_array_equal(raster.mask > 0, union)


def test_distance_is_to_the_wall_and_negative_inside() -> None:
    raster = drawn(tube((8, 8, -9), (8, 8, 30), radius=4.0), (17, 17, 20), 1, 1, 1)
    assert raster.distance_um[8, 8:12, 5].tolist() == [-4, -3, -2, -1]
    assert raster.distance_um[8, 16, 5] == 0.75  # cut off
    assert raster.part[8, 8, 5] == 0
    assert raster.part[8, 16, 5] == -1


def test_origin_moves_the_camera() -> None:
    network = tube((8, 8, -9), (8, 8, 60), radius=3.3)
    here = rasterise(network, (17, 17, 20), VoxelSize(1, 1, 1))
    there = rasterise(network, (17, 10, 20), VoxelSize(1, 1, 1), (0, 3, 5))
    np.testing.assert_array_equal(there.mask, here.mask[:, 3:13])


def test_parts_point_at_the_vessel_they_are_of() -> None:
    ends = [(5, 5, 0), (5, 5, 30), (5, 25, 0), (5, 25, 30)]
    two = VesselNetwork.from_curves(ends, [(0, 1), (2, 3)], [ends[:2], ends[2:]], [2.0, 3.0])
    raster = drawn(two, (11, 31, 31), 1, 1, 1)
    assert raster.parts.vessel[raster.part[5, 5, 10]] == 0
    assert raster.parts.vessel[raster.part[5, 25, 10]] == 1
    assert raster.parts.radius_um.tolist() == [2, 3]


def test_nothing_drawn_is_an_empty_raster() -> None:
    raster = drawn(tube((100, 100, 100), (100, 100, 120), radius=3.0), (8, 8, 8), 1, 1, 1)
    assert raster.mask.max() == 0
    assert raster.occupancy.max() == 0
    assert raster.part.max() == -1


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    shape=st.tuples(*[st.integers(1, 13)] * 3),
    voxel=st.tuples(*[st.floats(0.5, 6.0)] * 3),
    count=st.integers(0, 6),
)
def test_distance_agrees_with_trying_every_capsule_at_every_voxel(
    seed: int, shape: tuple[int, int, int], voxel: tuple[float, float, float], count: int
) -> None:
    rng = np.random.default_rng(seed)
    a = rng.uniform(-10, 30, (count, 3))
    b = a + rng.normal(0, 8, (count, 3))
    radius = rng.uniform(0.2, 12, (2, count))
    grid = Grid(shape, voxel, (1.0, -2.0, 0.5))
    got, nearest = distance_to_capsules(grid, Capsules(a, b, *radius), 2.0)
    for index in itertools.islice(itertools.product(*map(range, shape)), 0, None, 7):
        p = np.array(index) * voxel + (1.0, -2.0, 0.5)
        best = 2.0
        for k in range(count):
            t = float(np.clip((p - a[k]) @ (b[k] - a[k]) / ((b[k] - a[k]) @ (b[k] - a[k])), 0, 1))
            to_axis = float(np.linalg.norm(p - a[k] - t * (b[k] - a[k])))
            best = min(best, to_axis - (1 - t) * radius[0, k] - t * radius[1, k])
        assert got[index] == pytest.approx(best, abs=2e-3)
        assert (nearest[index] >= 0) == (got[index] < 2.0)


def test_large_and_small_boxes_give_the_same_distances() -> None:
    # A long thin capsule is evaluated alone, its pieces together: the tube is the same.
    points = np.linspace((3.0, 4.0, 5.0), (27.0, 50.0, 47.0), 25)
    radius = np.full(24, 2.5)
    grid = Grid((30, 54, 52), (1.0, 1.0, 1.0))
    one = Capsules(points[:1], points[-1:], radius[:1], radius[:1])
    many = Capsules(points[:-1], points[1:], radius, radius)
    whole, _ = distance_to_capsules(grid, one, 1.0)
    pieces, _ = distance_to_capsules(grid, many, 1.0)
    np.testing.assert_allclose(whole, pieces, atol=1e-3)
