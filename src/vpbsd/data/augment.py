"""Augmentation: parameters are drawn by one function and applied by another.

Geometry: rotation, anisotropic zoom and flips as one resampling, so that voxels are interpolated
once. Intensity: what another stain, exposure or detector would have done to the same vessels.
Every function is pure; a patch depends on its random generator alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from vpbsd.geometry import Box, Triplet

__all__ = ["Geometry", "augment_intensity", "draw_geometry", "resample", "source_box"]

_LARGEST = 8.0


@dataclass(frozen=True)
class Geometry:
    """Where a patch lies in its volume: ``source = matrix @ (index - middle) + centre``.

    Attributes
    ----------
    matrix
        (3, 3) in voxels, (z, y, x).
    centre
        (3,) voxel coordinates in the volume.
    shape
        Patch shape (z, y, x).
    """

    matrix: NDArray[np.float64]
    centre: NDArray[np.float64]
    shape: Triplet


def draw_geometry(rng: np.random.Generator, volume: Triplet, patch: Triplet) -> Geometry:
    """Draw a rotation in the plane, a slight tilt where the patch is thick, zoom and flips."""
    zoom = np.exp(rng.uniform(np.log(0.75), np.log(1.35))) * np.exp(rng.uniform(-0.12, 0.12, 3))
    angle = rng.uniform(-np.pi, np.pi)
    thick = min(patch[0], volume[0]) >= 32
    tilt = rng.uniform(-0.35, 0.35, 2) if thick else np.zeros(2)
    if not thick:
        zoom[0] = 1.0
    flips = rng.choice([-1.0, 1.0], 3)
    matrix = _rotation(0, angle) @ _rotation(1, tilt[0]) @ _rotation(2, tilt[1])
    matrix = matrix @ np.diag(zoom * flips)
    # A patch may touch the border of its volume, but its middle stays half a patch inside it.
    half = np.array(patch) / 2
    size = np.array(volume, dtype=float)
    low, high = np.minimum(half, size / 2), np.maximum(size - half, size / 2)
    return Geometry(matrix, rng.uniform(low, high) - 0.5, patch)


def source_box(geometry: Geometry, volume: Triplet) -> Box:
    """Return the voxels of the volume (z, y, x) that ``geometry`` interpolates between."""
    half = np.abs(geometry.matrix) @ ((np.array(geometry.shape) - 1) / 2)
    start = np.floor(geometry.centre - half).astype(int)
    stop = np.ceil(geometry.centre + half).astype(int) + 1
    return Box(_triplet(start), _triplet(stop)).clip(volume)


def resample(values: NDArray[np.float32], box: Box, geometry: Geometry) -> Tensor:
    """Interpolate ``values`` (c, z, y, x), read from ``box``, at the patch's voxels.

    Positions outside the box, hence outside the volume, mirror at its border.

    Returns
    -------
    Tensor
        (c, *geometry.shape) float32.
    """
    axes = [torch.arange(n, dtype=torch.float32) - (n - 1) / 2 for n in geometry.shape]
    index = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    offset = geometry.centre - np.array(box.start)
    matrix = torch.from_numpy(geometry.matrix.astype(np.float32))
    position = index @ matrix.T + torch.from_numpy(offset.astype(np.float32))
    size = torch.tensor(box.shape, dtype=torch.float32)
    # grid_sample wants (x, y, z) from -1 to 1 between the outer edges of the outermost voxels.
    grid = ((2 * position + 1) / size - 1).flip(-1)
    source = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
    return grid_sample(source[None], grid[None], padding_mode="reflection", align_corners=False)[0]


def augment_intensity(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Vary the look of normalised intensities (c, z, y, x).

    Intensities are ``asinh((x - centre) / spread)``: going back through ``sinh``, an error of the
    estimated centre and spread, a gain, noise and uneven illumination act where they act in a
    microscope.
    """
    linear = torch.sinh(image.clamp(-_LARGEST, _LARGEST))
    gain = float(np.exp(rng.uniform(np.log(0.35), np.log(2.5))))
    shift = float(rng.uniform(-0.7, 0.7))
    if rng.random() < 0.3:
        linear = linear * torch.exp(_smooth_field(image, rng, 0.4))
    if rng.random() < 0.3:
        linear = linear + _smooth_field(image, rng, 1.0)
    if rng.random() < 0.3:
        linear = _blurred(linear)
    if rng.random() < 0.4:
        noise = torch.from_numpy(rng.standard_normal(image.shape, dtype=np.float32))
        linear = linear + noise * float(rng.uniform(0.0, 0.8))
    return torch.asinh((linear + shift) * gain)


def _smooth_field(image: Tensor, rng: np.random.Generator, strength: float) -> Tensor:
    coarse = rng.normal(0.0, strength, (1, 1, 3, 3, 3)).astype(np.float32)
    shape = list(image.shape[1:])
    return interpolate(torch.from_numpy(coarse), shape, mode="trilinear", align_corners=True)[0]


def _blurred(image: Tensor) -> Tensor:
    kernel = torch.tensor([0.25, 0.5, 0.25])
    for axis in range(3):
        shape, pad = [1, 1, 1, 1, 1], [0] * 3
        shape[2 + axis], pad[axis] = 3, 1
        weight = kernel.view(shape)
        image = torch.nn.functional.conv3d(image[:, None], weight, padding=pad)[:, 0]
    return image


def _rotation(axis: int, angle: float) -> NDArray[np.float64]:
    a, b = (i for i in range(3) if i != axis)
    matrix = np.eye(3)
    matrix[a, a] = matrix[b, b] = np.cos(angle)
    matrix[a, b], matrix[b, a] = -np.sin(angle), np.sin(angle)
    return matrix


def _triplet(values: NDArray[np.int_]) -> Triplet:
    z, y, x = (int(v) for v in values)
    return (z, y, x)
