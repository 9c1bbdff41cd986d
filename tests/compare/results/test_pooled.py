"""Dice and clDice of pooled counts, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from vpbsd.compare.results.pooled import pooled_scores
from vpbsd.metrics import cldice, overlap
from vpbsd.metrics.centreline import centreline


def test_counts_are_summed_before_they_are_divided() -> None:
    blocks = np.array([[10, 0, 10, 4, 4, 8, 4], [0, 10, 0, 6, 0, 0, 0]])
    # TP 10, FP 10, FN 10: 20 / 40. Precision 4 / 10, sensitivity 4 / 8: 2 · 0.4 · 0.5 / 0.9.
    assert pooled_scores(blocks.sum(axis=0)).tolist() == pytest.approx([0.5, 4 / 9])
    # The mean over sub-blocks would be another number.
    assert pooled_scores(blocks).tolist() == [pytest.approx([2 / 3, 2 / 3]), [0.0, 0.0]]


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([0, 0, 0, 0, 0, 0, 0], [1.0, 1.0]),  # nothing there, nothing found
        ([0, 9, 0, 3, 0, 0, 0], [0.0, 0.0]),  # nothing there, something found
        ([0, 0, 9, 0, 0, 3, 0], [0.0, 0.0]),  # something there, nothing found
        ([9, 0, 0, 0, 0, 3, 3], [1.0, 0.0]),  # the predicted line lies in other sub-blocks
        ([5, 0, 0, 0, 0, 0, 0], [1.0, 1.0]),  # no line at all to be wrong about
    ],
)
def test_sub_blocks_without_vessels(counts: list[int], expected: list[float]) -> None:
    with np.errstate(all="raise"):
        assert pooled_scores(np.array(counts)).tolist() == expected


def test_blocks_of_a_volume_make_the_scores_of_the_volume() -> None:
    rng = np.random.default_rng(0)
    truth = np.zeros((8, 16, 16), bool)
    truth[2:5, 3:6, :] = truth[:, 8:11, 9:13] = True
    found = truth ^ (rng.random(truth.shape) < 0.03)
    lines = centreline(found), centreline(truth)
    maps = [
        found & truth, found & ~truth, truth & ~found,
        lines[0], lines[0] & truth, lines[1], lines[1] & found,
    ]  # fmt: skip
    blocks = [[int(m[z : z + 4, :, x : x + 8].sum()) for m in maps] for z in (0, 4) for x in (0, 8)]
    whole = pooled_scores(np.array(blocks).sum(axis=0))
    assert whole.tolist() == pytest.approx(
        [overlap(found, truth).dice, cldice(found, truth).cldice]
    )
