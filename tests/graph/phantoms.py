"""Masks of known shape, and what to count on their skeletons."""

from itertools import pairwise

import gudhi
import numpy as np
from scipy import ndimage
from skimage.measure import euler_number

from vpbsd.geometry import VoxelSize
from vpbsd.graph.skeleton.distance import distance_um
from vpbsd.graph.skeleton.thinning import thin

UNIT = VoxelSize(1, 1, 1)
FLAT = VoxelSize(5, 1, 1)


def skeleton_of(mask, voxel_size=UNIT, origin=(0, 0, 0)):
    return thin(distance_um(mask, voxel_size), voxel_size, origin)


def topology(mask):
    """Pieces, loops and cavities of a mask, from labels and its Euler number."""
    _, pieces = ndimage.label(mask, np.ones((3, 3, 3)))
    _, outside_and_cavities = ndimage.label(np.pad(~mask, 1, constant_values=True))
    cavities = outside_and_cavities - 1
    return [pieces, pieces + cavities - euler_number(mask, connectivity=3), cavities]


def betti(mask):
    """Pieces, loops and cavities by persistent homology: slow, for small masks."""
    complex_ = gudhi.CubicalComplex(top_dimensional_cells=np.where(np.pad(mask, 1), 0.0, 1.0))
    complex_.compute_persistence()
    return complex_.persistent_betti_numbers(0.5, 0.5)[:3]


def capsules(shape, lines, voxel_size=UNIT):
    """Union of tubes with round ends: lines of (start_um, stop_um, radius_um).

    A radius may also be an array of ``shape``: another one at each voxel.
    """
    edges = np.array(voxel_size.zyx_um)
    mask = np.zeros(shape, bool)
    for start, stop, radius in lines:
        ends = np.array([start, stop], float)
        low = np.floor((ends.min(axis=0) - np.max(radius)) / edges).clip(0).astype(int)
        high = np.ceil((ends.max(axis=0) + np.max(radius)) / edges).clip(0).astype(int) + 1
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        part = mask[box]
        at = (np.moveaxis(np.indices(part.shape), 0, -1) + low) * edges - ends[0]
        way = ends[1] - ends[0]
        share = np.clip(at @ way / max(way @ way, 1e-9), 0, 1)
        here = np.broadcast_to(radius, shape)[box]
        part |= np.linalg.norm(at - share[..., None] * way, axis=-1) <= here
    return mask


def neighbours(skeleton):
    """Of each skeleton voxel, how many of its 26 neighbours are skeleton."""
    count = ndimage.convolve(skeleton.astype(int), np.ones((3, 3, 3), int), mode="constant") - 1
    return count[skeleton]


def polyline(points, radius):
    """The pieces of a curve as lines of (start, stop, radius)."""
    return [(a, b, radius) for a, b in pairwise(points)]
