"""Cut a volume into blocks whose results, side by side, are the result of one pass.

Along one axis, with stride ``s`` and halo ``h`` (``|`` = multiples of ``s``)::

    volume    0 ............................ n
    padded    |   |   |   |   |   |   |   |   |  padded shape = n rounded up to a multiple of s
    write                 [=======)              blocks tile the volume, starting at multiples of s
    read              [---=========---)          write grown by h, rounded out to multiples of s,
                                                 clipped to [0, padded shape]

A net that downsamples by ``s`` gives equal results only under shifts by multiples of ``s``, hence
the alignment. A read box that stops short of the volume's border leaves out only voxels farther
than ``h`` from everything written; one that touches the padded border sees the border that a
single pass sees. With ``h`` at least the receptive-field radius, cropping the halo therefore
loses nothing: the cut does not change the result.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import overload

from vpbsd.errors import ConfigError
from vpbsd.geometry import Box, Triplet, as_triplet

__all__ = ["Block", "Plan", "choose_block", "plan_blocks", "projected_peak_bytes"]

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Block:
    """One unit of work.

    Attributes
    ----------
    index
        Position in the plan, z slowest.
    write
        Voxels this block alone is responsible for; inside the volume.
    read
        Voxels needed to compute them; inside the padded volume, so it may stick out of the volume
        at the high end.
    """

    index: int
    write: Box
    read: Box

    @property
    def crop(self) -> Box:
        """The write box in coordinates of the read box: what remains when the halo is cut off."""
        return self.write.relative_to(self.read)


@dataclass(frozen=True, slots=True)
class Plan(Sequence[Block]):
    """All blocks of a volume, as a lazy sequence: a block is computed when it is asked for.

    Build one with :func:`plan_blocks`, which checks the arguments. All attributes are in voxels
    along (z, y, x).
    """

    shape: Triplet
    block: Triplet
    halo: Triplet
    stride: Triplet

    @property
    def counts(self) -> Triplet:
        """Number of blocks along each axis."""
        return _triplet(-(-n // b) for n, b in zip(self.shape, self.block, strict=True))

    @property
    def padded_shape(self) -> Triplet:
        """Shape rounded up to multiples of the stride."""
        return _triplet(_round_up(n, s) for n, s in zip(self.shape, self.stride, strict=True))

    @property
    def overhead(self) -> float:
        """Voxels read over voxels of the volume; 1 means that nothing is computed twice."""
        read = math.prod(
            sum(b - a for a, b in (self._read_span(axis, i) for i in range(count)))
            for axis, count in enumerate(self.counts)
        )
        return read / math.prod(self.shape)

    @property
    def largest_read(self) -> Triplet:
        """Shape that holds every read box."""
        return _triplet(
            max(b - a for a, b in (self._read_span(axis, i) for i in range(count)))
            for axis, count in enumerate(self.counts)
        )

    def __len__(self) -> int:
        return math.prod(self.counts)

    @overload
    def __getitem__(self, index: int) -> Block: ...
    @overload
    def __getitem__(self, index: slice) -> list[Block]: ...
    def __getitem__(self, index: int | slice) -> Block | list[Block]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        number = operator.index(index)
        if number < 0:
            number += len(self)
        if not 0 <= number < len(self):
            raise IndexError(f"block {index} of a plan of {len(self)} blocks")
        _, rows, columns = self.counts
        place = (number // (rows * columns), number // columns % rows, number % columns)
        write = [self._write_span(axis, i) for axis, i in enumerate(place)]
        read = [self._read_span(axis, i) for axis, i in enumerate(place)]
        return Block(number, _box(write), _box(read))

    def __iter__(self) -> Iterator[Block]:
        # Spans are found once an axis, not once a block: there may be millions.
        spans = [
            [(self._write_span(axis, i), self._read_span(axis, i)) for i in range(count)]
            for axis, count in enumerate(self.counts)
        ]
        for index, ((wz, rz), (wy, ry), (wx, rx)) in enumerate(product(*spans)):
            yield Block(
                index,
                Box((wz[0], wy[0], wx[0]), (wz[1], wy[1], wx[1])),
                Box((rz[0], ry[0], rx[0]), (rz[1], ry[1], rx[1])),
            )

    def _write_span(self, axis: int, i: int) -> Span:
        step = self.block[axis]
        return i * step, min((i + 1) * step, self.shape[axis])

    def _read_span(self, axis: int, i: int) -> Span:
        start, stop = self._write_span(axis, i)
        stride, halo = self.stride[axis], self.halo[axis]
        return (
            max(0, (start - halo) // stride * stride),
            min(_round_up(stop + halo, stride), _round_up(self.shape[axis], stride)),
        )


def plan_blocks(
    shape: Sequence[int],
    block: int | Sequence[int],
    halo: int | Sequence[int] = 0,
    stride: int | Sequence[int] = 1,
) -> Plan:
    """Plan the blocks of a volume.

    Parameters
    ----------
    shape
        Volume in voxels (z, y, x).
    block
        Edges of the written blocks; multiples of ``stride``. The last block of an axis may be
        smaller.
    halo
        Voxels that the operation looks beyond a voxel, on each side: at least its
        receptive-field radius.
    stride
        The operation repeats itself only under shifts by multiples of this.

    Raises
    ------
    ConfigError
        If a number is out of range, or blocks would start between two multiples of the stride.
    """
    plan = Plan(as_triplet(shape), as_triplet(block), as_triplet(halo), as_triplet(stride))
    if min(plan.shape) < 1:
        raise ConfigError(f"cannot cut a volume of shape {plan.shape}: every edge must be >= 1")
    if min(plan.block) < 1 or min(plan.stride) < 1 or min(plan.halo) < 0:
        raise ConfigError(
            f"block {plan.block} and stride {plan.stride} must be at least 1 voxel and "
            f"halo {plan.halo} at least 0"
        )
    if any(b % s for b, s in zip(plan.block, plan.stride, strict=True)):
        fitting = _triplet(_round_up(b, s) for b, s in zip(plan.block, plan.stride, strict=True))
        raise ConfigError(
            f"block {plan.block} must be a multiple of the net's stride {plan.stride}, or blocks "
            f"would not meet without seams; use {fitting}"
        )
    return plan


def projected_peak_bytes(
    plan: Plan, *, read_bytes_per_voxel: float, write_bytes_per_voxel: float = 0.0
) -> int:
    """Memory that the largest block of a plan needs, in bytes, beside the program itself.

    ``largest read box * read_bytes_per_voxel + block * write_bytes_per_voxel``: it does not
    contain the size of the volume.
    """
    return math.ceil(
        math.prod(plan.largest_read) * read_bytes_per_voxel
        + math.prod(plan.block) * write_bytes_per_voxel
    )


def choose_block(
    shape: Sequence[int],
    halo: int | Sequence[int],
    stride: int | Sequence[int],
    *,
    limit_voxels: int,
    unit: int = 64,
) -> Triplet:
    """Return the block edges that compute the fewest voxels twice within ``limit_voxels``.

    Every axis is cut into 1, 2, 3 … blocks as equal as ``unit`` allows. Among all combinations
    whose read box holds at most ``limit_voxels``, the one that reads the fewest voxels is taken,
    and among equals the one with the smallest read box. An axis of the volume shorter than a unit
    is covered by one block. The result is at least one unit (or the volume) along each axis even
    where that passes the limit.

    Parameters
    ----------
    shape, halo, stride
        As in :func:`plan_blocks`.
    limit_voxels
        Largest read box.
    unit
        Edges are multiples of this, the chunk edge of the output; where the stride does not
        divide it, of the largest multiple of the stride below it (or of the stride itself).
    """
    size, reach, steps = as_triplet(shape), as_triplet(halo), as_triplet(stride)
    units = [s * max(1, unit // s) for s in steps]
    axes = [
        _cuts(n, h, s, u, limit_voxels)
        for n, h, s, u in zip(size, reach, steps, units, strict=True)
    ]
    fitting = [
        (cut_z.reads * cut_y.reads * cut_x.reads, largest, (cut_z.edge, cut_y.edge, cut_x.edge))
        for cut_z, cut_y, cut_x in product(*axes)
        if (largest := cut_z.largest * cut_y.largest * cut_x.largest) <= limit_voxels
    ]
    smallest = _triplet([min(cut.edge for cut in cuts) for cuts in axes])
    return min(fitting)[2] if fitting else smallest


@dataclass(frozen=True, slots=True)
class _Cut:
    """Blocks along one axis: their edge, the longest read, and all reads together."""

    edge: int
    largest: int
    reads: int


def _cuts(size: int, halo: int, stride: int, unit: int, limit: int) -> list[_Cut]:
    """Return the ways to cut an axis into blocks as equal as the unit allows, the longest first."""
    cuts: dict[int, _Cut] = {}
    # Longer blocks than this would pass the limit even if they were as thin as they can be.
    most = -(-size // unit)
    fewest = min(most, max(1, size * unit * unit // max(limit, 1)))
    for count in range(fewest, most + 1):
        edge = -(-size // count)
        edge = _round_up(edge, unit if size > unit else stride)
        if edge not in cuts:
            one = Plan((size, 1, 1), (edge, 1, 1), (halo, 0, 0), (stride, 1, 1))
            spans = [b - a for a, b in (one._read_span(0, i) for i in range(one.counts[0]))]
            cuts[edge] = _Cut(edge, max(spans), sum(spans))
    return list(cuts.values())


def _round_up(value: int, step: int) -> int:
    return -(-value // step) * step


def _triplet(values: Iterator[int] | Sequence[int]) -> Triplet:
    return as_triplet(list(values))


def _box(spans: Sequence[Span]) -> Box:
    return Box(_triplet([a for a, _ in spans]), _triplet([b for _, b in spans]))
