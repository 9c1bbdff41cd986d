"""What a difference is said to tell."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from vpbsd.compare.results.statistics import Difference
from vpbsd.compare.tables.sentences import counted, points, sentence


def made(**changed: Any) -> Difference:
    plain = Difference("cldice", 0.021, 0.008, 0.033, 0.002, (0.02, 0.022), 2, 60, 0.95, 0.002)
    return replace(plain, **changed)


@pytest.mark.parametrize(
    ("difference", "expected"),
    [
        (
            made(comparisons=12),
            "VpbSD is 2.1 points of clDice above mean_teacher (95 % interval 0.8 to 3.3), "
            "significant after correction for 12 comparisons.",
        ),
        (
            made(value=-0.021, low=-0.033, high=-0.008, per_seed=(-0.021,)),
            "VpbSD is 2.1 points of clDice below mean_teacher (95 % interval −3.3 to −0.8), "
            "significant in one comparison; one seed, so that chance in training is not in the "
            "interval.",
        ),
        (
            made(per_seed=(0.021,), borrowed=True),
            "VpbSD is 2.1 points of clDice above mean_teacher (95 % interval 0.8 to 3.3), "
            "significant in one comparison; one seed, chance in training as other methods show it.",
        ),
        (
            made(
                score="dice", value=0.0004, low=-0.01, p_value=0.31, p_corrected=0.62, comparisons=2
            ),
            "No difference in Dice between VpbSD and mean_teacher can be told: 0.0 points "
            "(95 % interval −1.0 to 3.3), p = 0.62 after correction for 2 comparisons.",
        ),
    ],
)
def test_sentences(difference: Difference, expected: str) -> None:
    assert sentence(difference, "VpbSD", "mean_teacher") == expected


@pytest.mark.parametrize(
    ("share", "signed", "text"),
    [(0.021, True, "+2.1"), (-0.021, False, "−2.1"), (-0.0004, True, "0.0"), (0.3, False, "30.0"),
     (-0.105, True, "−10.5"), (0.1004, True, "+10.0")],
)  # fmt: skip
def test_points(share: float, signed: bool, text: str) -> None:
    assert points(share, signed=signed) == text


@pytest.mark.parametrize(
    ("count", "what", "text"),
    [
        (0, "seed", "0 seeds"),
        (1, "seed", "1 seed"),
        (3, "seed", "3 seeds"),
        (1, "labelled patch", "1 labelled patch"),
        (16, "labelled patch", "16 labelled patches"),
    ],
)
def test_counted(count: int, what: str, text: str) -> None:
    assert counted(count, what) == text
