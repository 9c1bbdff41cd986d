"""What a net costs: parameters and multiply-accumulates per voxel."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from vpbsd.errors import ConfigError
from vpbsd.models.student import Student
from vpbsd.models.teacher import Teacher

__all__ = ["Cost", "cost", "forward_without_numbers"]

_EDGE_VOXELS = 64


@dataclass(frozen=True, slots=True)
class Cost:
    """Size and work of a net in segmentation.

    Attributes
    ----------
    parameters
        Number of weights that segmentation uses.
    mac_per_voxel
        Multiply-accumulates per input voxel, padding inside the net included.
    """

    parameters: int
    mac_per_voxel: float


def cost(net: nn.Module, input_shape: Sequence[int] | None = None) -> Cost:
    """Count the parameters and multiply-accumulates of ``net`` when it segments.

    Nothing is computed for nets other than the teacher, so that the largest is counted at once.

    Parameters
    ----------
    net
        Left as it is.
    input_shape
        (c, z, y, x) of what is counted on; needed by all but student and teacher, which are
        counted on patches of about 64 voxels per edge by default. A net that pads its input, or
        whose attention grows with it, costs more per voxel on one shape than on another.

    Raises
    ------
    ConfigError
        If the shape is missing.
    """
    from torch.utils.flop_counter import FlopCounterMode

    shape = _input_shape(net, input_shape)
    with FlopCounterMode(display=False) as counter:
        if isinstance(net, Teacher):
            _segment_with_teacher(net, shape)
        else:
            forward_without_numbers(net, shape)
    unused = {id(p) for p in net.reconstruct.parameters()} if isinstance(net, Teacher) else set()
    parameters = sum(p.numel() for p in net.parameters() if id(p) not in unused)
    # One multiply-accumulate is two floating-point operations.
    return Cost(parameters, counter.get_total_flops() / 2 / math.prod(shape[1:]))


def forward_without_numbers(net: nn.Module, input_shape: Sequence[int]) -> Tensor:
    """Run ``net`` in evaluation mode on tensors that have a shape but no values.

    Parameters
    ----------
    net
        Left as it is. What it does may not depend on values.
    input_shape
        (c, z, y, x) of one input.

    Returns
    -------
    Tensor
        Of the shape of the result, on torch's device ``meta``.
    """
    held = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    state = {name: torch.empty_like(value, device="meta") for name, value in held.items()}
    x = torch.empty(1, *input_shape, device="meta")
    with torch.inference_mode(), _evaluating(net):
        result: Tensor = functional_call(net, state, (x,))
    return result


def _segment_with_teacher(net: Teacher, shape: Sequence[int]) -> None:
    # On a copy, because a codebook that was never trained starts from the first batch it sees.
    copied = copy.deepcopy(net).cpu().eval()
    with torch.inference_mode():
        copied(torch.zeros(1, *shape), "segment")


def _input_shape(net: nn.Module, asked: Sequence[int] | None) -> tuple[int, ...]:
    if asked is not None:
        return tuple(asked)
    if not isinstance(net, Student | Teacher):
        raise ConfigError(
            f"the cost of a {type(net).__name__} depends on what it is shown: give the shape "
            "(c, z, y, x) of its input"
        )
    edges = (max(s, _EDGE_VOXELS // s * s) for s in net.stride)
    return (net.config.channels, *edges)


@contextmanager
def _evaluating(net: nn.Module) -> Iterator[None]:
    training = {name: module.training for name, module in net.named_modules()}
    net.eval()
    try:
        yield
    finally:
        for name, module in net.named_modules():
            module.training = training[name]
