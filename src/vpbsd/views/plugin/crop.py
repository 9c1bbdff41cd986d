"""Segment a box of a volume: the same voxels that segmenting the whole volume gives there.

The intensity scale is that of the whole volume, what the net sees beyond the box is the volume
itself, and blocks begin at multiples of the net's stride, as in :mod:`vpbsd.blockwise.plan`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vpbsd.blockwise import Block
from vpbsd.errors import ConfigError
from vpbsd.geometry import Box, Triplet, as_triplet, tile
from vpbsd.machine import choose_device, choose_precision
from vpbsd.segment import RuntimeSpec, SegmentModel
from vpbsd.segment.operation import SegmentBlock
from vpbsd.segment.planning import require_channels
from vpbsd.segment.runtimes import NetShape
from vpbsd.volumes import Volume, estimate_intensity

__all__ = ["MOST_VOXELS", "Crop", "segment_crop"]

MOST_VOXELS = 2**27
"""What a look at a part may cover; 512 x 512 x 512."""

_BLOCK_VOXELS = 64


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """A part of a mask that grows block by block.

    Attributes
    ----------
    box
        Where in the volume.
    mask
        (z, y, x) of the box, uint8: 1 = vessel.
    done, total
        Blocks.
    threshold
        Probability from which a voxel is vessel.
    """

    box: Box
    mask: NDArray[np.uint8]
    done: int
    total: int
    threshold: float


def segment_crop(
    volume: Volume,
    model: SegmentModel,
    box: Box,
    *,
    threshold: float | None = None,
    invert: bool = False,
    precision: Literal["auto", "bf16", "fp32"] = "auto",
) -> Iterator[Crop]:
    """Segment a box, block by block.

    Parameters
    ----------
    volume, model
        With as many channels as the net takes.
    box
        Inside the volume.
    threshold, invert, precision
        As in :class:`~vpbsd.segment.SegmentOptions`; ``auto`` = what is usual on such a processor.

    Yields
    ------
    Crop
        After every block, of one mask that is filled meanwhile; at first without any done.

    Raises
    ------
    ConfigError
        If the box is empty or larger than ``MOST_VOXELS``, or the threshold no probability.
    DataError
        If the volume has another number of channels than the model, or cannot be segmented.
    """
    _require_size(box)
    if threshold is not None and not 0 < threshold < 1:
        raise ConfigError(f"the threshold is a probability between 0 and 1, got {threshold}")
    net = NetShape.of(model.net)
    require_channels(volume, net.channels)
    device = choose_device("auto")
    operation = SegmentBlock(
        volume=volume,
        scale=estimate_intensity(volume, invert=invert),
        net=model.net,
        spec=RuntimeSpec(precision=choose_precision(precision, device), device=device),
        threshold=model.threshold if threshold is None else threshold,
        skip_empty=True,
        writers={},
    )
    blocks = _blocks(volume.shape_zyx, box, net.stride, net.halo_voxels)
    mask = np.zeros(box.shape, np.uint8)
    yield Crop(box, mask, 0, len(blocks), operation.threshold)
    for done, block in enumerate(blocks, start=1):
        found = operation.compute(block, operation.read(block)).mask
        if found is not None:
            inside = block.write.intersect(box)
            mask[inside.relative_to(box).slices] = found[inside.relative_to(block.write).slices]
        yield Crop(box, mask, done, len(blocks), operation.threshold)


def _require_size(box: Box) -> None:
    if box.is_empty or box.size_voxels > MOST_VOXELS:
        raise ConfigError(
            f"a box of {box.shape} voxels was asked for, but a look at a part covers 1 to "
            f"{MOST_VOXELS:,} voxels; zoom in or choose a smaller box, and segment the whole with "
            "vpbsd segment"
        )


def _blocks(shape: Triplet, box: Box, stride: Triplet, halo: Triplet) -> list[Block]:
    """Return blocks whose write boxes cover ``box``, rounded out to multiples of the stride."""
    first = [a // s * s for a, s in zip(box.start, stride, strict=True)]
    stop = [min(_up(b, s), n) for b, s, n in zip(box.stop, stride, shape, strict=True)]
    edges = [s * max(1, _BLOCK_VOXELS // s) for s in stride]
    padded = [_up(n, s) for n, s in zip(shape, stride, strict=True)]
    blocks = []
    for index, part in enumerate(tile([b - a for a, b in zip(first, stop, strict=True)], edges)):
        write = Box.at([a + p for a, p in zip(first, part.start, strict=True)], part.shape)
        wide = write.grow(halo)
        read = Box(
            as_triplet([max(0, a // s * s) for a, s in zip(wide.start, stride, strict=True)]),
            as_triplet(
                [min(_up(b, s), n) for b, s, n in zip(wide.stop, stride, padded, strict=True)]
            ),
        )
        blocks.append(Block(index, write, read))
    return blocks


def _up(value: int, step: int) -> int:
    return -(-value // step) * step
