"""Simple points: voxels that may go without changing the topology of a mask.

Vessels are 26-connected and the background is 6-connected. A vessel voxel is *simple* when

- its vessel neighbours among the 26 form exactly one 26-connected piece, and
- its background neighbours among the 18 that share a face or an edge with it form exactly one
  6-connected piece that touches it by a face

(Bertrand and Malandain, Pattern Recognition Letters 15, 1994). Removing one simple voxel keeps the
number of pieces, loops and cavities.

The 3 × 3 × 3 neighbourhood is one integer of 27 bits: bit ``9 z + 3 y + x`` with z, y, x in 0..2,
so the voxel itself is bit 13. Pieces are grown with shifts of the whole integer instead of one
voxel at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

__all__ = ["compiled", "is_simple"]

_F = TypeVar("_F", bound=Callable[..., Any])


def compiled(function: _F) -> _F:
    """Compile ``function`` to machine code that holds no interpreter lock, kept between runs."""
    return cast(_F, numba.njit(nogil=True, cache=True)(function))


def _bits(keep: Callable[[int, int, int], bool]) -> int:
    """Return the voxels (z, y, x in -1..1) that ``keep`` accepts, as bits."""
    steps = (-1, 0, 1)
    places = [(z, y, x) for z in steps for y in steps for x in steps]
    return sum(1 << bit for bit, place in enumerate(places) if keep(*place))


_CENTRE = 1 << 13
_FACES = _bits(lambda z, y, x: abs(z) + abs(y) + abs(x) == 1)
_FACES_AND_EDGES = _bits(lambda z, y, x: abs(z) + abs(y) + abs(x) in {1, 2})
_ALL = (1 << 27) - 1
# Bits that may move one step up or down an axis without leaving the cube.
_X_UP, _X_DOWN = _bits(lambda z, y, x: x < 1), _bits(lambda z, y, x: x > -1)
_Y_UP, _Y_DOWN = _bits(lambda z, y, x: y < 1), _bits(lambda z, y, x: y > -1)


@compiled
def is_simple(neighbourhood: int) -> bool:
    """Whether the voxel in the middle of a neighbourhood of 27 bits is simple.

    Parameters
    ----------
    neighbourhood
        The vessel voxels of the 3 × 3 × 3 cube, bit ``9 z + 3 y + x``; the bit of the voxel itself
        is not looked at.
    """
    vessel = neighbourhood & (_ALL ^ _CENTRE)
    background = ~neighbourhood & _FACES_AND_EDGES
    open_faces = background & _FACES
    if vessel == 0 or open_faces == 0:
        return False
    piece = open_faces & -open_faces
    while True:
        grown = (
            piece
            | (piece & _X_UP) << 1
            | (piece & _X_DOWN) >> 1
            | (piece & _Y_UP) << 3
            | (piece & _Y_DOWN) >> 3
            | piece << 9
            | piece >> 9
        ) & background
        if grown == piece:
            break
        piece = grown
    if open_faces & ~piece:
        return False
    piece = vessel & -vessel
    while True:
        grown = piece | (piece & _X_UP) << 1 | (piece & _X_DOWN) >> 1
        grown = grown | (grown & _Y_UP) << 3 | (grown & _Y_DOWN) >> 3
        grown = (grown | grown << 9 | grown >> 9) & vessel
        if grown == piece:
            break
        piece = grown
    return piece == vessel
