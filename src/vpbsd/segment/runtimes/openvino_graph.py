"""A student as an OpenVINO graph, for one shape of block and one crop.

The graph is built layer by layer rather than exported: that takes milliseconds instead of seconds,
which counts because every kind of block (inner, or at one border or other) has its own; and each
operation has a name of its own, so that what quantisation found out about one kind of block can be
used for the others.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from torch import nn

from vpbsd.geometry import Box, Triplet, as_triplet
from vpbsd.models import DeployedStudent
from vpbsd.models.inside import head_boxes, level_boxes, padding

__all__ = ["StudentGraph", "retarget", "student_graph"]

_CHANNELS_FIRST, _CHANNELS_LAST = (0, 4, 1, 2, 3), (0, 2, 3, 4, 1)


@dataclass(frozen=True)
class StudentGraph:
    """An ``openvino.Model``, and which parts of a block go in and come out.

    Attributes
    ----------
    model
        Takes boxes of the block as (1, z, y, x, c), float32, and gives logits (1, z, y, x).
    images
        One box of the block per input, in its voxels; where one sticks out, zeros belong.
    inside
        The crop, in voxels of the output.
    """

    model: Any
    images: tuple[Box, ...]
    inside: Box

    def inputs(self, block: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Cut the inputs out of a block (c, z, y, x)."""
        return [_cut(block, box) for box in self.images]


def student_graph(net: DeployedStudent, shape: Triplet, crop: Box) -> StudentGraph:
    """Build the graph of a student.

    Parameters
    ----------
    net
        Made without oneDNN, in fp32.
    shape
        Edges (z, y, x) of the block.
    crop
        What is wanted of it, in voxels of the block.
    """
    import openvino as ov

    graph = _Graph(net, shape)
    output, got = graph.logits(crop)
    model = ov.Model([output], [x for x, _ in graph.images], "student")
    return StudentGraph(model, tuple(box for _, box in graph.images), crop.relative_to(got))


def retarget(model: Any, like: Any) -> None:
    """Change a quantised graph, in place, to the shape and crop of another of the same student.

    Parameters
    ----------
    model
        Quantised from a graph for some shape and crop.
    like
        The graph, not quantised, for those that are wanted.
    """
    wanted = {op.get_friendly_name(): op for op in like.get_ordered_ops()}
    for op in model.get_ordered_ops():
        name, kind = op.get_friendly_name(), op.get_type_name()
        if kind == "Slice":
            for port in (1, 2):  # start, stop
                source = wanted[name].input(port).get_source_output()
                op.input(port).replace_source_output(source)
        elif kind == "Convolution":
            for attribute in ("pads_begin", "pads_end"):
                op.set_attribute(attribute, wanted[name].get_attributes()[attribute])
    # Not `reshape`, which first infers the shapes that the old input would give.
    for parameter, port in zip(model.get_parameters(), like.inputs, strict=True):
        parameter.set_partial_shape(port.get_partial_shape())
    model.validate_nodes_and_infer_types()


class _Graph:
    """Builds the operations, in the order of ``vpbsd.models.inside``."""

    def __init__(self, net: DeployedStudent, shape: Triplet) -> None:
        import openvino.opset13 as ops

        self.net, self.shape, self.ops = net, shape, ops
        self.images: list[tuple[Any, Box]] = []

    def logits(self, crop: Box) -> tuple[Any, Box]:
        """Return logits (1, z, y, x), and of which box, that holds ``crop``."""
        net, factors = self.net, self.net.config.downsampling
        boxes = level_boxes(net.config, net.convs_per_level, self.shape, crop)
        down, encoder = list(net.down), list(net.encoder)
        skips: list[Any] = []
        for i, (box, factor) in enumerate(zip(boxes, factors, strict=True)):
            given = _voxels(box.entered, factor)
            if i == 0:
                x = self._tuples(given, cast(Any, down[0]).tuple_voxels, "stem")
            else:
                x = self._narrow(skips[-1], given, boxes[i - 1].encoded, f"down{i}")
            x = self._layer(x, down[i], f"down{i}")
            ends = (box.entered, box.encoded)
            skips.append(self._chain(x, encoder[i], ends, box.grid, f"encoder{i}"))
        x = skips[-1]
        for i, (box, coarse) in reversed(list(enumerate(pairwise(boxes)))):
            x = self._layer(x, net.up[i], f"up{i}")
            x = self._narrow(x, box.joined, _voxels(coarse.decoded, factors[i + 1]), f"up{i}")
            x = self.ops.add(x, self._narrow(skips[i], box.joined, box.encoded, f"skip{i}"))
            x.set_friendly_name(f"join{i}")
            x = self._chain(x, net.decoder[i], (box.joined, box.decoded), box.grid, f"decoder{i}")
        return self._head(x, crop)

    def _head(self, features: Any, crop: Box) -> tuple[Any, Box]:
        net, n = self.net, self.net.tuple_voxels
        boxes = head_boxes(net.config, self.shape, crop)
        y, got = self._layer(features, net.out_up, "out_up"), boxes.upsampled
        if net.detail is not None and net.refine is not None and net.out is not None:
            detail = self._tuples(got.grow(1), n, "detail")
            y = self.ops.add(y, self._layer(detail, net.detail, "detail", relu=False))
            y.set_friendly_name("seen")
            y = self.ops.relu(y, name="seen_relu")
            pads = padding(boxes.seen, crop)
            y = self._layer(y, net.refine, "refine", pads)
            y = self._layer(y, net.out, "out")
            got = got.grow([pads[0] - 1, pads[1] - 1, n * pads[2] - 1])
        y = self.ops.transpose(y, np.array(_CHANNELS_LAST), name="rows")
        y = self.ops.reshape(y, np.array([0, 0, 0, -1]), special_zero=True, name="voxels")
        return y, got

    def _tuples(self, want: Box, n: int, name: str) -> Any:
        """Take in a box of the image, in tuples of ``n`` voxels."""
        channels = self.net.config.channels
        image = self.ops.parameter((1, *want.shape, channels), np.float32, name=f"{name}.image")
        self.images.append((image, want))
        to = np.array([0, 0, 0, -1, n * channels])
        x = self.ops.reshape(image, to, special_zero=True, name=f"{name}.tuples")
        return self.ops.transpose(x, np.array(_CHANNELS_FIRST), name=f"{name}.first")

    def _chain(self, x: Any, layers: nn.Module, ends: tuple[Box, Box], grid: Box, name: str) -> Any:
        have, want = ends
        chain = list(cast(Iterable[nn.Module], layers))
        for left, layer in zip(reversed(range(len(chain))), chain, strict=True):
            target = want.grow(left).intersect(grid)
            pads = padding(have, target)
            x = self._layer(x, layer, f"{name}.{left}", pads)
            x = self._narrow(x, target, have.grow([p - 1 for p in pads]), f"{name}.{left}")
            have = target
        return x

    def _layer(
        self,
        x: Any,
        layer: Any,
        name: str,
        pads: Triplet = (0, 0, 0),
        *,
        relu: bool | None = None,
    ) -> Any:
        weight = layer.weight.numpy()
        if layer.transposed:
            y = self.ops.convolution_backprop_data(
                x, weight, list(layer.stride), name=f"{name}.conv"
            )
        else:
            y = self.ops.convolution(
                x,
                weight,
                list(layer.stride),
                list(pads),
                list(pads),
                [1, 1, 1],
                name=f"{name}.conv",
            )
        if layer.bias is not None:
            y = self.ops.add(y, layer.bias.numpy().reshape(1, -1, 1, 1, 1), name=f"{name}.bias")
        apply_relu = layer.relu if relu is None else relu
        return self.ops.relu(y, name=f"{name}.relu") if apply_relu else y

    def _narrow(self, x: Any, want: Box, have: Box, name: str) -> Any:
        box = want.relative_to(have)
        limits = [np.array(v) for v in (box.start, box.stop, (1, 1, 1), (2, 3, 4))]
        return self.ops.slice(x, *limits, name=f"{name}.narrow")


def _cut(block: NDArray[np.float32], want: Box) -> NDArray[np.float32]:
    inside = want.clip(block.shape[1:])
    part = np.moveaxis(block[(slice(None), *inside.slices)], 0, -1)
    if inside != want:
        around = [
            (a - b, d - c)
            for a, b, c, d in zip(inside.start, want.start, inside.stop, want.stop, strict=True)
        ]
        part = np.pad(part, [*around, (0, 0)])
    return np.ascontiguousarray(part)[np.newaxis]


def _voxels(cells: Box, factor: Triplet) -> Box:
    return Box(
        as_triplet([a * f for a, f in zip(cells.start, factor, strict=True)]),
        as_triplet([a * f for a, f in zip(cells.stop, factor, strict=True)]),
    )
