"""The student as it is deployed: folded, and its layers laid out to fill the processor.

The weights are the student's own, in other shapes. Channels last, a row of voxels is also a row
of pairs of voxels with twice the channels, in the same memory. The layers at full resolution have
too few channels to fill a vector register; over pairs they have twice as many. A 3x3x3
convolution of pairs gives pairs that begin one voxel earlier, and so reads two of them along x,
not three::

    in      (0 1)(2 3)(4 5)(6 7)        voxel v needs v - 1, v, v + 1:
               │ ╲╱ │ ╲╱ │              the pair (1 2) needs 0 1 2 3
    out       (1 2)(3 4)(5 6)
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, cast

import torch
from torch import Tensor, nn

from vpbsd.geometry import Box, Triplet, as_triplet
from vpbsd.models.inside import features_inside, head_boxes, level_boxes, narrow, padding
from vpbsd.models.layers import check_patch
from vpbsd.models.student import Student

__all__ = ["DeployedStudent"]

# At full resolution an eighth of the result is computed at a time, to keep memory low.
_SLABS = 8
# What a slab reads for its share, with one or two planes on each side.
_RIM = 1.4


class DeployedStudent(nn.Module):
    """A student for inference only.

    Equal to ``student.eval()`` up to rounding. Independent of the crop, and of how a volume is
    cut as long as the halo covers the receptive field; with ``onednn`` bit for bit.

    Parameters
    ----------
    student
        Is left as it is.
    onednn
        Call oneDNN itself, with additions and ReLU inside the convolutions, and with one algorithm
        whatever the size of a block: on CPUs. Otherwise torch decides, and the net can be exported.
    """

    def __init__(self, student: Student, *, onednn: bool) -> None:
        super().__init__()
        net = student.fold().requires_grad_(False)
        self.config = net.config
        self.stride, self.halo_voxels = net.stride, net.halo_voxels
        self.convs_per_level = net.convs_per_level
        self.slabs = _SLABS if onednn else 1
        step = self.config.downsampling[0][2]
        # Whole cells where nothing follows at full resolution; else pairs, if cells hold pairs.
        self.tuple_voxels = step if net.detail is None else 2 - step % 2

        n = self.tuple_voxels

        def layer(weights: _Weights, *, relu: bool = False) -> _Layer:
            return _Layer(weights, relu=relu, onednn=onednn)

        def chain(level: nn.Module) -> nn.Sequential:
            convs = [cast(Any, block)[0] for block in cast(Iterable[nn.Module], level)]
            return nn.Sequential(*(layer(_same(conv), relu=True) for conv in convs))

        first, *others = cast(Iterable[nn.Conv3d], net.down)
        stem = layer(_stem(first))
        self.down = nn.ModuleList([stem, *(layer(_same(conv)) for conv in others)])
        self.up = nn.ModuleList(layer(_same(conv)) for conv in cast(Iterable[Any], net.up))
        self.encoder = nn.ModuleList(chain(level) for level in net.encoder)
        self.decoder = nn.ModuleList(chain(level) for level in net.decoder)
        self.out_up = layer(_up_to_tuples(net.out_up, n))
        self.detail = self.refine = self.out = None
        if net.detail is not None:
            self.detail = layer(_over_tuples(cast(nn.Conv3d, net.detail), n), relu=True)
            self.refine = layer(_over_tuples(cast(Any, net.refine)[0], n), relu=True)
            self.out = layer(_over_tuples(cast(nn.Conv3d, net.out), n))

    def forward(self, x: Tensor) -> Tensor:
        """Return vessel logits (B, 1, D, H, W) of normalised intensities (B, C, D, H, W)."""
        return self.forward_inside(x, Box.whole(x.shape[2:]))

    def forward_inside(self, x: Tensor, crop: Box) -> Tensor:
        """Return ``forward(x)`` in a box, without computing what only the rest would need.

        Parameters
        ----------
        x
            Normalised intensities (B, C, D, H, W) of a block with its halo.
        crop
            In voxels of the block, not empty.

        Returns
        -------
        Tensor
            Logits (B, 1, *crop.shape); float32 from more than one slab, else as ``x``.
        """
        check_patch(x, self.stride, "student")
        boxes = level_boxes(self.config, self.convs_per_level, as_triplet(x.shape[2:]), crop)
        features = features_inside(self, x, boxes, self.config.downsampling)
        have = boxes[0].decoded
        if self.slabs == 1:
            return self._head(x, features, have, crop)
        logits = x.new_empty((len(x), 1, *crop.shape), dtype=torch.float32)
        for slab in self._slabs(crop):
            part = self._head(x, features, have, slab)
            logits[(..., *slab.relative_to(crop).slices)] = part
        return logits

    def peak_bytes_per_voxel(self, itemsize: float) -> float:
        """Return what `forward_inside` holds at its peak beside the image, logits included.

        Per voxel of the block, the larger of: the widest level (skips of the finer ones, what
        enters and what leaves a convolution, and as much as the next coarser level for the way
        up) and the full-resolution end (features of the first level, one slab entering, leaving,
        and laid out anew, logits in float32).

        Parameters
        ----------
        itemsize
            Bytes of a value: 4 in fp32, 2 in bf16; of values of several kinds, the mean.
        """
        cells = accumulate((math.prod(f) for f in self.config.downsampling), operator.mul)
        held = [width / n for width, n in zip(self.config.widths, cells, strict=True)]
        levels = [sum(held[:i]) + 2 * own + sum(held[i + 1 : i + 2]) for i, own in enumerate(held)]
        wide = 1.0 if self.refine is None else self.refine.weight.shape[0] / self.tuple_voxels
        share = 1.0 if self.slabs == 1 else _RIM / self.slabs
        slab = share * (2 * wide + held[0] + self.config.channels)
        return float(max(itemsize * max(levels), itemsize * (held[0] + slab) + 4.0))

    def _slabs(self, crop: Box) -> list[Box]:
        thickness = self.config.downsampling[0][0]
        step = -(-crop.shape[0] // (self.slabs * thickness)) * thickness
        (z0, y0, x0), (z1, y1, x1) = crop.start, crop.stop
        return [Box((z, y0, x0), (min(z + step, z1), y1, x1)) for z in range(z0, z1, step)]

    def _head(self, x: Tensor, features: Tensor, have: Box, crop: Box) -> Tensor:
        boxes = head_boxes(self.config, as_triplet(x.shape[2:]), crop)
        y: Tensor = self.out_up(narrow(features, boxes.cells, have))
        got = boxes.upsampled
        if self.detail is not None and self.refine is not None and self.out is not None:
            image = _zero_padded(x, got.grow(1), boxes.block)
            y = self.detail(_as_tuples(image, self.tuple_voxels), add=y)
            z, yy, xx = padding(boxes.seen, crop)
            got = got.grow([z - 1, yy - 1, self.tuple_voxels * xx - 1])
            # oneDNN sums in another order where it pads a convolution of even width itself.
            y = nn.functional.pad(y, (xx, xx)) if xx else y
            y = self.out(self.refine(y, (z, yy, 0)))
        return narrow(_as_voxels(y, self.tuple_voxels), crop, got)


class _Layer(nn.Module):
    """A convolution, or a transposed one, and then a ReLU or none."""

    def __init__(self, conv: _Weights, *, relu: bool = False, onednn: bool) -> None:
        super().__init__()
        self.weight = _fixed(conv.weight)
        self.bias = None if conv.bias is None else _fixed(conv.bias)
        self.stride, self.transposed = conv.stride, conv.transposed
        self.tuple_voxels = conv.tuple_voxels
        self.relu, self.onednn = relu, onednn

    def forward(self, x: Tensor, pad: Triplet = (0, 0, 0), add: Tensor | None = None) -> Tensor:
        """Convolve (B, C, D, H, W); values to ``add`` may be overwritten."""
        x = _as_tuples(x, self.tuple_voxels)
        if self.onednn:
            return self._by_onednn(x, pad, add)
        if self.transposed:
            y = nn.functional.conv_transpose3d(x, self.weight, self.bias, self.stride)
        else:
            y = nn.functional.conv3d(x, self.weight, self.bias, self.stride, pad)
        y = y if add is None else y + add
        return torch.relu_(y) if self.relu else y

    def _by_onednn(self, x: Tensor, pad: Triplet, add: Tensor | None) -> Tensor:
        ops = torch.ops.mkldnn
        relu: str | None = "relu" if self.relu else "none"
        weights, how = (self.weight, self.bias), (self.stride, (1, 1, 1), 1)
        if self.transposed:
            y = ops._convolution_transpose_pointwise(x, *weights, pad, [0] * 3, *how, relu, [], "")
        elif add is None:
            y = ops._convolution_pointwise(x, *weights, pad, *how, relu, [], "")
        else:
            relu = "relu" if self.relu else None
            op = ops._convolution_pointwise_.binary
            y = op(add, x, *weights, pad, *how, "add", 1, relu, [], "")
        return cast(Tensor, y)


@dataclass(frozen=True)
class _Weights:
    """A convolution over tuples of ``tuple_voxels`` neighbours along x, of its input."""

    weight: Tensor
    bias: Tensor | None
    stride: Triplet = (1, 1, 1)
    transposed: bool = False
    tuple_voxels: int = 1


def _fixed(value: Tensor) -> nn.Parameter:
    return nn.Parameter(value.detach().clone(), requires_grad=False)


def _same(conv: nn.Conv3d | nn.ConvTranspose3d) -> _Weights:
    transposed = isinstance(conv, nn.ConvTranspose3d)
    return _Weights(conv.weight, conv.bias, as_triplet(conv.stride), transposed)


def _stem(conv: nn.Conv3d) -> _Weights:
    """Take a row of a cell as channels: (o, i, z, y, x) becomes (o, x i, z, y, 1)."""
    z, y, x = as_triplet(conv.stride)
    weight = conv.weight.permute(0, 4, 1, 2, 3).flatten(1, 2).unsqueeze(-1)
    return _Weights(weight, conv.bias, (z, y, 1), tuple_voxels=x)


def _up_to_tuples(conv: nn.ConvTranspose3d, n: int) -> _Weights:
    """Give tuples: (i, o, z, y, x) becomes (i, n o, z, y, x / n)."""
    z, y, x = as_triplet(conv.stride)
    inputs, outputs = conv.weight.shape[:2]
    weight = conv.weight.reshape(inputs, outputs, z, y, x // n, n)
    weight = weight.permute(0, 5, 1, 2, 3, 4).flatten(1, 2)
    bias = None if conv.bias is None else conv.bias.repeat(n)
    return _Weights(weight, bias, (z, y, x // n), transposed=True)


def _over_tuples(conv: nn.Conv3d, n: int) -> _Weights:
    """Map tuples to tuples, which begin ``k // 2`` voxels earlier than those of the input.

    Voxel ``a`` of an output tuple sees through tap ``t`` the voxel ``a + t`` that follows the
    first one of the input tuples.
    """
    outputs, inputs, z, y, taps = conv.weight.shape
    tuples = -(-(taps + n - 1) // n)
    weight = conv.weight.new_zeros(n, outputs, tuples * n, inputs, z, y)
    for voxel in range(n):
        weight[voxel, :, voxel : voxel + taps] = conv.weight.permute(0, 4, 1, 2, 3)
    weight = weight.reshape(n, outputs, tuples, n, inputs, z, y).permute(0, 1, 3, 4, 5, 6, 2)
    bias = None if conv.bias is None else conv.bias.repeat(n)
    return _Weights(weight.reshape(n * outputs, n * inputs, z, y, tuples), bias)


def _as_tuples(x: Tensor, n: int) -> Tensor:
    """See ``n`` neighbours along x as one with ``n`` times the channels; no copy, channels last."""
    if n == 1:
        return x
    batch, channels, z, y, width = x.shape
    rows = x.permute(0, 2, 3, 4, 1).reshape(batch, z, y, width // n, n * channels)
    return rows.permute(0, 4, 1, 2, 3)


def _as_voxels(x: Tensor, n: int) -> Tensor:
    """Undo :func:`_as_tuples`."""
    if n == 1:
        return x
    batch, channels, z, y, width = x.shape
    rows = x.permute(0, 2, 3, 4, 1).reshape(batch, z, y, width * n, channels // n)
    return rows.permute(0, 4, 1, 2, 3)


def _zero_padded(x: Tensor, want: Box, block: Box) -> Tensor:
    """Return a box of a block, zero where it sticks out, channels last."""
    inside = want.intersect(block)
    x = narrow(x, inside, block)
    if inside != want:
        ends = zip(want.start, inside.start, inside.stop, want.stop, strict=True)
        around = [n for a, b, c, d in reversed(list(ends)) for n in (b - a, d - c)]
        x = nn.functional.pad(x, around)
    return x.contiguous(memory_format=torch.channels_last_3d)
