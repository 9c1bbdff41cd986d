from __future__ import annotations

import dataclasses
import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import gaussian_filter

from vpbsd.errors import ConfigError, DataError
from vpbsd.geometry import VoxelSize
from vpbsd.metrics import (
    Scores,
    ThresholdCurve,
    ThresholdScore,
    best_threshold,
    betti_errors,
    calibre_scores,
    centreline_match_voxels,
    cldice,
    overlap,
    probability_mask,
    score,
    surface_dice_voxels,
    surface_distances,
    sweep_threshold,
    validation_score,
)

SIZE = VoxelSize(5, 2, 2)
THRESHOLDS = [0.1, 0.3, 0.5, 0.7, 0.9]


def _probability_and_truth(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    smooth = gaussian_filter(rng.standard_normal((10, 16, 18)), 1.5)
    noise = gaussian_filter(rng.standard_normal((10, 16, 18)), 1)
    probability = 1 / (1 + np.exp(-15 * (smooth + 0.4 * noise)))
    return probability.astype(np.float32), smooth > 0.1


def _line(start: int, stop: int) -> np.ndarray:
    mask = np.zeros((3, 5, 20), bool)
    mask[1, 2, start:stop] = True
    return mask


def test_every_score_of_a_line_found_half() -> None:
    # Truth x 0..9, prediction x 5..9 and 15..19; a line one voxel wide is its own centreline.
    got = score(_line(5, 10) | _line(15, 20), _line(0, 10), SIZE)
    assert got.precision == got.topology_precision == 0.5
    assert got.recall == got.topology_sensitivity == 0.5
    assert got.dice == got.cldice == 0.5
    # Within 1 voxel also the truth at x = 4, within 2 that at x = 3; the far piece never.
    assert got.surface_dice_1_voxel == pytest.approx((5 + 6) / 20)
    assert got.surface_dice_2_voxels == pytest.approx((5 + 7) / 20)
    # In µm along x (2 a voxel): predicted 0 five times, then 6 to 10 voxels; true 0, then 1 to 5.
    assert got.assd_um == pytest.approx(2 * (40 + 15) / 20)
    assert got.hd95_um == pytest.approx(2 * 9.55)  # 0.55 between the 9th and 10th of ten values
    assert got.foreground_prediction == got.foreground_truth == pytest.approx(10 / 300)
    # The 5 voxels found have all of the line within 2 voxels but x = 0, 1 and 2.
    assert got.centreline_precision_2_voxels == 0.5
    assert got.centreline_recall_2_voxels == pytest.approx(7 / 10)
    # The nearest background is 2 µm away along y, 5 along z.
    assert (got.capillary_precision, got.capillary_recall) == (0.5, 0.5)
    assert (got.large_vessel_precision, got.large_vessel_recall) == (None, None)
    # Two pieces where one is; the volume is smaller than a sub-block.
    assert (got.betti_0_error, got.betti_1_error, got.betti_2_error) == (1, 0, 0)
    assert (got.euler_error, got.euler_error_per_block) == (1, 1.0)
    assert (got.betti_0_error_per_block, got.betti_1_error_per_block) == (1.0, 0.0)
    assert got.betti_2_error_per_block == 0.0
    assert got.note is None


def test_the_radius_of_capillaries_can_be_chosen() -> None:
    got = score(_line(0, 5), _line(0, 10), SIZE, capillary_radius_um=2.0)
    assert (got.capillary_precision, got.capillary_recall) == (None, None)
    assert (got.large_vessel_precision, got.large_vessel_recall) == (1.0, 0.5)
    with pytest.raises(ConfigError, match="radius of capillaries"):
        score(_line(0, 5), _line(0, 10), SIZE, capillary_radius_um=0)


def test_perfect() -> None:
    truth = _probability_and_truth(0)[1]
    got = _by_kind(score(truth, truth, SIZE))
    assert got["distance"] == [0.0] * 2
    assert got["error"] == [0] * 8
    assert got["share"] == [1.0] * 14


@pytest.mark.parametrize(
    ("prediction", "truth", "share", "distance", "note"),
    [
        (_line(0, 0), _line(0, 0), 1.0, 0.0, "both empty"),
        (_line(0, 0), _line(0, 9), 0.0, None, "the prediction is empty"),
        (_line(0, 9), _line(0, 0), 0.0, None, "the truth is empty"),
    ],
)
def test_empty_masks_follow_one_convention(
    prediction: np.ndarray, truth: np.ndarray, share: float, distance: float | None, note: str
) -> None:
    found = score(prediction, truth, SIZE)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False)) == found.to_dict()
    assert note in str(found.note)
    assert found.foreground_prediction == prediction.mean()
    assert found.foreground_truth == truth.mean()
    got = _by_kind(found)
    assert got["distance"] == [distance, distance]
    assert got["share"] == [share] * 14
    # One piece is missing or too many, unless both are empty.
    missing = 0 if share else 1
    assert got["error"] == [missing, 0, 0, missing, missing, 0, 0, missing]


@given(arrays(bool, (3, 4, 5)), arrays(bool, (3, 4, 5)))
def test_scores_stay_in_range(p: np.ndarray, t: np.ndarray) -> None:
    got = _by_kind(score(p, t, SIZE))
    assert all(value is None or 0 <= value <= 1 for value in got["share"])
    assert all(value is None or value >= 0 for value in got["distance"])
    assert all(value is not None and value >= 0 for value in got["error"])
    assert [len(got[kind]) for kind in ("share", "distance", "error")] == [14, 2, 8]


@given(arrays(bool, (5, 6, 7)), arrays(bool, (5, 6, 7)))
def test_the_lot_is_what_each_says_alone(p: np.ndarray, t: np.ndarray) -> None:
    got, distances = score(p, t, SIZE), surface_distances(p, t, SIZE)
    assert (got.dice, got.cldice) == (overlap(p, t).dice, cldice(p, t).cldice)
    near = centreline_match_voxels(p, t, 2)
    assert got.centreline_precision_2_voxels == near.precision
    assert got.centreline_recall_2_voxels == near.recall
    calibre = dataclasses.asdict(calibre_scores(p, t, SIZE))
    assert {name: getattr(got, name) for name in calibre} == calibre
    assert got.surface_dice_1_voxel == surface_dice_voxels(p, t, 1)
    assert got.surface_dice_2_voxels == surface_dice_voxels(p, t, 2)
    assert (got.hd95_um is None) == (distances.hausdorff() is None)
    assert got.hd95_um == pytest.approx(distances.hausdorff())
    assert got.assd_um == pytest.approx(distances.mean())
    betti = betti_errors(p, t)
    assert (got.betti_0_error, got.betti_1_error) == (betti.betti_0, betti.betti_1)
    assert (got.betti_2_error, got.euler_error) == (betti.betti_2, betti.euler)


def _by_kind(scores: Scores) -> dict[str, list[float | None]]:
    """Sort the scores into shares (1 is perfect), distances and errors (0 is perfect)."""
    kinds: dict[str, list[float | None]] = {"share": [], "distance": [], "error": []}
    for name, value in scores.to_dict().items():
        if name.startswith("foreground") or name == "note":
            continue
        kind = "distance" if name.endswith("_um") else "error" if "error" in name else "share"
        kinds[kind].append(value)  # type: ignore[arg-type]
    return kinds


def test_validation_score_is_the_mean_over_volumes() -> None:
    scores = [ThresholdScore(0.5, 0.8, 0.6), ThresholdScore(0.5, 0.4, 0.2)]
    # Harmonic means: 2 * 0.48 / 1.4 = 0.685714 and 2 * 0.08 / 0.6 = 0.266667.
    assert validation_score(scores) == pytest.approx((0.685714 + 0.266667) / 2, abs=1e-6)
    with pytest.raises(ConfigError, match="at least one"):
        validation_score([])


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("kind", [np.float32, np.float64, np.uint8])
def test_a_sweep_equals_scoring_each_mask(seed: int, kind: type) -> None:
    probability, truth = _probability_and_truth(seed)
    stored = np.rint(probability * 255).astype(kind) if kind is np.uint8 else probability
    sweep = sweep_threshold(stored.astype(kind), truth, THRESHOLDS)
    assert [s.threshold for s in sweep] == THRESHOLDS
    for got in sweep:
        mask = stored >= got.threshold * (255 if kind is np.uint8 else 1)
        assert got.dice == overlap(mask, truth).dice
        assert got.cldice == cldice(mask, truth).cldice
    assert len({s.cldice for s in sweep}) > 2


def test_a_sweep_keeps_the_order_given_and_repeats() -> None:
    probability, truth = _probability_and_truth(0)
    forth = sweep_threshold(probability, truth, [0.2, 0.6, 0.9])
    mixed = sweep_threshold(probability, truth, [0.9, 0.2, 0.6, 0.2])
    assert mixed == [forth[2], forth[0], forth[1], forth[0]]


@pytest.mark.parametrize("full", [True, False])
def test_a_sweep_with_empty_masks(full: bool) -> None:
    probability = np.full((3, 4, 5), 0.5, np.float32)
    truth = np.full((3, 4, 5), full)
    below, above = sweep_threshold(probability, truth, [0.4, 0.6])
    # At 0.4 everything is foreground, at 0.6 nothing is.
    assert (below.dice, below.cldice) == ((1.0, 1.0) if full else (0.0, 0.0))
    assert (above.dice, above.cldice) == ((0.0, 0.0) if full else (1.0, 1.0))


@given(st.integers(0, 255))
def test_a_stored_value_is_foreground_at_its_own_threshold(value: int) -> None:
    stored = np.array([[[value]]], np.uint8)
    assert probability_mask(stored, value / 255).all()
    if value < 255:
        assert not probability_mask(stored, (value + 0.5) / 255).any()


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_a_threshold_means_the_same_at_every_precision(kind: type) -> None:
    for threshold in (0.1, 0.3, 0.7, 0.9):
        at = np.full((1, 1, 2), threshold, kind)
        assert probability_mask(at, threshold).all()
        assert sweep_threshold(at, np.ones((1, 1, 2), bool), [threshold])[0].dice == 1.0
        below = np.nextafter(at, kind(0))
        assert not probability_mask(below, threshold).any()


def test_calling_everything_vessel_never_wins() -> None:
    # The centreline of a full block is a single voxel, inside this tube: clDice 1, Dice 0.31.
    truth = np.zeros((16, 16, 16), bool)
    truth[:, 4:12, 6:11] = True
    probability = np.where(truth, 0.6, 0.1)
    probability[:4] = 0.1
    pairs = [(probability, truth)]
    assert best_threshold(pairs, [0.05, 0.5]) == 0.5


@pytest.mark.parametrize("by", ["harmonic", "mean", "dice", "cldice"])
def test_the_best_threshold_is_that_of_trying_them_all(by: str) -> None:
    pairs = [_probability_and_truth(seed) for seed in range(3)]
    pairs[0] = (pairs[0][0] ** 3, pairs[0][1])
    thresholds = [float(t) for t in np.linspace(0.02, 0.98, 33)]
    sweeps = [sweep_threshold(*pair, thresholds) for pair in pairs]
    figure = {
        "harmonic": lambda s: 2 * s.dice * s.cldice / max(s.dice + s.cldice, 1e-12),
        "mean": lambda s: (s.dice + s.cldice) / 2,
        "dice": lambda s: s.dice,
        "cldice": lambda s: s.cldice,
    }[by]
    means = [np.mean([figure(s) for s in row]) for row in zip(*sweeps, strict=True)]
    got = best_threshold(pairs, thresholds, by=by)  # type: ignore[arg-type]
    assert got == thresholds[int(np.argmax(means))]


def test_volumes_count_equally_whatever_their_size() -> None:
    # Dice at 0.3 and 0.7: the large volume 1 and 40/220, the small one 2/5 and 1.
    large = (np.full((1, 10, 20), 0.5), np.ones((1, 10, 20), bool))
    large[0][0, 0] = 0.9
    small = (np.array([[[0.8, 0.5, 0.5, 0.5]]]), np.array([[[1, 0, 0, 0]]], bool))
    assert best_threshold([large], [0.3, 0.7], by="dice") == 0.3
    assert best_threshold([small], [0.3, 0.7], by="dice") == 0.7
    # Means 0.70 and 0.59.
    assert best_threshold([large, small], [0.3, 0.7], by="dice") == 0.3
    # Now the large volume has 4/7 at 0.7: means 0.70 and 0.79. Pooled voxels, 402/405 against
    # 162/282, would still say 0.3.
    large[0][0, :4] = 0.9
    assert best_threshold([large, small], [0.3, 0.7], by="dice") == 0.7


def test_the_first_of_equal_thresholds_wins() -> None:
    probability = np.array([[[0.0, 1.0]]])
    truth = np.array([[[False, True]]])
    assert best_threshold([(probability, truth)], [0.6, 0.4, 0.5]) == 0.6


def test_only_promising_centrelines_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    whole = ThresholdCurve.cldice

    def counted(self: ThresholdCurve, index: int) -> float:
        asked.append(index)
        return whole(self, index)

    monkeypatch.setattr(ThresholdCurve, "cldice", counted)
    truth = np.zeros((12, 12, 20), bool)
    truth[4:8, 5:8] = True
    probability = gaussian_filter(truth.astype(np.float32), 1)
    best_threshold([(probability, truth)], [float(t) for t in np.linspace(0.02, 0.98, 49)])
    assert 0 < len(asked) < 25


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_cldice_exceeds_its_bound(seed: int) -> None:
    probability, truth = _probability_and_truth(seed)
    curve = ThresholdCurve(probability**2, truth, list(np.linspace(0.02, 0.98, 25)))
    bounds = [curve.cldice_bound(k) for k in range(len(curve))]
    values = [curve.cldice(k) for k in range(len(curve))]
    assert all(value <= bound + 1e-12 for value, bound in zip(values, bounds, strict=True))
    assert min(bounds) < 0.9


def test_the_bound_is_reached_by_a_centreline_inside_the_truth() -> None:
    # Half of the true line is found and nothing else: sensitivity 1/2, precision 1.
    curve = ThresholdCurve(_line(0, 5).astype(float), _line(0, 10), [0.5])
    assert curve.cldice_bound(0) == curve.cldice(0) == pytest.approx(2 / 3)


def test_masks_of_a_curve_are_nested() -> None:
    probability, truth = _probability_and_truth(3)
    curve = ThresholdCurve(probability, truth, THRESHOLDS)
    masks = [curve.mask(k) for k in range(len(curve))]
    assert all(not (high & ~low).any() for low, high in pairwise(masks))


@pytest.mark.parametrize("thresholds", [[], [float("nan")], [-0.1], [1.1], [0.5, 50]])
def test_bad_thresholds(thresholds: list[float]) -> None:
    probability, truth = _probability_and_truth(0)
    with pytest.raises(ConfigError, match="threshold"):
        sweep_threshold(probability, truth, thresholds)


@pytest.mark.parametrize(
    ("probability", "message"),
    [
        (np.full((2, 3, 4), 3.5), "sigmoid"),
        (np.full((2, 3, 4), np.nan), "nan"),
        (np.zeros((2, 3, 4), np.int16), "int16"),
        (np.zeros((2, 3, 4), bool), "bool"),
        (np.zeros((2, 3, 5)), "different shapes"),
    ],
)
def test_what_is_no_probability_is_refused(probability: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        sweep_threshold(probability, np.zeros((2, 3, 4), bool), [0.5])


def test_no_volume_and_unknown_criterion() -> None:
    with pytest.raises(ConfigError, match="at least one volume"):
        best_threshold([], [0.5])
    with pytest.raises(ConfigError, match="bananas"):
        best_threshold([_probability_and_truth(0)], [0.5], by="bananas")  # type: ignore[arg-type]
