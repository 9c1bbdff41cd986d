from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vpbsd.errors import ConfigError, DataError
from vpbsd.metrics import BlockCounts, block_counts, centreline, cldice, overlap


def _line(start: int, stop: int) -> np.ndarray:
    """A line along x, one voxel wide, which is its own centreline."""
    mask = np.zeros((3, 3, 12), bool)
    mask[1, 1, start:stop] = True
    return mask


# Truth x 0..7, prediction x 2..11, sub-blocks of 4 along x.
COUNTS = block_counts(_line(2, 12), _line(0, 8), (3, 3, 4))


def test_hand_counted() -> None:
    assert COUNTS.to_dict() == {
        "edge_voxels": [3, 3, 4],
        "true_positive": [2, 4, 0],
        "false_positive": [0, 0, 4],
        "false_negative": [2, 0, 0],
        "line_predicted": [2, 4, 4],
        "line_predicted_inside": [2, 4, 0],
        "line_true": [4, 4, 0],
        "line_true_inside": [2, 4, 0],
    }
    assert len(COUNTS) == 3
    assert COUNTS.dice() == pytest.approx(12 / 18)
    # Precision 6/10, sensitivity 6/8: 2 * 0.45 / 1.35.
    assert COUNTS.cldice() == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("selection", "dice", "cldice_"),
    [
        ([1], 1.0, 1.0),
        ([0], 4 / 6, 2 / 3),  # precision 1, sensitivity 1/2
        ([2], 0.0, 0.0),
        ([0, 0, 1], 16 / 20, 0.8),  # TP 8, FN 4; precision 8/8, sensitivity 8/12
        ([True, False, True], 4 / 10, 0.4),  # TP 2, FP 4, FN 2; precision 2/6, sensitivity 2/4
        (np.array([1, 1]), 1.0, 1.0),
        ([], 1.0, 1.0),
    ],
)
def test_any_choice_of_blocks(selection: Any, dice: float, cldice_: float) -> None:
    assert COUNTS.dice(selection) == pytest.approx(dice)
    assert COUNTS.cldice(selection) == pytest.approx(cldice_)


def test_blocks_are_in_order_z_slowest() -> None:
    mask = np.zeros((2, 3, 4), bool)
    mask[0, 0, 0] = mask[0, 0, 3] = mask[0, 2, 0] = mask[1, 0, 0] = True
    counts = block_counts(mask, np.zeros_like(mask), (1, 2, 3))
    assert counts.false_positive.tolist() == [1, 1, 1, 0, 1, 0, 0, 0]


@given(arrays(bool, (5, 6, 7)), arrays(bool, (5, 6, 7)), st.integers(1, 8))
def test_all_blocks_together_are_the_volume(p: np.ndarray, t: np.ndarray, edge: int) -> None:
    counts = block_counts(p, t, edge)
    assert counts.overlap() == overlap(p, t)
    assert counts.dice() == overlap(p, t).dice
    assert counts.cldice() == cldice(p, t).cldice
    assert counts.line_true.sum() == centreline(t).sum()


@given(arrays(bool, (4, 5, 6)), arrays(bool, (4, 5, 6)), st.lists(st.integers(0, 17)))
def test_two_volumes_pool_like_their_counts(
    p: np.ndarray, t: np.ndarray, chosen: list[int]
) -> None:
    one, other = block_counts(p, t, (2, 2, 2)), block_counts(t, t, (2, 2, 2))
    both = one + other
    assert len(both) == len(one) + len(other) == 2 * 2 * 3 * 3
    assert both.overlap() == one.overlap() + other.overlap()
    assert both.overlap(chosen) == one.overlap(chosen)
    shifted = [index + len(one) for index in chosen]
    assert both.lines(shifted) == other.lines(chosen)


def test_what_is_noted_comes_back() -> None:
    noted = json.loads(json.dumps(COUNTS.to_dict()))
    back = BlockCounts.from_dict(noted)
    assert back.to_dict() == COUNTS.to_dict()
    assert back.edge_voxels == (3, 3, 4)
    assert back.cldice([0, 2]) == COUNTS.cldice([0, 2])


def test_volumes_cut_differently_cannot_be_pooled() -> None:
    with pytest.raises(ConfigError, match=r"\(3, 3, 4\).*\(3, 3, 5\).*one edge"):
        COUNTS + block_counts(_line(0, 3), _line(0, 3), (3, 3, 5))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"true_positive": [1, 2]}, "one count of 0 or more"),
        ({"line_true": [4, 4, -1]}, "one count of 0 or more"),
        ({"line_true_inside": [5, 4, 0]}, "more voxels than 'line_true'"),
        ({"line_predicted_inside": [2, 5, 0]}, "more voxels than 'line_predicted'"),
        ({"true_positive": [1.5, 2, 0]}, "whole numbers"),
        ({"true_positive": [True, 2, 0]}, "whole numbers"),
        ({"true_positive": [[1], [2, 3], 0]}, "whole numbers"),
        ({"true_positive": [2**70, 0, 0]}, "whole numbers"),
        ({"true_positive": None}, "whole numbers"),
        ({"edge_voxels": [3, 3]}, "three lengths"),
        ({"edge_voxels": [3, 3, 0]}, "three lengths"),
        ({"voxels": [1, 2, 3]}, "'voxels'.*missing or too many"),
    ],
)
def test_damaged_counts_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        BlockCounts.from_dict({**COUNTS.to_dict(), **change})


@given(
    st.sampled_from(sorted(COUNTS.to_dict())),
    st.one_of(
        st.none(),
        st.text(),
        st.integers(),
        st.lists(st.one_of(st.integers(), st.floats(), st.text(), st.none()), max_size=4),
    ),
)
def test_no_damage_but_a_data_error(name: str, value: Any) -> None:
    noted = {**COUNTS.to_dict(), name: value}
    try:
        counts = BlockCounts.from_dict(noted)
    except DataError:
        return
    assert counts.to_dict() == noted


def test_bad_arguments() -> None:
    with pytest.raises(ConfigError, match="at least 1 voxel"):
        block_counts(_line(0, 3), _line(0, 3), 0)
    with pytest.raises(DataError, match="different shapes"):
        block_counts(_line(0, 3), _line(0, 3)[1:], 4)
    with pytest.raises(DataError, match="missing or too many"):
        BlockCounts.from_dict({})
