"""Building blocks that teacher and student share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from vpbsd.geometry import Triplet

__all__ = [
    "Conv3",
    "ConvBatchNorm",
    "ConvGroupNorm",
    "Down",
    "SmallGridConv3d",
    "Up",
    "channels_last",
    "check_patch",
    "foreground_bias",
    "with_safe_convolutions",
]


def foreground_bias(share: float) -> float:
    """Logit at which an untrained head predicts vessels with probability ``share``."""
    return math.log(share / (1 - share))


class SmallGridConv3d(nn.Conv3d):
    """3D convolution whose gradients hold on grids smaller than its kernel, too.

    On CPUs the bf16 weight gradient of a convolution over a grid fewer cells deep than the kernel
    is computed from memory that nobody wrote, and some shapes write past their end (seen with
    torch 2.13, kernels of 3 and 5: gradients that change from run to run, now and then NaN or
    a crash). Grids that small cost nothing, so they are trained in fp32.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B, inputs, D, H, W)."""
        small = any(n < k for n, k in zip(x.shape[2:], self.kernel_size, strict=True))
        if not small or not torch.is_grad_enabled() or x.device.type != "cpu":
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.to(self.weight.dtype))


def with_safe_convolutions(net: nn.Module) -> nn.Module:
    """Give every 3D convolution in ``net`` gradients that hold on small grids; in place.

    Weights and their names stay. See :class:`SmallGridConv3d`.
    """
    for parent in list(net.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Conv3d:
                setattr(parent, name, _safe(child))
    return net


def _safe(conv: nn.Conv3d) -> SmallGridConv3d:
    with torch.device("meta"):  # its own weights are not drawn: it takes those that there are
        safe = SmallGridConv3d(
            conv.in_channels,
            conv.out_channels,
            cast(Triplet, conv.kernel_size),
            stride=cast(Triplet, conv.stride),
            padding=conv.padding,  # type: ignore[arg-type]
            dilation=cast(Triplet, conv.dilation),
            groups=conv.groups,
        )
    safe.weight, safe.bias = conv.weight, conv.bias
    return safe


class Conv3(SmallGridConv3d):
    """3x3x3 convolution with zero padding."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1, bias=False)


class ConvBatchNorm(nn.Sequential):
    """3x3x3 convolution, batch normalisation (foldable at deployment), ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            Conv3(inputs, outputs),
            nn.BatchNorm3d(outputs),
            nn.ReLU(inplace=True),
        )


class ConvGroupNorm(nn.Module):
    """3x3x3 convolution, group normalisation, GELU, with a residual path of equal width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = Conv3(width, width)
        self.norm = nn.GroupNorm(8, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width, D, H, W) to the same shape."""
        return x + nn.functional.gelu(self.norm(self.conv(x)))


class Down(nn.Conv3d):
    """Convolution over disjoint cells of ``factor`` voxels.

    Cells do not overlap, so a cell of the coarse grid and the cell that ``Up`` writes back are
    the same voxels: downsampling adds nothing to the receptive field but rounding to cells.
    """

    def __init__(self, inputs: int, outputs: int, factor: Sequence[int]) -> None:
        z, y, x = factor
        super().__init__(inputs, outputs, (z, y, x), stride=(z, y, x))


class Up(nn.ConvTranspose3d):
    """Transposed convolution that fills disjoint cells of ``factor`` voxels."""

    def __init__(self, inputs: int, outputs: int, factor: Sequence[int]) -> None:
        z, y, x = factor
        super().__init__(inputs, outputs, (z, y, x), stride=(z, y, x))


def channels_last(net: nn.Module) -> None:
    """Lay out the kernels of 3D convolutions so that features lie channel by channel in memory.

    Convolutions hand this layout on, and nets of convolutions and batch normalisation alone train
    in a third less time on CPUs. (Instance and group normalisation take longer for it.)
    """
    # torch's own annotations leave out `memory_format`.
    cast(Any, net).to(memory_format=torch.channels_last_3d)


def check_patch(x: Tensor, stride: Triplet, net: str) -> None:
    """Raise ``ValueError`` unless ``x`` (B, C, D, H, W) has edges that ``stride`` divides."""
    if x.ndim != 5 or any(n % s for n, s in zip(x.shape[2:], stride, strict=True)):
        raise ValueError(
            f"the {net} takes (B, C, D, H, W) with edges divisible by {stride}, "
            f"got {tuple(x.shape)}"
        )
