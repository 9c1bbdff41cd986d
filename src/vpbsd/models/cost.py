"""What a net costs: parameters and multiply-accumulates per voxel."""

from __future__ import annotations

import copy
import functools
from dataclasses import dataclass

import torch

from vpbsd.models.student import Student
from vpbsd.models.teacher import Teacher

__all__ = ["Cost", "cost"]

_EDGE_VOXELS = 64


@dataclass(frozen=True, slots=True)
class Cost:
    """Size and work of a net in segmentation.

    Attributes
    ----------
    parameters
        Number of weights that segmentation uses.
    mac_per_voxel
        Multiply-accumulates per input voxel, counted on a patch of about 64 voxels per edge.
    """

    parameters: int
    mac_per_voxel: float


def cost(net: Student | Teacher) -> Cost:
    """Count the parameters and multiply-accumulates of ``net`` when it segments."""
    from torch.utils.flop_counter import FlopCounterMode

    edges = [max(s, _EDGE_VOXELS // s * s) for s in net.stride]
    x = torch.zeros(1, net.config.channels, *edges)
    # On a copy, because a codebook that was never trained starts from the first batch it sees.
    net = copy.deepcopy(net).cpu().eval()
    forward = functools.partial(net, task="segment") if isinstance(net, Teacher) else net
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        forward(x)
    unused = {id(p) for p in net.reconstruct.parameters()} if isinstance(net, Teacher) else set()
    parameters = sum(p.numel() for p in net.parameters() if id(p) not in unused)
    # One multiply-accumulate is two floating-point operations.
    return Cost(parameters, counter.get_total_flops() / 2 / x[0, 0].numel())
