"""The zarr arrays of a pyramid: made, compared, written by whole shards, and coarsened.

A *shard* is what one writer writes at once. In version 0.5 it is one file, with an index of the
chunks inside; zarr v2, and with it version 0.4, has no such files: there it is a group of chunks,
each a file of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vpbsd.geometry import Box, Triplet, as_triplet, tile
from vpbsd.volumes import durable
from vpbsd.volumes.layout import OutputLayout
from vpbsd.volumes.pyramid import VolumeKind, downsample

if TYPE_CHECKING:
    from zarr.abc.store import Store

__all__ = [
    "coarsen",
    "create_levels",
    "difference",
    "keys_of",
    "metadata_files",
    "open_level",
    "shard_of",
    "write_shard",
]

# zstd packs a mask twice as small as lz4, but takes twice as long, and a mask is small: 0.05 to 0.1
# bytes per voxel where a third is vessel, less elsewhere. Probabilities pack no better at level 3
# than at 1, at a third of the speed. Images, of which every block is read with its halo, take as
# little room with lz4 (0.848 of the bytes of a simulated brain, against 0.843) and are decoded four
# times as fast.
_CODEC: dict[str, tuple[Any, int]] = {
    "mask": ("lz4", 5),
    "probability": ("zstd", 1),
    "image": ("lz4", 1),
}
_BITSHUFFLE = 2  # as zarr v2 numbers it
_READ_BYTES = 16 << 20


def shard_of(layout: OutputLayout, shape: Triplet) -> Triplet:
    """Return the shard of a level of ``shape``: never more chunks than the level has."""
    edges = zip(layout.shard, layout.chunk, shape, strict=True)
    return as_triplet([min(s, math.ceil(n / c) * c) for s, c, n in edges])


def create_levels(store: Store, layout: OutputLayout, shapes: Iterable[Triplet]) -> None:
    """Make the group and the empty arrays ``0``, ``1``, … of the given shapes (z, y, x)."""
    import zarr

    zarr.create_group(store, zarr_format=3 if layout.ngff == "0.5" else 2)
    ones = (1,) * len(layout.lead)
    for level, shape in enumerate(shapes):
        shards = (*ones, *shard_of(layout, shape))
        zarr.create_array(
            store,
            name=str(level),
            shape=(*layout.lead, *shape),
            dtype=np.dtype(layout.dtype),
            chunks=(*ones, *layout.chunk),
            fill_value=0,
            **(_format_3(layout, shards) if layout.ngff == "0.5" else _format_2(layout)),
        )


def _format_3(layout: OutputLayout, shards: tuple[int, ...]) -> dict[str, Any]:
    from zarr.codecs import BloscCodec

    name, level = _CODEC[layout.kind]
    return {
        "zarr_format": 3,
        "shards": shards,
        "compressors": BloscCodec(cname=name, clevel=level, shuffle="bitshuffle"),
        "dimension_names": [*("c" for _ in layout.lead), "z", "y", "x"],
    }


def _format_2(layout: OutputLayout) -> dict[str, Any]:
    name, level = _CODEC[layout.kind]
    return {
        "zarr_format": 2,
        "compressors": {"id": "blosc", "cname": name, "clevel": level, "shuffle": _BITSHUFFLE},
        # So that a folder never holds more files than one edge of the volume has chunks.
        "chunk_key_encoding": {"name": "v2", "separator": "/"},
    }


def open_level(store: Store, level: int) -> Any:
    """Return the zarr array of a level."""
    import zarr

    return zarr.open_array(store, path=str(level), mode="r" if store.read_only else "r+")


def difference(store: Store, layout: OutputLayout, shapes: Iterable[Triplet]) -> str | None:
    """Return how the arrays in the store differ from those that would be made; None if not."""
    for level, shape in enumerate(shapes):
        try:
            array = open_level(store, level)
        except FileNotFoundError:
            return f"level {level} is not there"
        ones = (1,) * len(layout.lead)
        shards = (*ones, *shard_of(layout, shape)) if layout.ngff == "0.5" else None
        wanted = {
            "shape": (*layout.lead, *shape),
            "type": np.dtype(layout.dtype),
            "chunk": (*ones, *layout.chunk),
            "shard": shards,
        }
        found = {
            "shape": array.shape,
            "type": array.dtype,
            "chunk": array.chunks,
            "shard": array.shards,
        }
        for what, value in wanted.items():
            if found[what] != value:
                return f"level {level} has {what} {found[what]}, not {value}"
    return None


def write_shard(array: Any, shard: Box, values: NDArray[Any], folder: Path | None) -> None:
    """Write one shard, all channels; where it is zero throughout, no file is left.

    Its bytes follow from its values alone, whoever writes it and in whatever order.

    Parameters
    ----------
    array : zarr array, (..., z, y, x)
        A level.
    shard : Box
        Where, in voxels of the level.
    values : ndarray, (..., z, y, x)
        All channels of the shard.
    folder : Path or None
        Where the array lies, if on a local disk: the shard is on the disk on return.
    """
    empty = not values.any()
    files = [] if folder is None else [folder / key for key in keys_of(array, shard)]
    if folder is not None and empty and not any(file.exists() for file in files):
        return
    if array.shards is not None and not empty:
        # Looking for zeros chunk by chunk takes zarr as long as compressing them, to 76 bytes each.
        array = array.with_config({"write_empty_chunks": True})
    array[(..., *shard.slices)] = values
    if folder is not None:
        # A ledger that notes this shard as done must not outlive it in a power cut.
        durable.sync(files, folder)


def keys_of(array: Any, box: Box) -> list[str]:
    """Return the names, inside the array, of all files that a box of whole shards may have."""
    size = as_triplet((array.shards or array.chunks)[-3:])
    spans = [range(a // s, -(-b // s)) for a, b, s in zip(box.start, box.stop, size, strict=True)]
    channels = [range(n) for n in array.shape[:-3]]
    return [array.metadata.encode_chunk_key(at) for at in product(*channels, *spans)]


def metadata_files(folder: Path) -> list[Path]:
    """Return the metadata files of a group on disk and of the arrays in it."""
    names = ("zarr.json", ".zgroup", ".zattrs", ".zarray")
    return [f for name in names for f in (*folder.glob(name), *folder.glob(f"*/{name}"))]


def coarsen(
    source: Any, shape: Triplet, shard: Box, step: Triplet, kind: VolumeKind
) -> NDArray[Any]:
    """Return a shard of a coarser level, reading at most 16 MB of the finer one at a time.

    Parameters
    ----------
    source : zarr array, (..., z, y, x)
        The finer level.
    shape : tuple of int
        (z, y, x) of the finer level.
    shard : Box
        In voxels of the coarser level.
    step : tuple of int
        How much coarser it is along (z, y, x).
    kind : str
        ``mask``, ``probability`` or ``image``.
    """
    lead = source.shape[:-3]
    values = np.zeros((*lead, *shard.shape), source.dtype)
    fine = Box(_times(shard.start, step), _times(shard.stop, step)).clip(shape)
    voxel_bytes = source.dtype.itemsize * math.prod(lead)
    for piece in tile(fine.shape, _piece(source, fine.shape, step, voxel_bytes)):
        block = np.asarray(source[(..., *piece.shift(fine.start).slices)])
        if block.any():
            start = [a // f for a, f in zip(piece.start, step, strict=True)]
            stop = [-(-b // f) for b, f in zip(piece.stop, step, strict=True)]
            there = Box(as_triplet(start), as_triplet(stop))
            values[(..., *there.slices)] = downsample(block, step, kind)
    return values


def _piece(source: Any, extent: Triplet, step: Triplet, voxel_bytes: int) -> Triplet:
    """Return how much of the finer level to read at once.

    Whole shards where they fit, since a part of one costs a request for each chunk; else whole
    chunks. As many as fit, first along x, along which they lie in the source. A window of the
    coarser level never lies in two pieces.
    """
    chunk = as_triplet(source.chunks[-3:])
    whole = as_triplet((source.shards or source.chunks)[-3:])
    piece = as_triplet([math.lcm(s, f) for s, f in zip(whole, step, strict=True)])
    if math.prod(piece) * voxel_bytes > _READ_BYTES:
        piece = as_triplet([math.lcm(c, f) for c, f in zip(chunk, step, strict=True)])
    grown = list(piece)
    for axis in (2, 1, 0):
        others = math.prod(grown) // grown[axis]
        fits = max(1, _READ_BYTES // (others * piece[axis] * voxel_bytes))
        needed = -(-extent[axis] // piece[axis])
        grown[axis] = piece[axis] * min(fits, needed)
    return as_triplet(grown)


def _times(at: Triplet, step: Triplet) -> Triplet:
    return as_triplet([a * f for a, f in zip(at, step, strict=True)])
