"""By which factors nets go down, for cubes, thin stacks and small patches."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vpbsd.compare.nets.pyramid import multiple_of, pyramid
from vpbsd.config import RunConfig

A, P, X = (2, 2, 2), (1, 2, 2), (1, 1, 1)


@pytest.mark.parametrize(
    ("patch", "planes", "levels", "least_cells", "expected"),
    [
        # 48 -> 24 -> 12 -> 6 -> 3 and 64 -> 4
        ((48, 64, 64), A, 4, 3, (A, A, A, A)),
        # nnU-Net's rule: 6 planes are not halved to 3
        ((48, 64, 64), A, None, 4, (A, A, A, P)),
        # 12 -> 12 -> 6 -> 3 -> 3 and 80 -> 5
        ((12, 80, 80), P, 4, 3, (P, A, A, P)),
        # 12 -> 12 -> 6 -> 6 -> 6; 5 cells cannot be halved
        ((12, 80, 80), P, None, 4, (P, A, P, P)),
        ((128, 128, 128), A, None, 4, (A, A, A, A, A)),
        # 16 -> 8 -> 4, and no further
        ((16, 16, 16), A, 4, 3, (A, A, X, X)),
    ],
)
def test_factors(
    a_run: Callable[..., RunConfig],
    patch: tuple[int, int, int],
    planes: tuple[int, int, int],
    levels: int | None,
    least_cells: int,
    expected: tuple[tuple[int, int, int], ...],
) -> None:
    config = a_run(patch, (planes, A))
    assert pyramid(config, levels, least_cells=least_cells) == expected


def test_multiple_of_is_the_product() -> None:
    assert multiple_of((P, A, P)) == (2, 8, 8)
    assert multiple_of((A,)) == A
