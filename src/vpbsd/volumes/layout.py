"""What an output volume holds and how it is cut into files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import DTypeLike

from vpbsd.errors import ConfigError
from vpbsd.geometry import Triplet, VoxelSize, as_triplet
from vpbsd.volumes.pyramid import VolumeKind

__all__ = ["NgffVersion", "OutputLayout"]

NgffVersion = Literal["0.4", "0.5"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputLayout:
    """What an output holds and how it is cut into files.

    Attributes
    ----------
    shape : sequence of int
        (z, y, x), or (c, z, y, x) for several channels.
    dtype : numpy dtype
        Integers or real numbers.
    voxel_size_um : VoxelSize
        Micrometres along (z, y, x).
    kind : str
        ``mask``, ``probability`` or ``image``: how coarser levels are made.
    shard : tuple of int
        (z, y, x), a multiple of ``chunk``: the unit of writing, and, in version 0.5, one file.
    chunk : tuple of int
        (z, y, x) of what is compressed at once: the unit of reading, and, in 0.4, one file.
    ngff : str
        Version of the OME-Zarr specification: ``0.5`` (zarr v3), or ``0.4`` (zarr v2) for tools
        that do not read it yet.

    Raises
    ------
    ConfigError
        If the shape is not a volume's, or shards do not consist of whole chunks.
    """

    shape: Sequence[int]
    dtype: DTypeLike
    voxel_size_um: VoxelSize
    kind: VolumeKind
    shard: Triplet
    chunk: Triplet = (64, 64, 64)
    ngff: NgffVersion = "0.5"

    def __post_init__(self) -> None:
        if len(self.shape) not in (3, 4) or min(self.shape) < 1:
            raise ConfigError(
                f"an output is (z, y, x) or (c, z, y, x) with edges of at least 1 voxel, "
                f"got {tuple(self.shape)}"
            )
        pairs = list(zip(as_triplet(self.shard), as_triplet(self.chunk), strict=True))
        if any(c < 1 or s < 1 or s % c for s, c in pairs):
            raise ConfigError(
                f"a shard must consist of whole chunks, but {tuple(self.shard)} is no multiple "
                f"of {tuple(self.chunk)}; round it up to one"
            )
        if self.kind not in ("mask", "probability", "image"):
            raise ConfigError(f"kind must be mask, probability or image, got '{self.kind}'")
        if self.ngff not in ("0.4", "0.5"):
            raise ConfigError(f"OME-Zarr is written in version 0.4 or 0.5, not '{self.ngff}'")
        if np.dtype(self.dtype).kind not in "uif":
            raise ConfigError(f"an output holds integers or real numbers, not {self.dtype}")
        if self.kind == "mask" and np.dtype(self.dtype).kind not in "ui":
            raise ConfigError(f"a mask needs an integer type, got {np.dtype(self.dtype)}")

    @property
    def shape_zyx(self) -> Triplet:
        """Size in voxels along (z, y, x)."""
        return as_triplet(self.shape[-3:])

    @property
    def lead(self) -> tuple[int, ...]:
        """``(c,)`` where there is a channel axis, else ``()``."""
        return tuple(int(n) for n in self.shape[:-3])
