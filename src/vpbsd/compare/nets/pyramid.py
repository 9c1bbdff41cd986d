"""By which factors a rival net goes from level to level, for thin stacks as for cubes."""

from __future__ import annotations

from itertools import accumulate

from vpbsd.config import RunConfig
from vpbsd.geometry import Triplet, as_triplet

__all__ = ["multiple_of", "pyramid"]

_HALF: Triplet = (2, 2, 2)


def pyramid(
    config: RunConfig, levels: int | None = None, *, least_cells: int = 3
) -> tuple[Triplet, ...]:
    """Return the (z, y, x) downsampling factors between the levels of a net.

    The first are those of our student, so that planes far apart are spared as long as they are
    there; each further one halves. An axis is divided only while the patch of the ``distill``
    stage, of which ``least_cells`` must remain, can be divided evenly.

    Parameters
    ----------
    config
        Its ``student.downsampling`` and ``distill.patch_voxels``.
    levels
        Number of factors, of which the last may be 1 on a small patch; by default as many as
        divide any axis.
    least_cells
        Edge below which a grid is not divided further.
    """
    first = config.student.downsampling
    cells = list(config.distill.patch_voxels)
    factors: list[Triplet] = []
    while levels is None or len(factors) < levels:
        wanted = first[len(factors)] if len(factors) < len(first) else _HALF
        factor = as_triplet(
            [
                f if n % f == 0 and n // f >= least_cells else 1
                for n, f in zip(cells, wanted, strict=True)
            ]
        )
        if levels is None and max(factor) == 1:
            break
        factors.append(factor)
        cells = [n // f for n, f in zip(cells, factor, strict=True)]
    return tuple(factors)


def multiple_of(factors: tuple[Triplet, ...]) -> Triplet:
    """Return the product of all factors: what the edges of an input must be multiples of."""
    *_, last = accumulate(
        factors, lambda a, b: as_triplet([x * y for x, y in zip(a, b, strict=True)])
    )
    return last
