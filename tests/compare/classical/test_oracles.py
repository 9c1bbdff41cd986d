from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy.ndimage import gaussian_filter

from vpbsd.compare.classical import classical_oracles, oracle_threshold, sato_response
from vpbsd.errors import ConfigError, DataError, IntensityError
from vpbsd.metrics import cldice, overlap


def _tube_image(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A tube of 3 x 3 voxels along x, dimmer than the smooth background elsewhere."""
    truth = np.zeros((15, 48, 20), bool)
    truth[6:9, 9:12] = True
    image = gaussian_filter(truth.astype(np.float32), 0.7) * 50
    # Flat at both ends, where a slope cut off would itself look like a ridge.
    image += 60 * (1 - np.cos(np.linspace(0, np.pi, 48)))[None, :, None].astype(np.float32)
    image += np.random.default_rng(seed).normal(0, 1, truth.shape).astype(np.float32)
    return image, truth


def test_a_response_that_is_the_truth_is_perfect() -> None:
    truth = _tube_image()[1]
    got = oracle_threshold(truth * 7.0, truth)
    for best in (got.best_for_dice, got.best_for_mean):
        assert (best.threshold, best.dice, best.cldice) == (7.0, 1.0, 1.0)


def test_no_single_threshold_beats_the_oracle() -> None:
    image, truth = _tube_image()
    response = sato_response(image)
    got = oracle_threshold(response, truth, n_thresholds=64)
    for level in np.quantile(response, np.linspace(0.5, 0.99, 25)):
        mask = response >= level
        dice, line = overlap(mask, truth).dice, cldice(mask, truth).cldice
        # The oracle tries steps of 9 % in foreground, hence a little slack.
        assert dice <= got.best_for_dice.dice + 0.03
        assert dice + line <= got.best_for_mean.dice + got.best_for_mean.cldice + 0.06
    assert got.best_for_dice.dice >= got.best_for_mean.dice
    mean_of_best_for_dice = got.best_for_dice.dice + got.best_for_dice.cldice
    assert got.best_for_mean.dice + got.best_for_mean.cldice >= mean_of_best_for_dice


def test_reported_scores_are_those_of_the_reported_threshold() -> None:
    image, truth = _tube_image()
    response = sato_response(image)
    got = oracle_threshold(response, truth, n_thresholds=20)
    for best in (got.best_for_dice, got.best_for_mean):
        mask = response >= np.float32(best.threshold)
        assert best.dice == overlap(mask, truth).dice
        assert best.cldice == cldice(mask, truth).cldice


@pytest.mark.parametrize("per_plane", [False, True])
def test_sato_finds_a_tube_that_intensity_cannot(per_plane: bool) -> None:
    image, truth = _tube_image()
    got = classical_oracles(image, truth, per_plane=per_plane)
    assert got.intensity.best_for_dice.dice < 0.4
    assert got.sato.best_for_dice.dice > 0.6
    assert got.sato.best_for_mean.cldice > 0.85


def test_an_increasing_function_changes_no_intensity_oracle() -> None:
    image, truth = _tube_image()
    image -= image.min()
    raw = oracle_threshold(image, truth).best_for_dice
    log = oracle_threshold(np.log1p(image.astype(np.float64)), truth).best_for_dice
    assert (raw.dice, raw.cldice) == pytest.approx((log.dice, log.cldice), abs=0.005)


def test_negative_intensities_are_no_obstacle() -> None:
    image, truth = _tube_image()
    low = classical_oracles(image - 1000, truth).sato
    assert low.best_for_dice.dice == pytest.approx(
        classical_oracles(image, truth).sato.best_for_dice.dice, abs=0.02
    )


def test_per_plane_sees_no_other_plane() -> None:
    image = _tube_image()[0]
    whole = sato_response(image, per_plane=True)
    assert np.array_equal(whole[7], sato_response(image[7:8], per_plane=True)[0])
    assert not np.allclose(whole, sato_response(image))


def test_widths_can_be_set() -> None:
    image = _tube_image()[0]
    assert not np.allclose(sato_response(image, sigmas_voxels=[3]), sato_response(image))


def test_a_dark_tube_gives_no_response_on_its_axis() -> None:
    image, _ = _tube_image()
    assert sato_response(image)[7, 10, 15] > 10
    assert sato_response(-image)[7, 10, 15] < 1


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite(bad: float) -> None:
    image, truth = _tube_image()
    image[0, 0, 0] = bad
    with pytest.raises(IntensityError, match="1 of 14400"):
        classical_oracles(image, truth)


def test_other_bad_input() -> None:
    image, truth = _tube_image()
    with pytest.raises(IntensityError, match="constant"):
        oracle_threshold(np.ones((4, 4, 4)), np.ones((4, 4, 4), bool))
    with pytest.raises(DataError, match="different shapes"):
        oracle_threshold(image, truth[1:])
    with pytest.raises(DataError, match="channel"):
        sato_response(image[None])
    with pytest.raises(ConfigError, match="at least 2"):
        oracle_threshold(image, truth, n_thresholds=1)


@pytest.mark.real_data
def test_a_real_volume_lands_on_the_known_figures(shared_data: Path) -> None:
    image = tifffile.imread(shared_data / "lightsheet" / "vessap_014_image.tif")
    truth = tifffile.imread(shared_data / "lightsheet" / "vessap_014_label.tif")
    intensity = oracle_threshold(image, truth).best_for_dice
    sato = oracle_threshold(sato_response(np.log1p(image)), truth).best_for_dice
    assert (intensity.dice, intensity.cldice) == pytest.approx((0.737, 0.740), abs=0.01)
    assert (sato.dice, sato.cldice) == pytest.approx((0.792, 0.891), abs=0.01)
