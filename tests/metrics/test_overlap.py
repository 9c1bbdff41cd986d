from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vpbsd.metrics import Overlap, overlap


def test_hand_counted() -> None:
    prediction = np.array([[[1, 1, 1, 0, 0, 0]]], bool)
    truth = np.array([[[0, 1, 1, 1, 1, 0]]], bool)
    got = overlap(prediction, truth)
    assert got == Overlap(true_positive=2, false_positive=1, false_negative=2)
    assert got.dice == pytest.approx(4 / 7)
    assert got.precision == pytest.approx(2 / 3)
    assert got.recall == pytest.approx(1 / 2)
    assert got.iou == pytest.approx(2 / 5)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (Overlap(0, 0, 0), (1.0, 1.0, 1.0, 1.0)),
        (Overlap(0, 5, 0), (0.0, 0.0, 0.0, 0.0)),
        (Overlap(0, 0, 5), (0.0, 0.0, 0.0, 0.0)),
        (Overlap(0, 2, 2), (0.0, 0.0, 0.0, 0.0)),
        (Overlap(7, 0, 0), (1.0, 1.0, 1.0, 1.0)),
    ],
)
def test_empty_and_perfect(counts: Overlap, expected: tuple[float, ...]) -> None:
    assert (counts.dice, counts.precision, counts.recall, counts.iou) == expected


@given(arrays(bool, (4, 5, 6)), arrays(bool, (4, 5, 6)), st.integers(0, 4))
def test_blocks_add_up_to_the_whole(p: np.ndarray, t: np.ndarray, cut: int) -> None:
    assert overlap(p[:cut], t[:cut]) + overlap(p[cut:], t[cut:]) == overlap(p, t)


@given(arrays(bool, (3, 4, 5)), arrays(bool, (3, 4, 5)))
def test_swapping_the_masks_swaps_precision_and_recall(p: np.ndarray, t: np.ndarray) -> None:
    one, other = overlap(p, t), overlap(t, p)
    assert (one.dice, one.iou) == (other.dice, other.iou)
    assert (one.precision, one.recall) == (other.recall, other.precision)
