"""Neighbouring boxes read without decoding a chunk twice.

::

    blocks with halo                 chunks that a block touches beyond its own
    ┌───┬───┬───┐                    are kept for the next block, the oldest go first
    │ ▒▒│▒▒▒│▒  │  read(box) ──►     missing chunks are fetched in few, large, aligned boxes
    │ ▒▒│▒▒▒│▒  │
    └───┴───┴───┘
"""

from __future__ import annotations

import itertools
import math
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpbsd.geometry import Box, Triplet, as_triplet
from vpbsd.volumes.volume import Volume

__all__ = ["CachedVolume", "decode_factor"]

# Chunks smaller than this (a TIFF strip of two rows) are held together in cells of several, since
# each entry costs some microseconds, whatever its size.
_LEAST_CELL_VOXELS = 1 << 15
# What one call may bring at most: a read's own memory beside the cache.
_FETCH_BYTES = 64 << 20
# Beyond this many visits to cells, decode_factor() looks at a coarser grid.
_SIMULATED_VISITS = 2_000_000

_Slices = tuple[slice, slice, slice]


@dataclass(frozen=True, slots=True)
class _Grid:
    """A volume's (z, y, x) cut into cells, each one or several whole chunks."""

    shape: Triplet
    cell: Triplet

    @classmethod
    def of(cls, shape: Triplet, chunk: Triplet) -> _Grid:
        grid = cls(shape, as_triplet([min(c, n) for c, n in zip(chunk, shape, strict=True)]))
        while math.prod(grid.cell) < min(_LEAST_CELL_VOXELS, math.prod(shape)):
            grid = grid.doubled()
        return grid

    def doubled(self) -> _Grid:
        """Return the grid with cells twice as long along their shortest edge that can grow."""
        growing = [a for a in range(3) if self.cell[a] < self.shape[a]]
        at = min(growing, key=lambda a: self.cell[a])
        cell = list(self.cell)
        cell[at] = min(2 * cell[at], self.shape[at])
        return _Grid(self.shape, as_triplet(cell))

    @property
    def count(self) -> Triplet:
        """Number of cells along (z, y, x)."""
        return as_triplet([-(-n // c) for n, c in zip(self.shape, self.cell, strict=True)])

    def covering(self, box: Box) -> Box:
        """Return the cells, by index, that a box of voxels touches."""
        start = [a // c for a, c in zip(box.start, self.cell, strict=True)]
        stop = [-(-b // c) for b, c in zip(box.stop, self.cell, strict=True)]
        return Box(as_triplet(start), as_triplet(stop))

    def voxels(self, cells: Box) -> Box:
        """Return the voxels of a box of cells."""
        start = [a * c for a, c in zip(cells.start, self.cell, strict=True)]
        stop = [b * c for b, c in zip(cells.stop, self.cell, strict=True)]
        return Box(as_triplet(start), as_triplet(stop)).clip(self.shape)

    def parts(self, box: Box) -> Iterator[tuple[Triplet, _Slices, _Slices]]:
        """Yield each cell that a box touches, and their common part inside the cell and the box."""
        cells = self.covering(box)
        axes: list[list[tuple[int, slice, slice]]] = [[], [], []]
        for axis, parts in enumerate(axes):
            start, stop, length = box.start[axis], box.stop[axis], self.cell[axis]
            for i in range(cells.start[axis], cells.stop[axis]):
                low, high = max(start, i * length), min(stop, (i + 1) * length)
                inside = slice(low - i * length, high - i * length)
                parts.append((i, inside, slice(low - start, high - start)))
        for (z, *at_z), (y, *at_y), (x, *at_x) in itertools.product(*axes):
            yield (z, y, x), (at_z[0], at_y[0], at_x[0]), (at_z[1], at_y[1], at_x[1])

    def slots(self, limit_bytes: int, voxel_bytes: int) -> int:
        """Return how many cells fit into a cache, at most all of them."""
        cell_bytes = math.prod(self.cell) * voxel_bytes
        return min(limit_bytes // cell_bytes, math.prod(self.count))


class CachedVolume(Volume):
    """A volume that keeps the chunks it has decoded, up to a limit, the latest used longest.

    Where a box costs only itself (``volume.chunk_voxels`` is None), or not even one chunk fits
    into the limit, every read goes straight to the volume. Pickled or copied, it starts empty.

    Parameters
    ----------
    volume : Volume
        Where the voxels come from; it must stay open, and closing the cache closes it.
    limit_bytes : int
        Memory for decoded chunks. A read takes, for its own time, at most 64 MiB (or one chunk)
        beside this and the block that it returns.

    Attributes
    ----------
    decoded_voxels : int
        Voxels, each channel counted, of the chunks that reads have decoded so far.
    """

    _reads_new = True

    def __init__(self, volume: Volume, limit_bytes: int) -> None:
        super().__init__(volume.source, volume.shape, volume.dtype, volume.voxel_size_um)
        self.volume = volume
        self.limit_bytes = int(limit_bytes)
        self.decoded_voxels = 0
        chunk = volume.chunk_voxels
        self._grid = None if chunk is None else _Grid.of(self.shape_zyx, chunk)
        self._slots = 0
        if self._grid is not None:
            all_channels = self._voxel_bytes * self.channels
            self._slots = self._grid.slots(limit_bytes, all_channels) * self.channels
        self._start_empty()

    def _start_empty(self) -> None:
        self._fetching = threading.Lock()
        self._cells: NDArray[Any] | None = None  # (slot, z, y, x)
        self._slot_of: OrderedDict[tuple[int, ...], int] = OrderedDict()

    @property
    def _voxel_bytes(self) -> int:
        return self.dtype.itemsize

    @property
    def chunk_voxels(self) -> Triplet | None:
        """As of the volume inside."""
        return self.volume.chunk_voxels

    @property
    def capacity_bytes(self) -> int:
        """What the cache takes when it is full; never more than ``limit_bytes``."""
        if self._grid is None:
            return 0
        return self._slots * math.prod(self._grid.cell) * self._voxel_bytes

    def coarser(self, max_voxels: int) -> tuple[Volume, Triplet] | None:
        """Return a level of the pyramid, which has no cache."""
        return self.volume.coarser(max_voxels)

    def _state(self) -> Iterable[str]:
        return self.volume._state()

    def close(self) -> None:
        """Forget the chunks and close the volume; a later read starts anew."""
        with self._fetching, self._lock:
            self._cells = None
            self._slot_of.clear()
        self.volume.close()

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        for name in ("_fetching", "_cells", "_slot_of"):
            del state[name]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.decoded_voxels = 0
        self._start_empty()

    def _read(self, box: Box, channels: tuple[int, ...]) -> NDArray[Any]:
        if self._grid is None or self._slots == 0:
            decoded = box if self._grid is None else self._grid.voxels(self._grid.covering(box))
            with self._lock:
                self.decoded_voxels += decoded.size_voxels * len(channels)
            return self.volume.read(box, channels)
        out = np.empty((len(channels), *box.shape), self.dtype)
        cells = self._grid.covering(box)
        wanted = np.ones(cells.shape, dtype=bool)
        missing = self._copy_held(self._grid, box, channels, wanted, out)
        if missing.any():
            # One thread fetches at a time; what it brought is not fetched again by the next.
            with self._fetching:
                missing = self._copy_held(self._grid, box, channels, missing, out)
                for part in _boxes_of(missing, self._cells_a_fetch(self._grid, len(channels))):
                    self._fetch(self._grid, part.shift(cells.start), box, channels, out)
        return out

    def _copy_held(
        self,
        grid: _Grid,
        box: Box,
        channels: tuple[int, ...],
        wanted: NDArray[np.bool_],
        out: NDArray[Any],
    ) -> NDArray[np.bool_]:
        """Copy what is held into ``out`` and return which cells are missing in some channel."""
        missing = wanted.copy()
        first = grid.covering(box).start
        with self._lock:
            if self._cells is None:
                return missing
            for cell, inside, target in grid.parts(box):
                index = as_triplet([a - b for a, b in zip(cell, first, strict=True)])
                if not wanted[index]:
                    continue
                slots = [self._slot_of.get((c, *cell)) for c in channels]
                if any(slot is None for slot in slots):
                    continue
                missing[index] = False
                for at, (c, slot) in enumerate(zip(channels, slots, strict=True)):
                    out[(at, *target)] = self._cells[(slot, *inside)]
                    self._slot_of.move_to_end((c, *cell))
        return missing

    def _cells_a_fetch(self, grid: _Grid, channels: int) -> int:
        return max(1, _FETCH_BYTES // (math.prod(grid.cell) * self._voxel_bytes * channels))

    def _fetch(
        self, grid: _Grid, cells: Box, box: Box, channels: tuple[int, ...], out: NDArray[Any]
    ) -> None:
        """Read a box of cells; keep them, and copy what belongs to ``box`` into ``out``."""
        fetched = grid.voxels(cells)
        block = self.volume.read(fetched, channels)
        part = fetched.intersect(box)
        out[(slice(None), *part.relative_to(box).slices)] = block[
            (slice(None), *part.relative_to(fetched).slices)
        ]
        with self._lock:
            self.decoded_voxels += fetched.size_voxels * len(channels)
            if self._cells is None:
                # Pages that no chunk was ever put on take no memory.
                self._cells = np.empty((self._slots, *grid.cell), self.dtype)
            for cell, inside, source in grid.parts(fetched):
                for at, c in enumerate(channels):
                    slot = self._slot_for((c, *cell))
                    self._cells[(slot, *inside)] = block[(at, *source)]

    def _slot_for(self, key: tuple[int, ...]) -> int:
        slot = self._slot_of.pop(key, None)
        if slot is None:
            is_full = len(self._slot_of) == self._slots
            slot = self._slot_of.popitem(last=False)[1] if is_full else len(self._slot_of)
        self._slot_of[key] = slot
        return slot


def decode_factor(volume: Volume, boxes: Sequence[Box], limit_bytes: int) -> float:
    """Return how often a voxel of the volume would be decoded, on average.

    Computed on chunk indices alone, for boxes that are read in this order through one
    :class:`CachedVolume` with all channels. Where the boxes touch millions of chunks, neighbouring
    chunks are taken together, which makes the result a little too large.

    Parameters
    ----------
    volume : Volume
        Only its shape, type and chunks count.
    boxes : sequence of Box
        The read boxes with their halo, inside the volume.
    limit_bytes : int
        Of the cache.

    Returns
    -------
    float
        Voxels decoded over voxels of the volume; without chunks, voxels read over voxels.
    """
    total = math.prod(volume.shape_zyx)
    if volume.chunk_voxels is None:
        return sum(box.size_voxels for box in boxes) / total
    grid = _Grid.of(volume.shape_zyx, volume.chunk_voxels)
    voxel_bytes = volume.dtype.itemsize * volume.channels
    if grid.slots(limit_bytes, voxel_bytes) == 0:
        touched = (grid.voxels(grid.covering(box)).size_voxels for box in boxes)
        return sum(touched) / total
    while (
        _visits(grid, boxes) > _SIMULATED_VISITS
        and grid.cell != grid.shape
        and grid.doubled().slots(limit_bytes, voxel_bytes) > 0
    ):
        grid = grid.doubled()
    return _decoded_voxels(grid, boxes, grid.slots(limit_bytes, voxel_bytes)) / total


def _visits(grid: _Grid, boxes: Sequence[Box]) -> int:
    return sum(grid.covering(box).size_voxels for box in boxes)


def _decoded_voxels(grid: _Grid, boxes: Sequence[Box], slots: int) -> int:
    """Return the voxels of the cells that a cache of ``slots`` cells would fetch."""
    _, rows, columns = grid.count
    edges = [
        [min(c, n - i * c) for i in range(count)]
        for n, c, count in zip(grid.shape, grid.cell, grid.count, strict=True)
    ]
    held: OrderedDict[int, None] = OrderedDict()
    decoded = 0
    for box in boxes:
        cells = grid.covering(box)
        missing = []
        for z, y, x in itertools.product(*map(range, cells.start, cells.stop)):
            key = (z * rows + y) * columns + x
            if key in held:
                held.move_to_end(key)
            else:
                missing.append(key)
                decoded += edges[0][z] * edges[1][y] * edges[2][x]
        for key in missing:
            held[key] = None
            if len(held) > slots:
                held.popitem(last=False)
    return decoded


def _boxes_of(cells: NDArray[np.bool_], most: int) -> Iterator[Box]:
    """Yield few boxes, of at most ``most`` cells each, that cover the marked cells once."""
    left = cells.copy()
    while left.any():
        z, y, x = (int(i) for i in np.unravel_index(int(left.argmax()), left.shape))
        # argmax finds the first marked cell, so that a box only ever grows away from it.
        width = _run(left[z, y, x:], most)
        columns = slice(x, x + width)
        height = _run(np.all(left[z, y:, columns], axis=1), most // width)
        rows = slice(y, y + height)
        depth = _run(np.all(left[z:, rows, columns], axis=(1, 2)), most // (width * height))
        box = Box.at((z, y, x), (depth, height, width))
        left[box.slices] = False
        yield box


def _run(marked: NDArray[np.bool_], most: int) -> int:
    """Return the number of marked items before the first unmarked one, at most ``most``."""
    length = len(marked) if marked.all() else int(marked.argmin())
    return min(length, most)
