"""What scoring sees of a volume: a core whose voxels count, and the context around it.

::

    read box   ┌───────────────────┐
               │ context           │    the core of each block counts, once; its context only
               │    ┌─────────┐    │    says where the nearest surface or the centreline is
               │    │  core   │    │
               │    └─────────┘    │    a whole volume is a core without context
               └───────────────────┘
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from vpbsd.geometry import Box, Triplet
from vpbsd.metrics.masks import Mask, occupied_box

if TYPE_CHECKING:
    from vpbsd.blockwise import Block

__all__ = ["Ends", "View", "framed_core"]

Value = TypeVar("Value", bound=np.generic)

Ends = tuple[tuple[bool, bool], ...]
"""For each axis, whether a box ends with the volume at its low and at its high side."""


@dataclass(frozen=True, slots=True)
class View:
    """Two masks of one box of a volume.

    Attributes
    ----------
    predicted, true
        (z, y, x), core and context.
    core
        In coordinates of the two.
    ends
        Where nothing but background follows, as it does where the volume ends.
    """

    predicted: Mask
    true: Mask
    core: Box
    ends: Ends

    @classmethod
    def whole(cls, predicted: Mask, true: Mask) -> View:
        """Return the view of a volume that is read at once."""
        return cls(predicted, true, Box.whole(true.shape), ((True, True),) * 3)

    @classmethod
    def of_block(cls, block: Block, predicted: Mask, true: Mask, shape: Triplet) -> View:
        """Return the view of a block that was read with its halo, in a volume of ``shape``."""
        read = block.read
        ends = tuple(
            (start == 0, stop == size)
            for start, stop, size in zip(read.start, read.stop, shape, strict=True)
        )
        return cls(predicted, true, block.crop, ends)

    def tight(self) -> View:
        """Return the view of what is foreground in either mask and the voxels next to it.

        Distances are measured over the whole array: the less of it is void, the better. One layer
        around the foreground stays, since the distance to the background ends there.
        """
        shape = self.true.shape
        occupied = occupied_box(self.predicted | self.true)
        kept = Box(
            _triplet([span.start for span in occupied]), _triplet([span.stop for span in occupied])
        )
        kept = (kept if kept.is_empty else kept.grow(1)).clip(shape)
        ends = tuple(
            (low or start > 0, high or stop < size)
            for (low, high), start, stop, size in zip(
                self.ends, kept.start, kept.stop, shape, strict=True
            )
        )
        core = self.core.intersect(kept)
        core = Box.whole((0, 0, 0)) if core.is_empty else core.relative_to(kept)
        return View(self.predicted[kept.slices], self.true[kept.slices], core, ends)

    def core_of(self, array: NDArray[Value]) -> NDArray[Value]:
        """Return the core of an array (z, y, x) over the whole view."""
        return array[self.core.slices]


def framed_core(mask: Mask, core: Box, ends: Ends) -> Mask:
    """Return the core with the layer before it, and one after it where the volume ends there.

    What lies outside of the volume is background. This is what `euler_cells` takes.
    """
    before, start, after = [], [], []
    for low, stop, size, (_, ends_high) in zip(
        core.start, core.stop, mask.shape, ends, strict=True
    ):
        before.append(1 if low == 0 else 0)
        start.append(max(0, low - 1))
        after.append(1 if stop == size and ends_high else 0)
    taken = mask[Box(_triplet(start), core.stop).slices]
    return np.pad(taken, list(zip(before, after, strict=True)))


def _triplet(values: Sequence[int]) -> Triplet:
    z, y, x = values
    return (z, y, x)
