"""Blocks with a halo, cropped to their core, give the skeleton of the whole volume."""

import numpy as np
import pytest
from phantoms import FLAT, UNIT, capsules, polyline, skeleton_of
from scipy import ndimage

from vpbsd.geometry import VoxelSize, tile
from vpbsd.graph.skeleton.thinning import halo_voxels


def network(shape, voxel_size, largest, rough):
    """Winding vessels of radii up to ``largest``, their walls rough by so many micrometres."""
    rng = np.random.default_rng(int(largest))
    extent = np.array(shape) * voxel_size.zyx_um
    lines = []
    for _ in range(14):
        way = rng.normal(size=3) + np.cumsum(rng.normal(size=(6, 3)) * 0.5, axis=0)
        steps = way / np.linalg.norm(way, axis=1)[:, None] * 10
        curve = rng.uniform(0, extent) + np.vstack([np.zeros(3), np.cumsum(steps, axis=0)])
        lines += polyline(curve, rng.uniform(1, largest))
    noise = ndimage.gaussian_filter(rng.normal(size=shape), 1.0)
    noise *= rough / noise.std()
    return capsules(shape, [(a, b, r + noise) for a, b, r in lines], voxel_size)


@pytest.mark.parametrize("rough", [0, 0.7])
@pytest.mark.parametrize(
    ("voxel_size", "shape", "block"),
    [(UNIT, (56, 60, 64), (23, 31, 37)), (FLAT, (18, 72, 75), (7, 33, 29))],
    ids=["cubes", "flat"],
)
def test_blocks_with_a_halo_agree_with_the_whole(voxel_size, shape, block, rough):
    mask = network(shape, voxel_size, 5, rough)
    whole = skeleton_of(mask, voxel_size)
    joined = np.zeros_like(whole)
    halo = halo_voxels(5 + 2 * rough, voxel_size)
    for core in tile(shape, block):
        read = core.grow(halo).clip(shape)
        part = skeleton_of(mask[read.slices], voxel_size, read.start)
        joined[core.slices] = part[core.relative_to(read).slices]
    assert whole.sum() > 250
    assert (joined == whole).all()


def test_the_halo_follows_the_radius_and_the_voxel_size():
    small, large = halo_voxels(2, UNIT), halo_voxels(20, UNIT)
    assert len(set(small)) == 1 and large[0] - small[0] == pytest.approx(36, abs=1)
    z, y, x = halo_voxels(20, VoxelSize(5, 1, 1))
    assert z < y == x == large[0]
