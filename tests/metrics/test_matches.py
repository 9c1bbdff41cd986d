from __future__ import annotations

import pytest

from vpbsd.errors import ConfigError
from vpbsd.metrics import Matches
from vpbsd.metrics.matches import require_tolerance


def test_hand_counted() -> None:
    got = Matches(predicted=8, predicted_matched=6, true=4, true_matched=2)
    assert (got.precision, got.recall) == (0.75, 0.5)
    assert got.f1 == pytest.approx(0.6)  # 2 * 0.375 / 1.25
    assert got.dice == pytest.approx(8 / 12)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (Matches(0, 0, 0, 0), (1.0, 1.0, 1.0, 1.0)),
        (Matches(5, 0, 0, 0), (0.0, 0.0, 0.0, 0.0)),
        (Matches(0, 0, 5, 0), (0.0, 0.0, 0.0, 0.0)),
        (Matches(3, 0, 5, 0), (0.0, 0.0, 0.0, 0.0)),
        (Matches(3, 3, 5, 5), (1.0, 1.0, 1.0, 1.0)),
    ],
)
def test_empty_and_perfect(counts: Matches, expected: tuple[float, ...]) -> None:
    assert (counts.precision, counts.recall, counts.f1, counts.dice) == expected


def test_parts_add_up_and_can_be_taken_away() -> None:
    one, other = Matches(1, 1, 2, 0), Matches(10, 5, 20, 7)
    assert one + other == Matches(11, 6, 22, 7)
    assert one + other - other == one


@pytest.mark.parametrize("tolerance", [-0.1, float("nan"), float("inf")])
def test_no_tolerance(tolerance: float) -> None:
    with pytest.raises(ConfigError, match="finite distance of 0 or more"):
        require_tolerance(tolerance)
