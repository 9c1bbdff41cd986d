"""Distances to the background, and radii of digitised tubes of known radius."""

import numpy as np
import pytest
from phantoms import FLAT, UNIT, capsules
from scipy import ndimage

from vpbsd.errors import DataError
from vpbsd.geometry import VoxelSize
from vpbsd.graph.skeleton.distance import distance_um, radius_um
from vpbsd.graph.skeleton.thinning import thin


@pytest.mark.parametrize("voxel_size", [UNIT, FLAT, VoxelSize(0.7, 1.3, 2.9)], ids=str)
def test_agrees_with_scipy(voxel_size):
    mask = np.random.default_rng(0).random((9, 14, 17)) < 0.9
    expected = ndimage.distance_transform_edt(mask, sampling=voxel_size.zyx_um)
    found = distance_um(mask, voxel_size)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_what_lies_outside_is_no_background():
    mask = np.zeros((3, 3, 8), bool)
    mask[:, :, 3:] = True
    assert distance_um(mask, VoxelSize(1, 1, 2))[1, 1].tolist() == [0, 0, 0, 2, 4, 6, 8, 10]


def test_without_background_the_diagonal_is_the_limit():
    assert (distance_um(np.ones((1, 3, 4), bool), VoxelSize(12, 1, 1)) == 13).all()


def test_any_order_in_memory_gives_the_same():
    mask = np.random.default_rng(1).random((8, 9, 10)) < 0.8
    expected = distance_um(mask, FLAT)
    assert (distance_um(np.asfortranarray(mask), FLAT) == expected).all()
    assert (distance_um(mask[::-1], FLAT) == expected[::-1]).all()


@pytest.mark.parametrize("array", [np.zeros((4, 4), bool), np.zeros((4, 4, 4), np.uint8)])
def test_refuses_what_is_no_mask(array):
    with pytest.raises(DataError, match="distances need a 3D mask of bool"):
        distance_um(array, UNIT)


def measured_radius(radius, way, voxel_size, rng):
    """Mean radius along the middle of a tube, off the grid by a random part of a voxel."""
    edges = np.array(voxel_size.zyx_um)
    way = np.array(way, float) / np.linalg.norm(way)
    shape = np.ceil((np.abs(way) * 24 + 2 * radius + 8) / edges).astype(int) + 3
    start = (shape // 2 + rng.uniform(-0.5, 0.5, 3)) * edges - 12 * way
    distance = distance_um(
        capsules(shape, [(start, start + 24 * way, radius)], voxel_size), voxel_size
    )
    at = np.argwhere(thin(distance, voxel_size))
    along = (at * edges - start) @ way
    return radius_um(distance, at[(along > 3) & (along < 21)], voxel_size).mean()


@pytest.mark.parametrize("radius", [1, 1.5, 2, 3, 4, 6, 9, 12])
@pytest.mark.parametrize("edges", [(1, 1, 1), (5, 1, 1), (1, 2, 1)], ids=str)
def test_radii_of_tubes_are_unbiased(radius, edges):
    rng = np.random.default_rng(0)
    ways = [(0.1, 0.3, 1), (0.4, 1, 0.2), (1, 0.6, 0.5), (0.5, 0.6, -0.7), (0.9, -0.2, 0.3)]
    if max(edges) <= 2 * radius:  # else thin vessels fall between thick slices
        ways += [(0, 0, 1), (0, 1, 0)]
    found = [measured_radius(radius, way, VoxelSize.of(edges), rng) for way in ways]
    assert abs(np.mean(found) - radius) <= max(0.05 * radius, 0.5)
    assert np.abs(np.array(found) - radius).max() <= max(0.1 * radius, 1.0)


def test_radius_is_in_micrometres_and_of_the_place():
    lines = [((20, 20, 10), (20, 20, 40), 8), ((20, 20, 40), (20, 20, 90), 3)]
    small = capsules((41, 41, 96), lines)
    voxels = np.array([[20, 20, 20], [20, 20, 70]])
    one = radius_um(distance_um(small, UNIT), voxels, UNIT)
    half = VoxelSize(0.5, 0.5, 0.5)
    np.testing.assert_allclose(one, [8, 3], atol=0.5)
    np.testing.assert_allclose(radius_um(distance_um(small, half), voxels, half), one / 2)


def test_radius_at_the_border_and_of_no_voxels():
    distance = distance_um(capsules((9, 9, 20), [((4, 4, -9), (4, 4, 30), 3)]), FLAT)
    assert radius_um(distance, np.array([[4, 4, 0], [4, 4, 19]]), FLAT).min() > 2
    assert radius_um(distance, np.empty((0, 3), np.int64), FLAT).shape == (0,)
