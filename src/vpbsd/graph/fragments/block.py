"""The skeleton of one block: read with context, fill, distance, thin, trace, write a fragment.

How much context a block needs grows with the radius of its vessels: thinning peels them layer by
layer, and what is peeled first depends on walls up to a diameter away. Most blocks hold capillaries
only. So a block is read with the plan's halo, the largest radius in it is measured, and where the
halo does not bear that, the block is read once more with one that does. What a block leaves
therefore never depends on a guess.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vpbsd.blockwise import Block
from vpbsd.errors import ConfigError, DataError
from vpbsd.geometry import Box, Triplet, VoxelSize, as_triplet
from vpbsd.graph.fragments.fragment import Counts, Fragment, trace
from vpbsd.graph.fragments.store import FragmentStore
from vpbsd.graph.skeleton.cavities import fill_cavities
from vpbsd.graph.skeleton.distance import distance_um, radius_um
from vpbsd.graph.skeleton.thinning import halo_voxels, thin
from vpbsd.graph.skeleton.vessels import as_vessels
from vpbsd.volumes import Volume

__all__ = ["HaloRule", "SkeletonBlock"]

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class HaloRule:
    """Context for vessels of a radius, in voxels along (z, y, x).

    Attributes
    ----------
    voxel_size
        Of the mask.
    cavity_voxels
        Cavities of at most so many voxels, and no longer than a ball of as many, are filled; they
        must be seen whole.
    """

    voxel_size: VoxelSize
    cavity_voxels: int = 0

    def halo(self, radius_um: float) -> Triplet:
        """Return the halo that vessels of at most this radius need."""
        more = self.longest_cavity
        return as_triplet([h + more for h in halo_voxels(radius_um, self.voxel_size)])

    def bears(self, halo: Triplet, radius_um: float) -> bool:
        """Whether a halo does for vessels of a radius."""
        return all(h >= n for h, n in zip(halo, self.halo(radius_um), strict=True))

    @property
    def longest_cavity(self) -> int:
        """Voxels along any axis of the largest cavity that is filled: a ball of that volume."""
        return math.ceil(2 * math.cbrt(3 * self.cavity_voxels / (4 * math.pi)))


@dataclass(frozen=True, slots=True)
class SkeletonBlock:
    """The operation of the block engine that leaves one fragment a block.

    Attributes
    ----------
    volume
        The mask.
    voxel_size
        Of it.
    rule
        Context that vessels need.
    store
        Where fragments go.
    limit_bytes
        Memory that one block may take.
    """

    volume: Volume
    voxel_size: VoxelSize
    rule: HaloRule
    store: FragmentStore
    limit_bytes: int

    def read(self, block: Block) -> Mask:
        """Return the vessels of the block and its halo."""
        return self._vessels(block.read)

    def compute(self, block: Block, data: Mask) -> Fragment | None:
        """Return the skeleton inside the block; None where there is no vessel near it."""
        box, vessels = block.read, data
        while True:
            if not vessels.any():
                return None
            self._require_memory(block, box, vessels)
            self._require_walls(box, vessels)
            filled = _Filled.of(vessels, self.rule, block.write.relative_to(box))
            distance = distance_um(filled.vessels, self.voxel_size)
            wider = self._wider(block, box, distance)
            if wider == box:
                return self._traced(block, box, filled, distance)
            del distance, filled
            box = wider
            self._require_memory(block, box, None)
            vessels = self._vessels(box)

    def write(self, block: Block, result: Fragment | None) -> int:
        """Keep the fragment; returns its bytes."""
        return self.store.write(block.index, result)

    def _vessels(self, box: Box) -> Mask:
        return as_vessels(self.volume.read(box)[0], f"'{self.volume.source}'")

    def _wider(self, block: Block, box: Box, distance: NDArray[np.float32]) -> Box:
        """Return the box to read instead of ``box``; the same where its halo bears the vessels.

        Radii are looked at up to half the halo away from the block. A wider vessel whose axis lies
        beyond does not reach the block with its wall, or is seen to be as wide as that.
        """
        halo = _halo(block.write, box, self.volume.shape_zyx)
        inner = block.write.grow([h // 2 for h in halo]).intersect(box).relative_to(box)
        largest_um = float(distance[inner.slices].max(initial=0.0))
        if self.rule.bears(halo, largest_um):
            return box
        grown = block.write.grow(self.rule.halo(largest_um)).clip(self.volume.shape_zyx)
        low = [min(a, b) for a, b in zip(box.start, grown.start, strict=True)]
        high = [max(a, b) for a, b in zip(box.stop, grown.stop, strict=True)]
        return Box(as_triplet(low), as_triplet(high))

    def _traced(
        self, block: Block, box: Box, filled: _Filled, distance: NDArray[np.float32]
    ) -> Fragment:
        shape = self.volume.shape_zyx
        crop = block.write.relative_to(box)
        skeleton = thin(distance, self.voxel_size, box.start)
        around = block.write.grow(1).clip(shape)
        inside = skeleton[around.relative_to(box).slices]
        margins = [
            (1 - (w - a), 1 - (b - v))
            for w, a, b, v in zip(
                block.write.start, around.start, around.stop, block.write.stop, strict=True
            )
        ]
        self._require_bytes(
            block,
            box,
            _BYTES_PER_VOXEL * box.size_voxels
            + _BYTES_PER_SKELETON_VOXEL * int(np.count_nonzero(inside)),
        )
        voxels = np.argwhere(inside) + np.asarray(around.relative_to(box).start)
        counts = Counts(
            vessel_voxels=int(np.count_nonzero(filled.vessels[crop.slices])),
            cavities=filled.cavities,
            cavity_voxels=filled.cavity_voxels,
            largest_radius_um=float(distance[crop.slices].max(initial=0.0)),
            halo_voxels=_widest(block.write, box),
        )
        return trace(
            np.pad(inside, margins),
            self._radii(distance, voxels),
            block.write.start,
            shape,
            counts,
        )

    def _radii(
        self, distance: NDArray[np.float32], voxels: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return the radius at each voxel, found for some at a time: it takes much beside each."""
        parts = range(0, max(len(voxels), 1), _RADII_AT_A_TIME)
        return np.concatenate(
            [
                radius_um(distance, voxels[at : at + _RADII_AT_A_TIME], self.voxel_size)
                for at in parts
            ]
        )

    def _require_walls(self, box: Box, vessels: Mask) -> None:
        """Refuse a mask without background: there is no distance to a wall.

        Raises
        ------
        DataError
            If the box is the whole volume and all of it is vessel.
        """
        if box == Box.whole(self.volume.shape_zyx) and vessels.all():
            raise DataError(
                f"'{self.volume.source}' holds nothing but vessel, so that no vessel has a wall: "
                "is it a mask (vessels above 0, the rest 0), or is it inverted?"
            )

    def _require_memory(self, block: Block, box: Box, vessels: Mask | None) -> None:
        """Refuse a box that takes more memory than a block may.

        Raises
        ------
        ConfigError
            With the numbers, and what would do.
        """
        share = 0.0 if vessels is None else float(np.count_nonzero(vessels)) / vessels.size
        self._require_bytes(block, box, box_bytes(box.size_voxels, share))

    def _require_bytes(self, block: Block, box: Box, needed: float) -> None:
        if needed <= self.limit_bytes:
            return
        halo = _widest(block.write, box)
        raise ConfigError(
            f"the block {block.write} holds vessels so wide, or so many, that it takes "
            f"{needed / 2**30:.2f} GiB with a halo of {halo} voxels, more than the "
            f"{self.limit_bytes / 2**30:.2f} GiB that a block may take: look whether the mask is "
            "right there, or allow more (--memory), or take smaller blocks (--block-voxels)"
        )


# Where a box ends with the volume, there is nothing beyond to be seen.
_BOUNDLESS = 1 << 30
_RADII_AT_A_TIME = 200_000
# Measured, with the next block's mask waiting: 10.1 and 9; of a skeleton voxel, 360.
_BYTES_PER_VOXEL = 10.5
_BYTES_PER_VESSEL_VOXEL = 12.0
_BYTES_PER_SKELETON_VOXEL = 400.0


def box_bytes(voxels: int, vessel_share: float) -> int:
    """Return the memory that a box of ``voxels`` takes, the next one being read included."""
    return math.ceil(voxels * (_BYTES_PER_VOXEL + _BYTES_PER_VESSEL_VOXEL * vessel_share))


def _halo(write: Box, box: Box, shape: Triplet) -> Triplet:
    """Return the context of a block along each axis; where the volume ends, none is lacking."""
    halo = []
    for a, b, low, high, size in zip(
        write.start, write.stop, box.start, box.stop, shape, strict=True
    ):
        sides = [a - low] if low > 0 else []
        sides += [high - b] if high < size else []
        halo.append(min(sides, default=_BOUNDLESS))
    return as_triplet(halo)


def _widest(write: Box, box: Box) -> int:
    """Return the voxels that a box reaches beyond its block at most."""
    sides = zip(write.start, write.stop, box.start, box.stop, strict=True)
    return max(max(a - low, high - b) for a, b, low, high in sides)


@dataclass(frozen=True, slots=True, eq=False)
class _Filled:
    """Vessels with their small cavities filled; those counted that begin inside the block."""

    vessels: Mask
    cavities: int
    cavity_voxels: int

    @classmethod
    def of(cls, vessels: Mask, rule: HaloRule, crop: Box) -> _Filled:
        """Fill the cavities that the rule allows; ``crop`` is the block in the array."""

        def owned(voxel: Triplet) -> bool:
            return crop.contains(Box.at(voxel, (1, 1, 1)))

        if not rule.cavity_voxels:
            return cls(vessels, 0, 0)
        filled, cavities = fill_cavities(vessels, rule.cavity_voxels, owned, rule.longest_cavity)
        inside = filled[crop.slices] & ~vessels[crop.slices]
        return cls(filled, cavities, int(np.count_nonzero(inside)))
