from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpbsd.metrics.distances import DistanceCounts

lengths = st.lists(st.sampled_from([0.0, 1.0, math.sqrt(2), 2.0, 3.5, math.inf]), max_size=30)


def test_hand_counted() -> None:
    got = DistanceCounts.of(np.array([3.0, 1.0, 1.0, 8.0, np.inf]), cutoff=5.0)
    assert got.values.tolist() == [1.0, 3.0]
    assert got.counts.tolist() == [2, 1]
    assert (got.beyond, got.total, got.sum_within) == (2, 5, 5.0)
    assert got.percentile(0) == 1.0
    assert got.percentile(50) == 3.0
    # 37.5 % of the way along five values is half-way from the second to the third.
    assert got.percentile(37.5) == 2.0
    assert got.percentile(51) is None
    assert got.percentile(95) is None


@given(lengths.filter(len), st.floats(0, 100))
def test_percentiles_are_numpys(distances: list[float], percent: float) -> None:
    finite = np.array([d for d in distances if math.isfinite(d)])
    got = DistanceCounts.of(finite).percentile(percent)
    if finite.size:
        assert got == pytest.approx(float(np.percentile(finite, percent)))
    else:
        assert got is None


@given(lengths, lengths, st.sampled_from([0.5, 1.0, 2.5, math.inf]))
def test_parts_add_up(one: list[float], other: list[float], cutoff: float) -> None:
    parts = DistanceCounts.of(np.array(one), cutoff) + DistanceCounts.of(np.array(other), cutoff)
    whole = DistanceCounts.of(np.array(one + other), cutoff)
    assert parts.to_dict() == whole.to_dict()
    assert whole.total == len(one) + len(other)
    assert DistanceCounts.from_dict(whole.to_dict()).to_dict() == whole.to_dict()
