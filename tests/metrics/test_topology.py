from __future__ import annotations

import gudhi
import numpy as np
import pytest

from vpbsd.errors import ConfigError
from vpbsd.metrics import (
    BettiErrors,
    BettiNumbers,
    BlockBettiErrors,
    betti_errors,
    betti_errors_per_block,
    betti_numbers,
)


def _ball(radius: float) -> np.ndarray:
    z, y, x = np.mgrid[-6:7, -6:7, -6:7]
    return z**2 + y**2 + x**2 <= radius**2


def _ring() -> np.ndarray:
    mask = np.zeros((5, 9, 9), bool)
    mask[1:4, 1:8, 1:8] = True
    mask[:, 3:6, 3:6] = False
    return mask


def _two(mask: np.ndarray) -> np.ndarray:
    return np.concatenate([mask, np.zeros_like(mask), mask])


SHAPES = {
    "nothing": (np.zeros((4, 4, 4), bool), BettiNumbers(0, 0, 0)),
    "everything": (np.ones((4, 4, 4), bool), BettiNumbers(1, 0, 0)),
    "ball": (_ball(4), BettiNumbers(1, 0, 0)),
    "hollow ball": (_ball(5) & ~_ball(3), BettiNumbers(1, 0, 1)),
    "ball in a hollow ball": (_ball(6) & ~_ball(4) | _ball(2), BettiNumbers(2, 0, 1)),
    "ring": (_ring(), BettiNumbers(1, 1, 0)),
    "ring at the border": (_ring()[1:4, 1:8, 1:8], BettiNumbers(1, 1, 0)),
    "two rings": (_two(_ring()), BettiNumbers(2, 2, 0)),
    "voxels that touch at a corner": (
        np.eye(2, dtype=bool)[:, :, None] & np.eye(2, dtype=bool),
        BettiNumbers(1, 0, 0),
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_known_shapes(name: str) -> None:
    mask, expected = SHAPES[name]
    assert betti_numbers(mask) == expected


def test_euler_characteristic_of_a_ring_with_a_cavity() -> None:
    assert BettiNumbers(components=1, loops=1, cavities=1).euler == 1


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_gudhi_agrees(share: float) -> None:
    rng = np.random.default_rng(int(share * 10))
    for _ in range(4):
        mask = rng.random((7, 8, 9)) < share
        # Foreground enters at 0 as closed cubes, which share faces, edges and corners.
        complex_ = gudhi.CubicalComplex(top_dimensional_cells=np.where(mask, 0.0, 1.0))
        complex_.compute_persistence(homology_coeff_field=2, min_persistence=-1)
        expected = [complex_.persistent_betti_numbers(0.5, 0.5)[d] for d in range(3)]
        got = betti_numbers(mask)
        assert [got.components, got.loops, got.cavities] == expected


def test_errors_are_absolute() -> None:
    ring, nothing = _ring(), np.zeros((5, 9, 9), bool)
    # A ring has one piece and one loop, hence the Euler characteristic of nothing.
    assert betti_errors(nothing, ring) == BettiErrors(1, 1, 0, euler=0)
    assert betti_errors(ring, nothing) == BettiErrors(1, 1, 0, euler=0)
    assert betti_errors(ring, ring) == BettiErrors(0, 0, 0, euler=0)
    assert betti_errors(_two(_ball(4)), _ball(4).repeat(3, 0)) == BettiErrors(1, 0, 0, euler=1)


def test_errors_that_cancel_over_the_volume_do_not_per_block() -> None:
    # A ring found as a disc in the first half, a disc found as a ring in the second.
    disc = _ring() | True
    prediction, truth = np.concatenate([disc, _ring()]), np.concatenate([_ring(), disc])
    disc[0] = disc[-1] = False
    assert betti_errors(prediction, truth) == BettiErrors(0, 0, 0, euler=0)
    got = betti_errors_per_block(prediction, truth, (5, 9, 9))
    assert got == BlockBettiErrors(BettiErrors(0, 2, 0, euler=2), 2)
    assert (got.betti_0, got.betti_1, got.betti_2, got.euler) == (0.0, 1.0, 0.0, 1.0)


def test_a_block_is_counted_on_its_own() -> None:
    # A line through four blocks of x, found in the first: one piece each is missing from three.
    truth = np.zeros((3, 3, 14), bool)
    truth[1, 1] = True
    found = truth.copy()
    found[..., 4:] = False
    got = betti_errors_per_block(found, truth, (3, 3, 4))
    assert got == BlockBettiErrors(BettiErrors(3, 0, 0, euler=3), 4)
    assert got.betti_0 == 0.75
    assert betti_errors_per_block(found, truth, 100).betti_0 == 0.0
    assert got + got == BlockBettiErrors(BettiErrors(6, 0, 0, euler=6), 8)


@pytest.mark.parametrize("edge", [0, -1, (4, 4)])
def test_bad_edge(edge: object) -> None:
    with pytest.raises(ConfigError):
        betti_errors_per_block(_ring(), _ring(), edge)  # type: ignore[arg-type]
