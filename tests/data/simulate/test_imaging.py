from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from vpbsd.data.simulate.distractors import draw_distractors
from vpbsd.data.simulate.fields import random_waves, smooth_field, spline_weights, wide_blur
from vpbsd.data.simulate.imaging import image
from vpbsd.data.simulate.microscope import Distractors, Microscope, sample_microscope
from vpbsd.data.simulate.network import VesselNetwork
from vpbsd.data.simulate.raster import Raster, rasterise
from vpbsd.geometry import VoxelSize

UNIT = VoxelSize(1, 1, 1)
# No noise, blur or unevenness: what is left can be computed by hand.
PLAIN = Microscope(
    psf_z_um=0.05,
    psf_yx_um=0.05,
    contrast=1.0,
    size_exponent=0.0,
    vessel_spread=0.0,
    fading=0.0,
    haze=0.0,
    glow=0.0,
    snr=2000.0,
    read_noise=0.0,
    white=0.5,
    bits=16,
)


def two_tubes() -> Raster:
    """A thick tube (radius 5.3 at y = 10) and a thin one (2.3 at y = 30) along x."""
    ends = [(10, 10, -9), (10, 10, 50), (10, 30, -9), (10, 30, 50)]
    network = VesselNetwork.from_curves(ends, [(0, 1), (2, 3)], [ends[:2], ends[2:]], [5.3, 2.3])
    return rasterise(network, (21, 41, 40), UNIT)


def taken(microscope: Microscope, seed: int = 0) -> NDArray[np.float64]:
    return image(two_tubes(), microscope, UNIT, np.random.default_rng(seed)).astype(float)


def test_contrast_is_the_brightness_over_background() -> None:
    counts = taken(PLAIN)
    background = np.median(counts[:, 20, :])
    assert counts[10, 10, 20] / background == pytest.approx(2.0, rel=0.02)
    assert counts[10, 30, 20] / background == pytest.approx(2.0, rel=0.02)


def test_contrast_holds_after_blur() -> None:
    counts = taken(replace(PLAIN, psf_z_um=1.5, psf_yx_um=1.5))
    background = np.median(counts[:, 20, :])
    assert counts[10, 30, 20] / background == pytest.approx(2.0, rel=0.12)


@pytest.mark.parametrize(("brightest", "ratio"), [(40.0, 5.31), (0.3, 1.64)])
def test_trunks_outshine_thin_vessels_within_limits(brightest: float, ratio: float) -> None:
    scope = replace(PLAIN, contrast=0.5, size_exponent=2.0, brightest=brightest, dimmest=0.05)
    counts = taken(scope)
    background = np.median(counts[:, 20, :])
    thick, thin = counts[10, 10, 20] / background - 1, counts[10, 30, 20] / background - 1
    # By the square of the radii, (5.3 / 2.3)² = 5.31 times apart. Around their middle, 3.8, the
    # thin one has 0.5 (2.3 / 3.8)² = 0.183; the thick one, cut at 0.3, has 1.64 times that.
    assert thick / thin == pytest.approx(ratio, rel=0.03)


def test_dye_share_leaves_the_truth_generous() -> None:
    whole, narrow = taken(PLAIN), taken(replace(PLAIN, dye_share=0.7))
    level = 1.5 * np.median(whole[:, 20, :])
    inside = two_tubes().mask > 0
    assert np.array_equal(whole > level, inside)
    bright = narrow > level
    assert not (bright & ~inside).any()
    assert 0.4 < bright.sum() / inside.sum() < 0.8


def test_a_stained_wall_leaves_the_lumen_darker() -> None:
    counts = taken(replace(PLAIN, hollow=0.8, wall_um=1.5))
    assert counts[10, 10, 20] < 0.7 * counts[10, 6, 20]


def test_depth_loss_dims_the_last_planes() -> None:
    ends = [(-9, 10, 10), (50, 10, 10)]
    upright = rasterise(
        VesselNetwork.from_curves(ends, [(0, 1)], [ends], [4.0]), (41, 21, 21), UNIT
    )
    counts = image(upright, replace(PLAIN, depth_loss=np.log(4.0)), UNIT, np.random.default_rng(0))
    signal = counts[:, 10, 10] / np.median(counts[:, 1, 1]) - 1.0
    assert signal[0] / signal[-1] == pytest.approx(4.0, rel=0.05)


@pytest.mark.parametrize("snr", [4.0, 16.0])
def test_snr_is_contrast_by_background_noise(snr: float) -> None:
    counts = taken(replace(PLAIN, snr=snr))
    background = counts[:, 18:22]
    signal = counts[10, 8:13].mean() - background.mean()
    assert signal / background.std() == pytest.approx(snr, rel=0.1)


def test_glow_spreads_light_around_vessels() -> None:
    lit = taken(replace(PLAIN, glow=1.0, glow_um=8.0))
    near, far = lit[10, 18, 20], lit[0, 40, 20]
    assert near > 1.05 * far
    dark = taken(PLAIN)
    assert dark[10, 18, 20] == pytest.approx(dark[0, 40, 20], rel=0.01)


def test_stripes_run_in_lines() -> None:
    counts = taken(replace(PLAIN, stripes=0.2, stripe_um=3.0))[:, 19:23]
    assert counts.std() / counts.mean() > 0.05
    assert taken(PLAIN)[:, 19:23].std() / taken(PLAIN)[:, 19:23].mean() < 0.005


@pytest.mark.parametrize(("bits", "dtype"), [(8, np.uint8), (16, np.uint16)])
def test_range_is_used_to_the_white_share(bits: int, dtype: type) -> None:
    counts = image(
        two_tubes(), replace(PLAIN, bits=bits, white=0.5), UNIT, np.random.default_rng(0)
    )
    assert counts.dtype == dtype
    assert counts.shape == (21, 41, 40)
    assert counts.max() == pytest.approx(0.5 * (2**bits - 1), rel=0.05)


@pytest.mark.parametrize("voxel", [(2.0, 2.0, 2.0), (5.0, 1.0, 1.0)])
def test_every_sampled_microscope_takes_a_usable_image(voxel: tuple[float, float, float]) -> None:
    size = VoxelSize.of(voxel)
    ends = [(10, 20, -90), (10, 20, 90)]
    raster = rasterise(VesselNetwork.from_curves(ends, [(0, 1)], [ends], [6.0]), (10, 24, 24), size)
    kinds = set()
    for seed in range(40):
        rng = np.random.default_rng(seed)
        microscope = sample_microscope(rng, size)
        counts = image(raster, microscope, size, rng)
        assert counts.dtype == (np.uint8 if microscope.bits == 8 else np.uint16)
        assert counts.min() < counts.max()
        kinds.add(microscope.instrument)
    assert kinds == {"light_sheet", "two_photon", "micro_ct"}


def test_an_empty_field_is_background_alone() -> None:
    ends = [(99, 99, 99), (99, 99, 120)]
    nothing = rasterise(VesselNetwork.from_curves(ends, [(0, 1)], [ends], [3.0]), (8, 8, 8), UNIT)
    counts = image(nothing, PLAIN, UNIT, np.random.default_rng(0))
    assert counts.std() / counts.mean() < 0.005


def test_distractors_are_as_many_as_asked_for_and_of_the_right_size() -> None:
    asked = Distractors(cells=400, cell_radius_um=5.0, brightness=0.5)
    light = draw_distractors((60, 60, 60), UNIT, asked, 2.0, np.random.default_rng(0))
    # 400 per million voxels are 86 here, of 524 voxels and half a voxel of rim: 60 000 in all.
    assert 45_000 < (light > 0).sum() < 80_000
    assert 0.6 < np.median(light[light > 0.5]) < 1.6  # half the contrast of 2


def test_without_distractors_there_is_no_light() -> None:
    light = draw_distractors((8, 8, 8), UNIT, Distractors(), 2.0, np.random.default_rng(0))
    assert light.max() == 0


def test_fibres_and_puncta_are_thin() -> None:
    light = draw_distractors(
        (50, 50, 50), UNIT, Distractors(puncta=200, fibres=40), 1.0, np.random.default_rng(1)
    )
    share = (light > 0).mean()
    assert 0.001 < share < 0.05


def test_smooth_field_has_unit_spread_and_its_scale() -> None:
    field = smooth_field((40, 40, 40), (1.0, 1.0, 1.0), 5.0, np.random.default_rng(0))
    assert field.std() == pytest.approx(1.0, abs=0.15)
    assert abs(field.mean()) < 0.15
    near = np.corrcoef(field[:-1].ravel(), field[1:].ravel())[0, 1]
    far = np.corrcoef(field[:-15].ravel(), field[15:].ravel())[0, 1]
    assert near > 0.95
    assert abs(far) < 0.2


def test_spline_weights_add_to_one() -> None:
    for size, step in ((1, 2.0), (17, 3.7), (40, 100.0)):
        assert spline_weights(size, step).sum(axis=1) == pytest.approx(np.ones(size), abs=1e-5)


def test_wide_blur_keeps_a_constant_and_spreads_a_point() -> None:
    flat = np.full((12, 20, 16), 3.0, np.float32)
    np.testing.assert_allclose(wide_blur(flat, (1, 1, 1), 4.0), 3.0, rtol=1e-4)
    point = np.zeros((31, 31, 31), np.float32)
    point[15, 15, 15] = 1.0
    spread = wide_blur(point, (1, 1, 1), 4.0)
    assert spread[15, 15, 15] < 0.05
    assert spread[15, 15, 18] > 0.2 * spread[15, 15, 15]
    assert spread[15, 15, 30] < 1e-4


def test_random_waves_are_continuous_and_normal_sized() -> None:
    line = np.stack([np.zeros(400), np.zeros(400), np.arange(400.0)], axis=1)
    value = random_waves(line, 50.0, np.random.default_rng(0))
    assert np.abs(np.diff(value)).max() < 0.4
    assert 0.3 < value.std() < 1.6
