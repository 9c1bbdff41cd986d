from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import distance_transform_edt

from vpbsd.errors import ConfigError, DataError
from vpbsd.geometry import Box, VoxelSize
from vpbsd.metrics import (
    centreline,
    centreline_distances,
    centreline_match,
    centreline_match_voxels,
    cldice,
)
from vpbsd.metrics.tolerance import within

ONE = VoxelSize(1, 1, 1)


def _line(z: int, y: int, start: int = 0, stop: int = 12) -> np.ndarray:
    """A line along x, one voxel wide, which is its own centreline."""
    mask = np.zeros((9, 9, 12), bool)
    mask[z, y, start:stop] = True
    return mask


def test_a_line_three_planes_away() -> None:
    distances = centreline_distances(_line(5, 4), _line(2, 4), VoxelSize(5, 2, 2))
    assert distances.prediction_to_truth.tolist() == [15.0] * 12
    assert distances.truth_to_prediction.tolist() == [15.0] * 12
    assert centreline_match(_line(5, 4), _line(2, 4), VoxelSize(5, 2, 2), 14.9).f1 == 0.0
    assert centreline_match(_line(5, 4), _line(2, 4), VoxelSize(5, 2, 2), 15).f1 == 1.0
    # On the grid of indices it is three steps, however thick the planes are.
    assert centreline_match_voxels(_line(5, 4), _line(2, 4), 2.9).f1 == 0.0
    assert centreline_match_voxels(_line(5, 4), _line(2, 4), 3).f1 == 1.0


def test_half_of_a_line_and_one_that_is_not_there() -> None:
    # Truth x 0..11; predicted x 0..5 of it, and a line 6 rows off, x 0..5.
    found = _line(2, 2, 0, 6) | _line(2, 8, 0, 6)
    got = centreline_match_voxels(found, _line(2, 2), 0)
    assert (got.precision, got.recall, got.f1) == (0.5, 0.5, 0.5)
    # Within 2 voxels of x 0..5 are also x = 6 and 7.
    assert centreline_match_voxels(found, _line(2, 2), 2).recall == pytest.approx(8 / 12)
    assert centreline_match_voxels(found, _line(2, 2), 5.9).precision == 0.5
    assert centreline_match_voxels(found, _line(2, 2), 6).precision == 1.0


def test_a_prediction_much_too_wide_gains_nothing() -> None:
    # A slab over the whole width holds the line; its own centreline runs 4 rows away from it.
    slab = np.zeros((9, 17, 60), bool)
    slab[3:6, :, :] = True
    line = np.zeros_like(slab)
    line[4, 1, :] = True
    assert cldice(slab, line).topology_sensitivity == 1.0
    assert centreline_match_voxels(slab, line, 3).recall < 0.2


@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("size_um", [0.994, 1.59, 0.1, 1 / 3])
def test_whole_voxels_in_um_are_not_lost_to_rounding(size_um: float, steps: int) -> None:
    a, b = _line(1, 1), _line(1, 1 + steps)
    size = VoxelSize(size_um, size_um, size_um)
    assert centreline_match(a, b, size, size_um * steps).f1 == 1.0
    assert centreline_match(a, b, size, size_um * steps * 0.9999).f1 == 0.0


def test_empty() -> None:
    nothing, line = np.zeros((9, 9, 12), bool), _line(4, 4)
    both = centreline_match_voxels(nothing, nothing, 1)
    assert (both.precision, both.recall, both.f1) == (1.0, 1.0, 1.0)
    for got in (
        centreline_match_voxels(nothing, line, 100),
        centreline_match_voxels(line, nothing, 100),
    ):
        assert (got.precision, got.recall, got.f1) == (0.0, 0.0, 0.0)


@given(
    arrays(bool, (5, 6, 7)),
    arrays(bool, (5, 6, 7)),
    st.sampled_from([0.0, 1.0, 1.5, 2.0, 3.0]),
    st.sampled_from([ONE, VoxelSize(2, 1, 1), VoxelSize(0.7, 1.1, 3)]),
)
def test_scipys_distance_transform_agrees(
    p: np.ndarray, t: np.ndarray, tolerance: float, size: VoxelSize
) -> None:
    got = centreline_match(p, t, size, tolerance)
    line_p, line_t = centreline(p), centreline(t)
    assert (got.predicted, got.true) == (line_p.sum(), line_t.sum())
    for line, other, matched in (
        (line_p, line_t, got.predicted_matched),
        (line_t, line_p, got.true_matched),
    ):
        if other.any():
            away = distance_transform_edt(~other, sampling=size.zyx_um)[line]
            assert matched == np.count_nonzero(away <= tolerance + 1e-9)
        else:
            assert matched == 0


@given(arrays(bool, (8, 8, 8)), arrays(bool, (8, 8, 8)), st.integers(0, 8), st.integers(0, 3))
def test_parts_count_what_the_whole_counts(
    line: np.ndarray, other: np.ndarray, cut: int, tolerance: int
) -> None:
    whole = within(line, other, Box.whole(line.shape), tolerance)
    boxes = [Box((0, 0, 0), (8, cut, 8)), Box((0, cut, 0), (8, 8, 8))]
    assert sum(within(line, other, box, tolerance) for box in boxes) == whole


@pytest.mark.parametrize("tolerance", [-1.0, float("nan"), float("inf")])
def test_bad_tolerance(tolerance: float) -> None:
    with pytest.raises(ConfigError, match="tolerance"):
        centreline_match_voxels(_line(1, 1), _line(1, 1), tolerance)


def test_bad_masks() -> None:
    with pytest.raises(DataError, match="different shapes"):
        centreline_distances(_line(1, 1), _line(1, 1)[1:], ONE)
    with pytest.raises(DataError, match="threshold"):
        centreline_match_voxels(_line(1, 1) * 0.5, _line(1, 1), 1)
