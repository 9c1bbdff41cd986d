from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays
from skimage.morphology import skeletonize

from vpbsd.metrics import centreline, cldice


def _tube(shape: tuple[int, int, int], z: int, y: int, radius: int) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[z - radius : z + radius + 1, y - radius : y + radius + 1, :] = True
    return mask


def test_the_centreline_of_a_tube_is_its_axis() -> None:
    line = centreline(_tube((9, 9, 20), 4, 4, 2))
    z, y, _ = np.nonzero(line)
    assert set(z) == {4}
    assert set(y) == {4}
    assert line.any(axis=(0, 1)).sum() >= 15


def test_a_thin_prediction_of_a_thick_tube_is_perfect_though_its_dice_is_not() -> None:
    got = cldice(_tube((9, 9, 20), 4, 4, 1), _tube((9, 9, 20), 4, 4, 2))
    assert (got.topology_precision, got.topology_sensitivity, got.cldice) == (1.0, 1.0, 1.0)


def test_one_of_two_tubes_found() -> None:
    first, second = _tube((9, 20, 30), 4, 4, 1), _tube((9, 20, 30), 4, 14, 1)
    got = cldice(first, first | second)
    assert got.topology_precision == 1.0
    assert got.topology_sensitivity == pytest.approx(0.5)
    assert got.cldice == pytest.approx(2 / 3)


def test_two_tubes_where_one_is() -> None:
    first, second = _tube((9, 20, 30), 4, 4, 1), _tube((9, 20, 30), 4, 14, 1)
    got = cldice(first | second, first)
    assert got.topology_precision == pytest.approx(0.5)
    assert got.topology_sensitivity == 1.0


def test_apart() -> None:
    got = cldice(_tube((9, 20, 30), 4, 4, 1), _tube((9, 20, 30), 4, 14, 1))
    assert (got.topology_precision, got.topology_sensitivity, got.cldice) == (0.0, 0.0, 0.0)


def test_empty() -> None:
    nothing, tube = np.zeros((9, 9, 20), bool), _tube((9, 9, 20), 4, 4, 2)
    assert cldice(nothing, nothing).cldice == 1.0
    for got in (cldice(nothing, tube), cldice(tube, nothing)):
        assert (got.topology_precision, got.topology_sensitivity, got.cldice) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_a_small_cube_does_not_vanish(size: int) -> None:
    mask = np.zeros((8, 8, 8), bool)
    mask[2 : 2 + size, 2 : 2 + size, 2 : 2 + size] = True
    assert centreline(mask).any()


@given(arrays(bool, (6, 7, 8)))
def test_a_centreline_is_a_subset_and_cropping_changes_nothing(mask: np.ndarray) -> None:
    line = centreline(mask)
    assert not (line & ~mask).any()
    assert line.any() == mask.any()
    framed = np.pad(mask, 3)
    assert np.array_equal(centreline(framed), skeletonize(framed, method="lee") != 0)
    assert np.array_equal(centreline(framed)[3:-3, 3:-3, 3:-3], line)
