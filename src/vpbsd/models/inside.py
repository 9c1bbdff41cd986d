"""The student's result within a part of a block, without computing what only its rim would need.

A block is read with a halo, because the coarse levels see far; what the finer levels have to
compute of it is less, level by level on the way up. Boxes are found backwards from the result:
a 3x3x3 convolution needs one cell more on each side, a change of level whole cells of the coarser
one. At the border of the block there is nothing more to be had, and convolutions see zeros there
as they do in a pass over the whole: within ``crop``, the result is the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Protocol, cast

from torch import Tensor, nn

from vpbsd.config import StudentConfig
from vpbsd.geometry import Box, Triplet, as_triplet
from vpbsd.models.layers import ConvBatchNorm

__all__ = [
    "HeadBoxes",
    "LevelBoxes",
    "convolve",
    "features_inside",
    "head_boxes",
    "level_boxes",
    "narrow",
    "padding",
]


class Levels(Protocol):
    """The parts of a student that work on one level each, finest first."""

    @property
    def down(self) -> Iterable[nn.Module]:
        """From the next finer level, or from the image."""
        ...

    @property
    def encoder(self) -> Iterable[nn.Module]:
        """Sequences of 3x3x3 convolutions."""
        ...

    @property
    def up(self) -> Iterable[nn.Module]:
        """From the next coarser level."""
        ...

    @property
    def decoder(self) -> Iterable[nn.Module]:
        """Sequences of 3x3x3 convolutions, on all levels but the coarsest."""
        ...


@dataclass(frozen=True, slots=True)
class LevelBoxes:
    """What is needed of a level, in its cells.

    Attributes
    ----------
    grid
        The whole block.
    entered
        Where its encoder starts: the result of going down.
    encoded
        Where its encoder ends.
    joined
        Where skip and coarser level are added; the decoder starts there.
    decoded
        Where its decoder ends; on the coarsest level, ``encoded``.
    """

    grid: Box
    entered: Box
    encoded: Box
    joined: Box
    decoded: Box


@dataclass(frozen=True, slots=True)
class HeadBoxes:
    """What the full-resolution end of the net needs, in voxels.

    Attributes
    ----------
    block
        The whole block.
    image
        What is seen of the image at full resolution.
    seen
        What the last 3x3x3 convolution sees: the result itself, if there is none.
    cells, upsampled
        The same in cells of the first level, and in their voxels.
    """

    block: Box
    image: Box
    seen: Box
    cells: Box
    upsampled: Box


def head_boxes(config: StudentConfig, shape: Triplet, crop: Box) -> HeadBoxes:
    """Return what is needed for ``crop`` of a block of ``shape`` voxels."""
    block, factor = Box.whole(shape), config.downsampling[0]
    seen = crop.grow(1).intersect(block) if config.preset == "fine" else crop
    cells = _cells(seen, factor)
    return HeadBoxes(block, seen.grow(1).intersect(block), seen, cells, _voxels(cells, factor))


def level_boxes(
    config: StudentConfig, convs: Sequence[int], shape: Triplet, crop: Box
) -> list[LevelBoxes]:
    """Return what is needed of each level, finest first.

    Parameters
    ----------
    config
        Of the student.
    convs
        Number of 3x3x3 convolutions in the encoder, and in the decoder, of each level.
    shape
        Of the block, in voxels.
    crop
        What is wanted of it.
    """
    grids = [
        Box.whole([n // f for n, f in zip(shape, factor, strict=True)])
        for factor in accumulate(config.downsampling, _product)
    ]
    decoded, needed = head_boxes(config, shape, crop).cells, []
    last = len(convs) - 1
    for level, (count, grid) in enumerate(zip(convs, grids, strict=True)):
        joined = decoded if level == last else decoded.grow(count).intersect(grid)
        needed.append((joined, decoded))
        if level < last:
            decoded = _cells(joined, config.downsampling[level + 1])
    boxes: list[LevelBoxes] = []
    for level in reversed(range(len(convs))):
        joined, decoded = needed[level]
        # What the next level enters on covers what the skip needs here.
        encoded = _voxels(boxes[0].entered, config.downsampling[level + 1]) if boxes else decoded
        entered = encoded.grow(convs[level]).intersect(grids[level])
        boxes.insert(0, LevelBoxes(grids[level], entered, encoded, joined, decoded))
    return boxes


def features_inside(
    net: Levels, x: Tensor, boxes: Sequence[LevelBoxes], factors: Sequence[Triplet]
) -> Tensor:
    """Return the decoder's features of the finest level in ``boxes[0].decoded``.

    Parameters
    ----------
    net
        Convolutions are called by :func:`convolve`.
    x
        Normalised intensities (B, C, D, H, W) of the whole block.
    boxes
        From :func:`level_boxes`.
    factors
        (z, y, x) factors between levels, the first from the image.
    """
    skips: list[Tensor] = []
    have = Box.whole(x.shape[2:])
    # No variable here holds on to what a chain starts from, so that its memory is free again
    # after the first convolution.
    for box, factor, down, encode in zip(boxes, factors, net.down, net.encoder, strict=True):
        given = narrow(skips[-1] if skips else x, _voxels(box.entered, factor), have)
        skips.append(_chain(encode, down(given), (box.entered, box.encoded), box.grid))
        have = box.encoded
        del given
    x = skips.pop()
    steps = zip(pairwise(boxes), factors[1:], net.up, net.decoder, strict=True)
    for (box, coarse), factor, up, decode in reversed(list(steps)):
        joined = [narrow(up(x), box.joined, _voxels(coarse.decoded, factor))]
        joined[0] += narrow(skips.pop(), box.joined, box.encoded)
        x = _chain(decode, joined.pop(), (box.joined, box.decoded), box.grid)
    return x


def convolve(layer: nn.Module, x: Tensor, pad: Triplet) -> Tensor:
    """Apply a layer that starts with a 3x3x3 convolution with another zero padding than its own."""
    if not isinstance(layer, ConvBatchNorm):
        return cast(Tensor, layer(x, pad))
    conv, norm, relu = cast(nn.Conv3d, layer[0]), layer[1], layer[2]
    y = nn.functional.conv3d(x, conv.weight, conv.bias, padding=pad)
    return cast(Tensor, relu(norm(y)))


def padding(have: Box, want: Box) -> Triplet:
    """Return by how many zeros a 3x3x3 convolution that sees ``have`` must pad to give ``want``.

    The two share a side only at the border of the block.
    """
    return as_triplet(
        [
            int(a == wanted_a or b == wanted_b)
            for a, b, wanted_a, wanted_b in zip(
                have.start, have.stop, want.start, want.stop, strict=True
            )
        ]
    )


def narrow(x: Tensor, want: Box, have: Box) -> Tensor:
    """Return the part ``want`` of a tensor (B, C, D, H, W) that covers ``have``, as a view."""
    return x if want == have else x[(..., *want.relative_to(have).slices)]


def _chain(layers: nn.Module, x: Tensor, ends: tuple[Box, Box], grid: Box) -> Tensor:
    """Go from the first box to the second by 3x3x3 convolutions, each seeing one cell less."""
    have, want = ends
    chain = list(cast(Iterable[nn.Module], layers))
    for left, layer in zip(reversed(range(len(chain))), chain, strict=True):
        target = want.grow(left).intersect(grid)
        pad = padding(have, target)
        given = have.grow([p - 1 for p in pad])
        x, have = narrow(convolve(layer, x, pad), target, given), target
    return x


def _cells(box: Box, factor: Triplet) -> Box:
    """Return the cells of ``factor`` voxels that a box of voxels touches."""
    return Box(
        as_triplet([a // f for a, f in zip(box.start, factor, strict=True)]),
        as_triplet([-(-b // f) for b, f in zip(box.stop, factor, strict=True)]),
    )


def _voxels(cells: Box, factor: Triplet) -> Box:
    return Box(_product(cells.start, factor), _product(cells.stop, factor))


def _product(a: Triplet, b: Triplet) -> Triplet:
    return as_triplet([u * v for u, v in zip(a, b, strict=True)])
