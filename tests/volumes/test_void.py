from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from vpbsd.config import SimulateConfig
from vpbsd.data.simulate import BrainVolume, SimulatedVolumes
from vpbsd.geometry import Box
from vpbsd.volumes import ArrayVolume, IntensityScale, estimate_intensity, open_volume
from vpbsd.volumes.void import find_tissue

EDGE = 96
# Tissue fills the volume from here on: the surface lies 4 voxels below the upper faces of parts.
SURFACE = 52


def tissue(seed: int = 0, vessel: float = 4000.0) -> np.ndarray:
    """Float (z, y, x): background 1000 ± 100, every 12th line along x a vessel of 4 voxels."""
    array = np.random.default_rng(seed).normal(1000, 100, (EDGE, EDGE, EDGE))
    for z in range(5, EDGE, 12):
        for y in range(5, EDGE, 12):
            array[z : z + 2, y : y + 2] += vessel
    return array


def with_void(array: np.ndarray, level: float = 300.0, noise: float = 20.0) -> np.ndarray:
    """Replace all above the surface by void."""
    array = array.copy()
    array[:SURFACE] = np.random.default_rng(1).normal(level, noise, (SURFACE, EDGE, EDGE))
    return array


def estimate(array: np.ndarray, dtype: str = "uint16", invert: bool = False) -> IntensityScale:
    return estimate_intensity(ArrayVolume(array.round().astype(dtype)), invert=invert)


@pytest.mark.parametrize("dtype", ["uint16", "int32", "float32"])
def test_half_void_has_the_scale_of_the_tissue(dtype: str) -> None:
    scale = estimate(with_void(tissue()), dtype)
    # Of noise whose tenth percentile lies 1.28 deviations below its median.
    assert scale.centre[0] == pytest.approx(1003, abs=5)
    assert scale.spread[0] == pytest.approx(130, abs=5)


def test_dark_vessels_lie_in_the_tissue_too() -> None:
    scale = estimate(with_void(tissue(vessel=-600.0)), invert=True)
    assert scale.centre[0] == pytest.approx(997, abs=5)
    assert scale.spread[0] == pytest.approx(130, abs=5)
    assert scale.invert


def test_void_may_lie_below_zero() -> None:
    scale = estimate(with_void(tissue() - 1000, level=-1000), "int16")
    assert scale.centre[0] == pytest.approx(3, abs=5)
    assert scale.spread[0] == pytest.approx(130, abs=5)


@pytest.mark.parametrize("noise", [0.0, 0.4])
def test_void_may_be_without_noise(noise: float) -> None:
    assert estimate(with_void(tissue(), noise=noise)).centre[0] == pytest.approx(1003, abs=5)


def test_padding_void_and_tissue_may_lie_in_one_volume() -> None:
    array = with_void(tissue())
    array[:16] = 0
    found = find_tissue([array.round().astype(np.uint16)])
    assert found is not None
    # Parts with a quarter of void are not used: what counts as tissue begins with the next.
    assert found.values.size == (EDGE - 64) * EDGE * EDGE
    assert found.void_share == pytest.approx(SURFACE / EDGE, abs=0.01)
    assert estimate(array).centre[0] == pytest.approx(1003, abs=5)


def test_each_channel_has_its_own_void() -> None:
    whole = tissue()
    both = np.stack([with_void(whole), whole]).astype(np.uint16)
    scale = estimate_intensity(ArrayVolume(both))
    assert scale.centre == pytest.approx((1003, 1003), abs=5)
    alone = estimate_intensity(ArrayVolume(both[1:]))
    assert (scale.centre[1], scale.spread[1]) == (alone.centre[0], alone.spread[0])


def test_the_log_says_how_much_is_void(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "vpbsd"):
        estimate(tissue())
        assert not caplog.messages
        estimate(with_void(tissue()))
    assert caplog.messages == [
        "54 % of channel 0 of 'array' seems to be void; its intensities are scaled by those of "
        "the tissue"
    ]


def keeps_everything(array: np.ndarray, invert: bool = False) -> bool:
    return find_tissue([array.round().astype(np.uint16)], invert=invert) is None


def test_large_bright_vessels_are_not_taken_for_tissue() -> None:
    # Two thirds of the volume lie in trunks, far brighter than the tissue with its capillaries.
    array = tissue()
    rng = np.random.default_rng(2)
    array[:, :60] = rng.normal(12000, 400, (EDGE, 60, EDGE))
    assert keeps_everything(array)
    # Nor are they without capillaries beside them.
    array[:, 60:] = rng.normal(1000, 100, (EDGE, EDGE - 60, EDGE))
    assert keeps_everything(array)


def test_a_little_tissue_is_not_enough() -> None:
    array = with_void(tissue())
    array[SURFACE : EDGE - 16] = array[: EDGE - 16 - SURFACE]
    assert keeps_everything(array)


def test_uneven_tissue_is_not_divided() -> None:
    # Light that is lost with depth, until nothing but the camera's noise is left.
    lost = np.geomspace(3, 0.02, EDGE)[:, None, None]
    camera = np.random.default_rng(4).normal(100, 5, (EDGE, EDGE, EDGE))
    assert keeps_everything(camera + lost * tissue())


def test_overlapping_classes_are_not_divided() -> None:
    assert keeps_everything(with_void(tissue(), level=800, noise=100))


def test_vessels_that_fill_no_part_are_not_taken_for_tissue() -> None:
    # Bright sheets of 12 voxels in every second part: all of these hold some background.
    array = np.random.default_rng(3).normal(300, 20, (EDGE, EDGE, EDGE))
    for z in range(2, EDGE, 32):
        array[z : z + 12] = tissue()[z : z + 12]
    assert keeps_everything(array)


def test_small_and_constant_volumes_are_left_alone() -> None:
    assert keeps_everything(with_void(tissue())[SURFACE - 32 : SURFACE + 16, :48, :48])
    assert keeps_everything(np.full((64, 64, 64), 7.0))
    two_values = np.repeat([100.0, 200.0], [40, 56])[:, None, None]
    assert keeps_everything(np.broadcast_to(two_values, (EDGE, EDGE, EDGE)))


def test_a_brain_has_the_scale_of_its_tissue() -> None:
    # Larger than what is read whole. A crop of each hemisphere, tissue but for a few voxels: what
    # lies at the surface or far from the light differs by a tenth.
    brain = BrainVolume((200, 200, 200), seed=0, specimen_voxels=96)
    boxes = Box((70, 50, 40), (150, 90, 60)), Box((40, 40, 130), (160, 90, 160))
    crops = [estimate_intensity(ArrayVolume(brain.read(box))) for box in boxes]
    centre = (crops[0].centre[0] + crops[1].centre[0]) / 2
    spread = (crops[0].spread[0] + crops[1].spread[0]) / 2
    scale = estimate_intensity(brain)
    assert scale.centre[0] == pytest.approx(centre, rel=0.06)
    assert scale.spread[0] == pytest.approx(spread, rel=0.25)


def test_trunks_of_simulated_specimens_are_not_taken_for_tissue() -> None:
    # Three instruments; in each image a tenth of the parts lies in bright trunks.
    specimens = SimulatedVolumes(
        SimulateConfig(shape_voxels=(112, 128, 128), images_per_anatomy=5), seed=5
    )
    for index in (10, 11, 14):
        made = specimens.volume(index)
        assert made.mask.mean() > 0.1
        assert find_tissue([made.image]) is None


def test_real_stacks_with_large_vessels_are_kept_whole(shared_data: Path) -> None:
    for name in ("noisySparseVessels", "tgMouse", "lowerRes_hiSNR"):
        path = shared_data / "twophoton" / f"burgess2014_{name}_image.tif"
        with open_volume(path) as volume:
            stack = volume.read(Box.whole(volume.shape_zyx))
        assert find_tissue(list(stack)) is None
