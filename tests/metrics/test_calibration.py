from __future__ import annotations

import importlib
import json
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vpbsd.errors import ConfigError, DataError
from vpbsd.metrics import calibration

P = np.array([[[0.0, 0.2, 0.2, 0.6, 0.8, 1.0]]])
Y = np.array([[[0, 0, 1, 1, 0, 1]]], bool)


def test_hand_counted() -> None:
    got = calibration(P, Y, bins=2)
    # Below 0.5: 3 voxels, mean 0.4/3, 1 vessel; from 0.5: 3 voxels, mean 2.4/3, 2 vessels.
    # ECE = (|1 - 0.4| + |2 - 2.4|) / 6.
    assert got.expected_calibration_error == pytest.approx(1 / 6)
    # Squares: 0, 0.04, 0.64, 0.16, 0.64, 0.
    assert got.brier == pytest.approx(1.48 / 6)
    low, high = got.curve()
    assert (low.low, low.high, high.low, high.high) == (0.0, 0.5, 0.5, 1.0)
    assert (low.voxels, high.voxels, got.total_voxels) == (3, 3, 6)
    assert low.probability == pytest.approx(0.4 / 3)
    assert (low.vessel_share, high.vessel_share) == pytest.approx((1 / 3, 2 / 3))


def test_certain_and_right_or_wrong() -> None:
    right = calibration(Y.astype(np.float32), Y)
    assert (right.expected_calibration_error, right.brier) == (0.0, 0.0)
    wrong = calibration(1 - Y.astype(np.float32), Y)
    assert (wrong.expected_calibration_error, wrong.brier) == (1.0, 1.0)
    unsure = calibration(np.full(Y.shape, 0.5), Y)
    assert (unsure.expected_calibration_error, unsure.brier) == (0.0, 0.25)


def test_bins_without_voxels_have_no_point() -> None:
    got = calibration(P, Y, bins=10).to_dict()
    assert json.loads(json.dumps(got, allow_nan=False)) == got
    assert got["reliability"]["voxels"] == [1, 0, 2, 0, 0, 0, 1, 0, 1, 1]
    assert got["reliability"]["vessel_share"] == [
        0.0, None, 0.5, None, None, None, 1.0, None, 0.0, 1.0
    ]  # fmt: skip
    assert got["reliability"]["probability"][9] == 1.0


def test_bytes_stand_for_probabilities() -> None:
    stored = np.array([[[0, 51, 255]]], np.uint8)  # 0, 0.2, 1
    got = calibration(stored, np.array([[[0, 1, 1]]]), bins=5)
    assert got.brier == pytest.approx(0.64 / 3)
    assert got.voxels.tolist() == [1, 1, 0, 0, 1]


def test_only_voxels_within_a_region_count() -> None:
    region = np.array([[[0, 0, 1, 1, 0, 0]]], np.uint8)
    got = calibration(P, Y, bins=2, within=region)
    assert got.total_voxels == 2
    assert got.brier == pytest.approx((0.64 + 0.16) / 2)
    assert got.expected_calibration_error == pytest.approx((0.8 + 0.4) / 2)


@pytest.mark.parametrize("bins", [5, 15, 20])
def test_monai_agrees(bins: int) -> None:
    rng = np.random.default_rng(bins)
    probability = rng.random((6, 20, 20)).astype(np.float32)
    truth = rng.random(probability.shape) < probability**2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MONAI warns of its own deprecations
        import torch
        from monai.metrics.calibration import calibration_binning

        p, y = (torch.from_numpy(a.astype(np.float32))[None, None] for a in (probability, truth))
        means, shares, counts = (v[0, 0].numpy() for v in calibration_binning(p, y, bins))
    got = calibration(probability, truth, bins=bins)
    assert got.voxels.tolist() == counts.tolist()
    assert [point.probability for point in got.curve()] == pytest.approx(means, rel=1e-4)
    assert [point.vessel_share for point in got.curve()] == pytest.approx(shares, rel=1e-4)
    expected = float((counts * np.abs(means - shares)).sum() / counts.sum())
    assert 0.1 < expected < 0.3
    assert got.expected_calibration_error == pytest.approx(expected, rel=1e-4)


@given(
    arrays(np.float64, (6, 3, 2), elements=st.floats(0, 1)),
    arrays(bool, (6, 3, 2)),
    st.integers(1, 5),
)
def test_parts_add_up(p: np.ndarray, y: np.ndarray, cut: int) -> None:
    parts, whole = calibration(p[:cut], y[:cut]) + calibration(p[cut:], y[cut:]), calibration(p, y)
    assert parts.voxels.tolist() == whole.voxels.tolist()
    assert parts.vessels.tolist() == whole.vessels.tolist()
    assert parts.brier == pytest.approx(whole.brier)
    assert parts.expected_calibration_error == pytest.approx(whole.expected_calibration_error)
    assert 0 <= whole.expected_calibration_error <= 1
    assert 0 <= whole.brier <= 1


def test_slabs_of_a_large_volume_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("vpbsd.metrics.calibration")  # not the function in it
    monkeypatch.setattr(module, "_SLAB_VOXELS", 7)
    p = np.linspace(0, 1, 60).reshape(5, 3, 4)
    got = calibration(p, p > 0.3, bins=3, within=p > 0.1)
    assert got.total_voxels == np.count_nonzero(p > 0.1)
    assert got.vessels.sum() == np.count_nonzero(p > 0.3)


@pytest.mark.parametrize(
    ("probability", "options", "error", "message"),
    [
        (P * 3, {}, DataError, "sigmoid"),
        (P * np.nan, {}, DataError, "nan"),
        (Y, {}, DataError, "bool"),
        (P[0], {}, DataError, "different shapes"),
        (P, {"bins": 0}, ConfigError, "at least 1 bin"),
        (P, {"within": Y[..., :2]}, DataError, "region that counts"),
        (P, {"within": Y & False}, DataError, "no voxel counts"),
        (P, {"within": P}, DataError, "threshold"),
    ],
)
def test_bad_input(
    probability: np.ndarray, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        calibration(probability, Y, **options)


def test_different_numbers_of_bins_cannot_be_pooled() -> None:
    with pytest.raises(ConfigError, match="15 and 10 bins"):
        calibration(P, Y) + calibration(P, Y, bins=10)
