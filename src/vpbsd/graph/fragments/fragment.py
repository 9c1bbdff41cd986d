"""What one block leaves on disk: its part of the skeleton, as chains between nodes.

::

    magic   "VPBSDFRG", 8 bytes
    digest  BLAKE2b of all that follows, 16 bytes
    length  of the header, 4 bytes, little endian
    header  JSON: counts, and name, type and length of each array
    arrays  one after the other, as they are in memory

A voxel is named by its index in the volume, ``(z * Y + y) * X + x``, so that fragments fit
together without knowing of each other's blocks.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpbsd.errors import OutputError
from vpbsd.geometry import Triplet
from vpbsd.graph.files.whole import written_whole

__all__ = ["Counts", "DamagedFragmentError", "Fragment", "read_fragment", "trace", "write_fragment"]

Ids = NDArray[np.int64]

_MAGIC = b"VPBSDFRG"
_DIGEST_BYTES = 16
_LENGTH = struct.Struct("<I")
# Little endian, whatever the machine: workers of one run may differ.
_ARRAYS: dict[str, tuple[str, tuple[int, ...]]] = {
    "node_voxel": ("<i8", ()),
    "node_branches": ("|b1", ()),
    "node_radius_um": ("<f4", ()),
    "pairs": ("<i8", (2,)),
    "chain_voxel": ("<i8", ()),
    "chain_radius_um": ("<f4", ()),
    "chain_offsets": ("<i8", ()),
    "chain_outside": ("<i8", (2,)),
    "rim": ("<i8", ()),
    "skin": ("<i8", ()),
}


class DamagedFragmentError(OutputError):
    """A fragment is missing or is not what was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What a block counted, each voxel and each cavity by one block only.

    Attributes
    ----------
    vessel_voxels
        After filling.
    cavities, cavity_voxels
        Small holes inside vessels that were filled.
    largest_radius_um
        Largest distance to a wall seen in the block.
    halo_voxels
        Context that the block was computed with.
    """

    vessel_voxels: int = 0
    cavities: int = 0
    cavity_voxels: int = 0
    largest_radius_um: float = 0.0
    halo_voxels: int = 0


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Fragment:
    """The skeleton inside one block.

    Attributes
    ----------
    counts
        What was counted on the way.
    node_voxel, node_branches, node_radius_um
        (N,) voxels that are no links, ascending; whether they have more than two neighbours.
    pairs
        (Q, 2) a node voxel and a neighbour of it with a higher index, which is a node voxel too or
        lies in another block.
    chain_voxel, chain_radius_um, chain_offsets
        Links, chain after chain; chain ``c`` owns ``chain_offsets[c]`` to ``chain_offsets[c + 1]``.
    chain_outside
        (C, 2) the voxels before and after each chain; of a ring, its own last and first.
    rim
        Skeleton voxels around the block, as this block sees them; ascending.
    skin
        Skeleton voxels of the block that touch its faces; ascending. What is rim to one block is
        skin to another: if they differ, one of the two had too little context.
    """

    counts: Counts
    node_voxel: Ids
    node_branches: NDArray[np.bool_]
    node_radius_um: NDArray[np.float32]
    pairs: Ids
    chain_voxel: Ids
    chain_radius_um: NDArray[np.float32]
    chain_offsets: Ids
    chain_outside: Ids
    rim: Ids
    skin: Ids

    @classmethod
    def empty(cls, counts: Counts | None = None) -> Fragment:
        """Return the fragment of a block without a skeleton."""
        arrays: dict[str, Any] = {
            name: np.zeros((0, *tail), kind) for name, (kind, tail) in _ARRAYS.items()
        }
        arrays["chain_offsets"] = np.zeros(1, np.int64)
        return cls(counts=counts or Counts(), **arrays)

    @property
    def skeleton_voxels(self) -> int:
        """Number of skeleton voxels in the block."""
        return len(self.node_voxel) + len(self.chain_voxel)


def trace(
    skeleton: NDArray[np.bool_],
    radius_um: NDArray[np.float32],
    start: Triplet,
    shape_voxels: Triplet,
    counts: Counts | None = None,
) -> Fragment:
    """Return the fragment of a block.

    Parameters
    ----------
    skeleton
        (z, y, x) of the block and one voxel around it; False outside the volume.
    radius_um
        (N,) of each skeleton voxel, in the order of ``skeleton`` (z slowest).
    start
        First voxel of the block (without the rim) in the volume.
    shape_voxels
        Of the volume.
    counts
        To keep with it.
    """
    from vpbsd.graph.fragments.trace import LINK, NODE, chains, classify, pairs

    mark = skeleton.astype(np.uint8, order="C")
    flat = np.flatnonzero(mark)
    if flat.size == 0:
        return Fragment.empty(counts)
    neighbours = classify(mark, flat)
    kind = mark.ravel()[flat]
    places = _Places(mark.shape, start, shape_voxels)
    is_node, is_link = kind == NODE, kind == LINK
    voxels, offsets, outside = chains(mark, flat[is_link])
    inside, skin = places.inside(flat), places.skin(flat)
    return Fragment(
        counts=counts or Counts(),
        node_voxel=places.ids(flat[is_node]),
        node_branches=neighbours[is_node] > 2,
        node_radius_um=radius_um[is_node],
        pairs=places.ids(pairs(mark, flat[is_node])),
        chain_voxel=places.ids(voxels),
        chain_radius_um=radius_um[np.searchsorted(flat, voxels)],
        chain_offsets=offsets,
        chain_outside=places.ids(outside),
        rim=places.ids(flat[~inside]),
        skin=places.ids(flat[inside & skin]),
    )


@dataclass(frozen=True, slots=True)
class _Places:
    """Flat indices in a block with its rim, and where they lie in the volume."""

    shape: tuple[int, ...]
    start: Triplet
    shape_voxels: Triplet

    def ids(self, flat: Ids) -> Ids:
        z, y, x = np.unravel_index(flat, self.shape)
        origin = [s - 1 for s in self.start]
        _, rows, columns = self.shape_voxels
        ids = ((z + origin[0]) * rows + y + origin[1]) * columns + x + origin[2]
        return np.asarray(ids, np.int64)

    def inside(self, flat: Ids) -> NDArray[np.bool_]:
        """Whether voxels belong to the block, not to its rim."""
        return self._away(flat, 1)

    def skin(self, flat: Ids) -> NDArray[np.bool_]:
        """Whether voxels lie at most one voxel inside a face, or in the rim."""
        return ~self._away(flat, 2)

    def _away(self, flat: Ids, steps: int) -> NDArray[np.bool_]:
        far = np.ones(flat.shape, bool)
        for at, length in zip(np.unravel_index(flat, self.shape), self.shape, strict=True):
            far &= (at >= steps) & (at < length - steps)
        return far


def write_fragment(path: Path, fragment: Fragment) -> int:
    """Write a fragment so that ``path`` holds all of it or is not there; returns its bytes.

    Raises
    ------
    OutputError
        If it cannot be written: a full disk, no permission.
    """
    arrays = {
        name: np.ascontiguousarray(getattr(fragment, name), kind)
        for name, (kind, _) in _ARRAYS.items()
    }
    lengths = {name: len(array) for name, array in arrays.items()}
    header = json.dumps({"counts": asdict(fragment.counts), "arrays": lengths}).encode()
    body = [_LENGTH.pack(len(header)), header, *(array.tobytes() for array in arrays.values())]
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for piece in body:
        digest.update(piece)
    with written_whole(path) as partial, partial.open("wb") as file:
        file.writelines([_MAGIC, digest.digest(), *body])
    return path.stat().st_size


def read_fragment(path: Path) -> Fragment:
    """Read a fragment.

    Raises
    ------
    DamagedFragmentError
        If the file is missing, cut short or changed.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DamagedFragmentError(f"cannot read '{path}': {error.strerror}") from error
    at = len(_MAGIC) + _DIGEST_BYTES
    body = memoryview(content)[at:]
    found = hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest()
    if content[: len(_MAGIC)] != _MAGIC or found != content[len(_MAGIC) : at]:
        raise DamagedFragmentError(f"'{path}' is cut short or damaged ({len(content)} bytes)")
    (length,) = _LENGTH.unpack_from(body)
    header = json.loads(bytes(body[_LENGTH.size : _LENGTH.size + length]))
    arrays: dict[str, Any] = {}
    offset = _LENGTH.size + length
    for name, (kind, tail) in _ARRAYS.items():
        items = header["arrays"][name] * int(np.prod(tail, dtype=int))
        arrays[name] = np.frombuffer(body, kind, items, offset).reshape(-1, *tail)
        offset += items * np.dtype(kind).itemsize
    return Fragment(counts=Counts(**header["counts"]), **arrays)
