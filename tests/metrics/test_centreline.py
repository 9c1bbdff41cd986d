from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays
from skimage.measure import label
from skimage.morphology import skeletonize

from vpbsd.metrics import BettiNumbers, betti_numbers, centreline, cldice


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


@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (2, 2, 2), (4, 4, 4), (4, 4, 20), (1, 4, 4), (2, 30, 30)]
)
def test_no_piece_vanishes(shape: tuple[int, int, int]) -> None:
    piece = np.pad(np.ones(shape, bool), 2)
    both = np.concatenate([piece, _tube(piece.shape, 2, 2, 0), piece])
    line = centreline(both)
    assert line[: len(piece)].any()
    assert line[-len(piece) :].any()
    assert cldice(piece, piece).cldice == 1.0


def test_a_vanished_piece_keeps_the_voxel_at_its_centre() -> None:
    cube = np.zeros((9, 9, 9), bool)
    cube[2:6, 2:6, 2:6] = True
    places = np.argwhere(centreline(cube))
    assert len(places) == 1
    assert set(places.ravel().tolist()) <= {3, 4}


def test_pieces_and_loops_are_kept() -> None:
    ring = np.zeros((7, 15, 15), bool)
    ring[2:5, 2:13, 2:13] = True
    ring[:, 5:10, 5:10] = False
    mask = np.concatenate([ring, np.pad(np.ones((4, 4, 4), bool), ((2, 1), (5, 6), (5, 6))), ring])
    line = centreline(mask)
    assert betti_numbers(line) == betti_numbers(mask) == BettiNumbers(3, 2, 0)
    assert line.sum() < mask.sum() / 5


@given(arrays(bool, (6, 7, 8)))
def test_thinning_on_the_occupied_box_equals_thinning_the_whole(mask: np.ndarray) -> None:
    line = centreline(mask)
    framed = np.pad(mask, 3)
    assert np.array_equal(centreline(framed)[3:-3, 3:-3, 3:-3], line)
    whole = (skeletonize(framed, method="lee") != 0)[3:-3, 3:-3, 3:-3]
    added = line & ~whole
    assert not (whole & ~line).any()
    assert not (line & ~mask).any()
    # Only pieces that the library loses gain a voxel, one each.
    labels = label(mask, connectivity=3)
    lost = set(np.unique(labels[mask])) - set(np.unique(labels[whole]))
    assert sorted(labels[added].tolist()) == sorted(lost)
