"""Validation by whole volumes: one threshold for all, a score by hand, empty masks refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from vpbsd.data.collection import TrainingVolume
from vpbsd.errors import CollapseError
from vpbsd.geometry import Box, Triplet
from vpbsd.stages.validation import THRESHOLDS, validate_segmentation
from vpbsd.volumes import ArrayVolume, IntensityScale

SHAPE = (8, 10, 12)
PLAIN = IntensityScale(centre=(0.0,), spread=(1.0,))


class Spoken:
    """A runtime whose probability is a function of the normalised intensity."""

    stride: Triplet = (1, 1, 1)
    halo_voxels: Triplet = (0, 0, 0)
    channels = 1
    bytes_per_voxel = 8.0

    def __init__(self, say: Callable[[np.ndarray], np.ndarray]) -> None:
        self._say = say

    def predict(self, block: np.ndarray, crop: Box | None = None) -> np.ndarray:
        whole = self._say(np.sinh(block[0])).astype(np.float32)
        return whole if crop is None else whole[crop.slices]


def volume(name: str = "v", empty: bool = False) -> TrainingVolume:
    """Return an image that is 1 in a bar, 0.25 in a false bar beside it, and 0 elsewhere."""
    truth = np.zeros(SHAPE, np.uint8)
    truth[2:5, 2:5, :] = 0 if empty else 1
    image = truth.astype(np.float32)
    image[2:5, 6:9, :] = 0.25
    return TrainingVolume(
        name, ArrayVolume(image, source=name), PLAIN, ArrayVolume(truth, source=f"{name} label")
    )


def test_perfect_probabilities_score_one() -> None:
    found = validate_segmentation(Spoken(lambda x: 0.6 * x), [volume()], stage="finetune")
    assert found.score == pytest.approx(1.0)
    # 0.15 is the false bar's probability: the threshold lies above it and up to 0.6.
    assert 0.15 < found.threshold <= 0.6
    assert found.threshold in THRESHOLDS
    assert found.metrics["v.dice"] == found.metrics["v.cldice"] == pytest.approx(1.0)
    assert found.metrics["threshold"] == found.threshold


def test_scores_are_means_over_volumes_at_one_threshold() -> None:
    # The second volume is only right below 0.2, where the first one takes the false bar along.
    quiet = volume("quiet")
    quiet = TrainingVolume(
        "quiet", quiet.image, IntensityScale(centre=(0.0,), spread=(4.0,)), quiet.label
    )
    both = [volume(), quiet]
    found = validate_segmentation(Spoken(lambda x: 0.6 * x), both, stage="finetune")
    for name in ("dice", "cldice"):
        mean = (found.metrics[f"v.{name}"] + found.metrics[f"quiet.{name}"]) / 2
        assert found.metrics[name] == pytest.approx(mean)
    assert found.metrics["v.dice"] < 1 or found.metrics["quiet.dice"] < 1


def test_both_bars_by_hand() -> None:
    found = validate_segmentation(
        Spoken(lambda x: np.where(x > 0.1, 0.9, 0.0)), [volume()], stage="finetune"
    )
    # As many false voxels as true ones: precision 1/2, recall 1, Dice 2/3.
    assert found.metrics["v.precision"] == pytest.approx(0.5)
    assert found.metrics["v.recall"] == pytest.approx(1.0)
    assert found.metrics["v.dice"] == pytest.approx(2 / 3)


def test_a_net_that_finds_nothing_is_an_error_with_advice() -> None:
    with pytest.raises(CollapseError, match=r"distill the net calls every voxel background.*lower"):
        validate_segmentation(Spoken(lambda x: 0.001 + 0 * x), [volume()], stage="distill")


def test_finding_nothing_where_there_is_nothing_is_right() -> None:
    found = validate_segmentation(
        Spoken(lambda x: 0.001 + 0 * x), [volume(empty=True)], stage="distill"
    )
    assert found.metrics["v.dice"] == pytest.approx(1.0)
