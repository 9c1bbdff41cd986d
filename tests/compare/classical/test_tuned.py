"""Classical methods tuned on labelled volumes: what they find, transfer, refuse and cost."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from vpbsd.compare.classical import CLASSICAL, frangi_response, oracle
from vpbsd.compare.classical.tuned import FilterThreshold, OtsuHysteresis
from vpbsd.errors import DataError, IntensityError
from vpbsd.metrics import cldice, overlap


def tube(seed: int, centre: int = 10, slope: float = 6.0) -> tuple[np.ndarray, np.ndarray]:
    """A tube of 3 x 3 voxels along x on a ground that rises along y, with noise."""
    truth = np.zeros((15, 36, 20), bool)
    truth[6:9, centre : centre + 3] = True
    image = 5 * gaussian_filter(truth.astype(np.float32), 0.7)
    image += slope * (1 - np.cos(np.linspace(0, np.pi, 36)))[None, :, None].astype(np.float32)
    return image + np.random.default_rng(seed).normal(0, 0.1, truth.shape), truth


def value(mask: np.ndarray, truth: np.ndarray) -> float:
    """The harmonic mean of Dice and clDice, from the public scores."""
    a, b = overlap(mask, truth).dice, cldice(mask, truth).cldice
    return 2 * a * b / (a + b) if a + b else 0.0


def test_one_threshold_suits_all_volumes() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random((8, 9, 10)) > 0.7
    # The first could be cut anywhere from 1 to 5, the second from 3 to 7.
    volumes = [(np.where(truth, 5.0, 1.0), truth), (np.where(truth, 7.0, 3.0), truth)]
    tuned = CLASSICAL["threshold"].fit(volumes)
    assert 3 < tuned.settings["threshold"] <= 5
    assert np.array_equal(tuned.apply(np.where(truth, 6.0, 2.0)), truth)


@pytest.mark.parametrize("name", ["frangi", "sato"])
def test_filters_find_elsewhere_what_a_threshold_cannot(name: str) -> None:
    training, (image, truth) = [tube(0), tube(1, centre=14)], tube(2, centre=7)
    filtered = CLASSICAL[name].fit(training)
    assert value(filtered.apply(image), truth) > 0.7
    assert value(CLASSICAL["threshold"].fit(training).apply(image), truth) < 0.4
    assert set(filtered.settings) == {"threshold", "sigmas_voxels", "per_plane"}


def chain() -> tuple[np.ndarray, np.ndarray]:
    """A bright vessel with a dim end, and dim specks that hang together with nothing."""
    image = np.zeros((9, 20, 30))
    image[2:7, 6:13, 3:20] = 10
    image[2:7, 6:13, 20:28] = 4
    truth = image > 0
    image[0, 2, ::4] = 4
    # Noise enough that Otsu's threshold is not at the edge of an empty stretch.
    image += np.random.default_rng(0).normal(0, 0.6, image.shape)
    return image, truth


def test_hysteresis_follows_dim_ends_and_leaves_specks() -> None:
    image, truth = chain()
    tuned = CLASSICAL["otsu_hysteresis"].fit([(image, truth)])
    assert np.array_equal(tuned.apply(image), truth)
    # Otsu's threshold goes with the image.
    assert np.array_equal(tuned.apply(3 * image - 7), truth)
    assert not np.array_equal(CLASSICAL["threshold"].fit([(image, truth)]).apply(image), truth)


def test_hysteresis_by_hand() -> None:
    # Otsu of 0 and 1 lies between them; 0.6 lies above half of it and below twice it.
    image = np.zeros((3, 3, 12))
    image[1, 1, 1:4] = 1
    image[1, 1, 4:6] = 0.6
    image[1, 1, 8:10] = 0.6
    whole = OtsuHysteresis(low_factor=0.5, high_factor=0.9).apply(image)
    assert np.flatnonzero(whole[1, 1]).tolist() == [1, 2, 3, 4, 5, 8, 9]
    high = 0.95 / _otsu(image)
    linked = OtsuHysteresis(low_factor=0.5, high_factor=high).apply(image)
    assert np.flatnonzero(linked[1, 1]).tolist() == [1, 2, 3, 4, 5]


def _otsu(image: np.ndarray) -> float:
    from skimage.filters import threshold_otsu

    return float(threshold_otsu(image.astype(np.float32)))


@pytest.mark.parametrize("name", CLASSICAL)
def test_no_tuning_beats_the_oracle(name: str) -> None:
    method, (image, truth) = CLASSICAL[name], tube(2, centre=7, slope=1.0)
    best = value(oracle(method, image, truth).apply(image), truth)
    tuned = value(method.fit([tube(0, slope=2.0)]).apply(image), truth)
    # Thresholds are tried at quantiles, hence a little slack.
    assert tuned <= best + 0.02


def test_settings_are_written_as_json() -> None:
    tuned = FilterThreshold("sato", 0.25, (1.0, 2.0), per_plane=True)
    assert json.loads(json.dumps(tuned.settings)) == {
        "threshold": 0.25,
        "sigmas_voxels": [1.0, 2.0],
        "per_plane": True,
    }
    assert FilterThreshold("none", 1.5).settings == {"threshold": 1.5}


def test_what_tuning_costs_is_stated() -> None:
    assert {name: method.tried for name, method in CLASSICAL.items()} == {
        "threshold": 48,
        "otsu_hysteresis": 35,
        "frangi": 480,
        "sato": 480,
    }


def test_frangi_answers_to_tubes_whatever_the_scale() -> None:
    shape = np.zeros((24, 24, 24), np.float32)
    shape[11:14, 11:14, :] = 1  # a tube,
    shape[2:5, :, :] = 1  # a plate
    shape[18:21, 3:6, 3:6] = 1  # and a blob
    found = frangi_response(shape, sigmas_voxels=(1.0, 2.0))
    on_tube, on_plate, on_blob = found[12, 12, 12], found[3, 12, 12], found[19, 4, 4]
    assert on_tube > 3 * max(on_plate, on_blob)
    assert found.min() >= 0
    assert found.max() <= 1
    # Rounding decides where the Hessian is nearly flat, and the response faint.
    clear = found > 0.05
    brighter = frangi_response(40 * shape, sigmas_voxels=(1.0, 2.0))
    np.testing.assert_allclose(brighter[clear], found[clear], atol=1e-4)
    assert brighter[~clear].max() < 0.1


@pytest.mark.parametrize("name", CLASSICAL)
def test_bad_input(name: str) -> None:
    method, (image, truth) = CLASSICAL[name], tube(0)
    with pytest.raises(DataError, match="there is none"):
        method.fit([])
    with pytest.raises(DataError, match="different shapes"):
        method.fit([(image, truth[1:])])
    with pytest.raises(IntensityError, match="constant"):
        method.fit([(np.ones((4, 4, 4)), np.ones((4, 4, 4), bool))])
    image[0, 0, 0] = np.nan
    with pytest.raises(IntensityError, match="1 of 10800"):
        method.fit([(image, truth)])
