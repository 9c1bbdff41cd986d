"""Take the image of a raster: dye, blur, background, illumination, noise, detector."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from vpbsd.data.simulate.distractors import draw_distractors
from vpbsd.data.simulate.fields import random_waves, smooth_field, wide_blur
from vpbsd.data.simulate.microscope import Microscope
from vpbsd.data.simulate.raster import Raster, occupancy
from vpbsd.geometry import VoxelSize

__all__ = ["image", "light"]

Floats = NDArray[np.float32]

_REACH = 3.0  # deviations at which Gaussian kernels are cut


def image(
    raster: Raster,
    microscope: Microscope,
    voxel_size: VoxelSize,
    rng: np.random.Generator,
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Return what the instrument records of the vessels, (z, y, x), uint8 or uint16.

    The detector counts photons of the :func:`light`, with noise, and rounds to its range.
    """
    return _detect(light(raster, microscope, voxel_size, rng), microscope, rng)


def light(
    raster: Raster,
    microscope: Microscope,
    voxel_size: VoxelSize,
    rng: np.random.Generator,
) -> Floats:
    """Return the light that reaches the detector, (z, y, x), float32.

    In units of the empty tissue's brightness, with ``P`` the point spread function,

        light = illumination · (background + attenuation · (P * dye + glow))
    """
    pixel = float(np.sqrt(voxel_size.y_um * voxel_size.x_um))
    bright: Floats = _dye(raster, microscope, pixel, rng)
    bright += draw_distractors(
        bright.shape, voxel_size, microscope.distractors, microscope.contrast, rng
    )
    if microscope.texture > 0:
        speckle = rng.standard_normal(bright.shape, dtype=np.float32)
        bright *= np.maximum(1.0 + np.float32(2 * microscope.texture) * speckle, 0.0)
    yx = microscope.psf_yx_um / pixel
    bright = gaussian_filter(
        bright, (microscope.psf_z_um / voxel_size.z_um, yx, yx), truncate=_REACH, mode="nearest"
    )
    if microscope.glow > 0:
        bright += wide_blur(bright, voxel_size.zyx_um, microscope.glow_um) * np.float32(
            microscope.glow
        )
    depth = np.linspace(-0.5, 0.5, len(bright), dtype=np.float32)
    bright *= np.exp(-microscope.depth_loss * depth)[:, None, None]
    bright += _background(bright.shape, microscope, voxel_size, rng)
    _illuminate(bright, microscope, voxel_size, rng)
    return bright


def _dye(raster: Raster, scope: Microscope, pixel_um: float, rng: np.random.Generator) -> Floats:
    """Return dye brightness before blur, such that vessels have their contrast after it."""
    parts = raster.parts
    if len(parts.radius_um) == 0:
        return np.zeros(raster.mask.shape, np.float32)
    seen = np.bincount(raster.part.ravel() + 1, minlength=len(parts.radius_um) + 1)[1:]
    radius = np.maximum(parts.radius_um, 1e-3)
    median = float(np.median(radius[seen > 0])) if (seen > 0).any() else float(np.median(radius))
    vessel = rng.normal(0.0, scope.vessel_spread, int(parts.vessel.max()) + 1)[parts.vessel]
    # Brightness varies slowly against the width, or thick vessels would show bands.
    calm = np.minimum(1.0, (scope.fading_um / (6 * radius)) ** 2)
    along = scope.fading * calm * random_waves(parts.position_um, scope.fading_um, rng)
    level = scope.contrast * np.exp(vessel + along) * (radius / median) ** scope.size_exponent
    level = np.clip(level, scope.dimmest, max(scope.brightest, scope.dimmest))
    if scope.gaps > 0:
        waves = random_waves(parts.position_um, 0.4 * scope.fading_um, rng)
        dark = (waves > np.quantile(waves, 1 - scope.gaps)) & (radius < 2 * median)
        level = np.where(dark, 0.15 * level, level)
    # A Gaussian of deviation s keeps 1 - exp(-r²/2s²) of the middle of a cylinder of radius r.
    width = np.minimum((1 - scope.dye_share) * radius, 1.2 * pixel_um)
    blur2 = scope.psf_z_um * scope.psf_yx_um
    kept = 1 - np.exp(-((radius - width) ** 2) / (2 * blur2))
    gain = np.append(level / np.maximum(kept, 0.15), 0.0).astype(np.float32)
    share = raster.occupancy
    if scope.dye_share < 1 or scope.hollow > 0:
        inset = np.append(width, 0.0).astype(np.float32)[raster.part]
        share = np.minimum(share, occupancy(raster.distance_um + inset, pixel_um))
        if scope.hollow > 0:
            core = occupancy(raster.distance_um + inset + np.float32(scope.wall_um), pixel_um)
            share = share - np.float32(scope.hollow) * core
    dye: Floats = share * gain[raster.part]
    return dye


def _background(
    shape: tuple[int, ...], scope: Microscope, voxel_size: VoxelSize, rng: np.random.Generator
) -> Floats:
    tissue = smooth_field(shape, voxel_size.zyx_um, scope.haze_um, rng) * np.float32(scope.haze)
    if scope.mottle > 0:
        fine = smooth_field(shape, voxel_size.zyx_um, scope.haze_um / 10, rng)
        tissue += fine * np.float32(scope.mottle)
    tissue += np.float32(1.0)
    np.maximum(tissue, 0.2, out=tissue)
    if scope.edge < 1:
        depth = _distance_to_plane(shape, voxel_size, rng)
        inside = 0.5 + 0.5 * np.tanh(depth / np.float32(2.5 * voxel_size.y_um))
        tissue *= np.float32(scope.edge) + np.float32(1 - scope.edge) * inside
        rim = np.float32(rng.uniform(0, 0.5))
        tissue += rim * np.exp(-((depth / np.float32(3 * voxel_size.y_um)) ** 2))
    return tissue


def _distance_to_plane(
    shape: tuple[int, ...], voxel_size: VoxelSize, rng: np.random.Generator
) -> Floats:
    """Return the distance (µm) into the tissue from a random, nearly upright plane."""
    normal = rng.normal(size=3) * (0.3, 1.0, 1.0)
    normal /= np.linalg.norm(normal)
    half = [n * v / 2 for n, v in zip(shape, voxel_size.zyx_um, strict=True)]
    z, y, x = (
        ((np.arange(n) * v - h) * c).astype(np.float32)
        for n, v, h, c in zip(shape, voxel_size.zyx_um, half, normal, strict=True)
    )
    shift = np.float32(rng.uniform(0.1, 0.9) * half[1])
    distance: Floats = z[:, None, None] + y[:, None] + x + shift
    return distance


def _illuminate(
    light: Floats, scope: Microscope, voxel_size: VoxelSize, rng: np.random.Generator
) -> None:
    if scope.illumination > 0:
        wide = 1.5 * max(n * v for n, v in zip(light.shape[1:], voxel_size.zyx_um[1:], strict=True))
        field = smooth_field(light.shape, voxel_size.zyx_um, wide, rng)
        light *= np.exp(np.float32(scope.illumination) * field)
    if scope.tile_step > 0:
        axis = int(rng.integers(0, 3))
        seam = int(rng.integers(1, max(2, light.shape[axis])))
        step = np.ones(light.shape[axis], np.float32)
        step[seam:] += np.float32(rng.normal(0, scope.tile_step))
        light *= np.maximum(step, 0.3).reshape([-1 if a == axis else 1 for a in range(3)])
    if scope.stripes > 0:
        light *= _stripes(light.shape, scope, voxel_size, rng)


def _stripes(
    shape: tuple[int, ...], scope: Microscope, voxel_size: VoxelSize, rng: np.random.Generator
) -> Floats:
    """Return factors that vary across parallel lines, or rings, in each plane."""
    y = (np.arange(shape[1]) * voxel_size.y_um)[:, None]
    x = (np.arange(shape[2]) * voxel_size.x_um)[None]
    field = np.array([shape[1] * voxel_size.y_um, shape[2] * voxel_size.x_um])
    if scope.rings:
        centre = rng.uniform(-0.5, 1.5, 2) * field
        across = np.hypot(y - centre[0], x - centre[1])
    else:
        angle = rng.choice((0.0, np.pi / 2)) + rng.normal(0, 0.05)
        across = y * np.cos(angle) + x * np.sin(angle)
    index = (across - across.min()) / scope.stripe_um
    count = int(index.max()) + 2
    lines = rng.standard_normal((shape[0], count)).astype(np.float32)
    lines = 0.6 * lines + 0.8 * lines.mean(axis=0) * np.sqrt(shape[0])
    low = index.astype(np.int64)
    part = (index - low).astype(np.float32)
    pattern = lines[:, low] * (1 - part) + lines[:, low + 1] * part
    factor: Floats = np.maximum(1 + np.float32(scope.stripes) * pattern, np.float32(0.3))
    return factor


def _detect(
    light: Floats, scope: Microscope, rng: np.random.Generator
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Count photons, add noise, smooth, and round to the detector's range."""
    noise = rng.standard_normal(light.shape, dtype=np.float32)
    if scope.streaks > 0:
        noise = gaussian_filter1d(noise, scope.streaks, axis=2, truncate=_REACH)
        noise /= noise[:1].std()
    photons = (scope.snr / scope.contrast) ** 2
    # Adding normal noise to 2·sqrt(counts) gives counts a Poisson-like spread and skew.
    root = np.sqrt(np.maximum(light, 0.0) * np.float32(photons))
    root += np.float32(0.5 * np.sqrt(max(1 - scope.read_noise**2, 0.05))) * noise
    np.maximum(root, 0.0, out=root)
    counts = root * root
    if scope.read_noise > 0:
        flat = np.float32(scope.read_noise * np.sqrt(photons))
        # The same draw, moved by a plane and a line, is as good as a second one.
        counts += flat * np.roll(noise, (1, 7, 13), axis=(0, 1, 2))
    if scope.denoise > 0:
        counts = gaussian_filter(counts, scope.denoise, truncate=2.0, mode="nearest")
    counts *= np.float32(1 / photons)
    counts -= np.float32(scope.black)
    np.maximum(counts, 0.0, out=counts)
    top = max(float(np.quantile(counts[::2, ::3, ::3], 0.997)), 1e-6)
    counts *= np.float32(1 / top)
    if scope.gamma != 1:
        np.power(counts, np.float32(scope.gamma), out=counts)
    limit = 255 if scope.bits == 8 else 65535
    counts *= np.float32(scope.white * limit)
    np.rint(counts, out=counts)
    np.clip(counts, 0, limit, out=counts)
    return counts.astype(np.uint8) if scope.bits == 8 else counts.astype(np.uint16)
