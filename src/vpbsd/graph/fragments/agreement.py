"""Whether blocks agree on the voxels around their faces, and what is done where they do not.

Each fragment tells its block's skeleton in a rim of one voxel around it. The block that owns those
voxels tells them too, seen with context on all sides. They differ only where one of the two had
too little of it: both are then computed again with twice the halo.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from vpbsd.blockwise import Block, Plan
from vpbsd.geometry import Box, Triplet
from vpbsd.graph.fragments.fragment import Fragment

__all__ = ["ChosenBlocks", "disagreeing", "with_halo"]


@dataclass(frozen=True, slots=True)
class ChosenBlocks(Plan):
    """Some blocks of a plan; each keeps the index that it has among all.

    Attributes
    ----------
    chosen
        Indices in the whole plan, ascending.
    """

    chosen: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, index: int | slice) -> Block | list[Block]:  # type: ignore[override]
        if isinstance(index, slice):
            return [Plan(*self._whole())[i] for i in self.chosen[index]]
        return Plan(*self._whole())[self.chosen[index]]

    def __iter__(self) -> Iterator[Block]:
        whole = Plan(*self._whole())
        return (whole[i] for i in self.chosen)

    def _whole(self) -> tuple[Triplet, Triplet, Triplet, Triplet]:
        return self.shape, self.block, self.halo, self.stride


def with_halo(plan: Plan, halo: Triplet, chosen: Iterable[int]) -> ChosenBlocks:
    """Return some blocks of a plan with another halo."""
    return ChosenBlocks(plan.shape, plan.block, halo, plan.stride, tuple(sorted(chosen)))


@dataclass(frozen=True, slots=True, eq=False)
class _Faces:
    """What a fragment tells of the voxels around its faces: indices, and (n, 3) positions."""

    rim: NDArray[np.int64]
    rim_zyx: NDArray[np.int64]
    skin: NDArray[np.int64]
    skin_zyx: NDArray[np.int64]

    @classmethod
    def of(cls, fragment: Fragment, shape: Triplet) -> _Faces:
        rim, skin = fragment.rim, fragment.skin
        return cls(rim, _positions(rim, shape), skin, _positions(skin, shape))


def _positions(voxels: NDArray[np.int64], shape: Triplet) -> NDArray[np.int64]:
    return np.stack(np.unravel_index(voxels, shape), axis=-1)


def disagreeing(
    plan: Plan, kept: Sequence[int], read: Callable[[int], Fragment]
) -> list[tuple[int, int]]:
    """Return the pairs of blocks that see another skeleton around a common face, edge or corner.

    Memory holds the faces of one layer of blocks.

    Parameters
    ----------
    plan
        The whole plan.
    kept
        Indices of the blocks that have a fragment, ascending; in the others there is no skeleton.
    read
        Returns the fragment of a block; called once for each.
    """
    there = set(kept)
    nothing = _Faces.of(Fragment.empty(), plan.shape)
    held: dict[int, _Faces] = {}

    def faces(index: int) -> _Faces:
        if index not in there:
            return nothing
        if index not in held:
            held[index] = _Faces.of(read(index), plan.shape)
        return held[index]

    found = []
    for index in kept:
        for other in _neighbours(plan, index):
            # Each pair once; a block without a fragment has no turn of its own.
            if other < index and other in there:
                continue
            if not _agree(plan[index], faces(index), plan[other], faces(other)):
                found.append((min(index, other), max(index, other)))
        held.pop(index, None)
    return sorted(found)


def _neighbours(plan: Plan, index: int) -> Iterator[int]:
    """Yield the blocks that share a face, an edge or a corner with a block."""
    depth, rows, columns = plan.counts
    z, y, x = index // (rows * columns), index // columns % rows, index % columns
    for dz, dy, dx in product((-1, 0, 1), repeat=3):
        at = (z + dz, y + dy, x + dx)
        inside = all(0 <= i < n for i, n in zip(at, (depth, rows, columns), strict=True))
        if inside and (dz or dy or dx):
            yield (at[0] * rows + at[1]) * columns + at[2]


def _agree(one: Block, ours: _Faces, two: Block, theirs: _Faces) -> bool:
    return _same(one, ours, two, theirs) and _same(two, theirs, one, ours)


def _same(one: Block, ours: _Faces, two: Block, theirs: _Faces) -> bool:
    """Whether the rim of ``one`` inside ``two`` is what ``two`` says of it."""
    common = one.write.grow(1).intersect(two.write)
    return np.array_equal(
        ours.rim[_within(ours.rim_zyx, common)], theirs.skin[_within(theirs.skin_zyx, common)]
    )


def _within(zyx: NDArray[np.int64], box: Box) -> NDArray[np.bool_]:
    return np.asarray(((zyx >= box.start) & (zyx < box.stop)).all(axis=1))
