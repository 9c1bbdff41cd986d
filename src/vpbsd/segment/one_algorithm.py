"""Convolutions that round alike whatever the size of the block.

On one thread, torch computes the fp32 convolution of a single image with oneDNN if
``channels * z * y`` is above 20480, and otherwise through a matrix product: sums are taken in
another order, so that a small block differs from a large one in the last bits (and takes longer).
The modules here always go the same way.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["one_algorithm"]


class _Convolution(nn.Module):
    """A zero-padded convolution, always by oneDNN."""

    def __init__(self, conv: nn.Conv3d) -> None:
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias
        self.stride, self.dilation, self.groups = conv.stride, conv.dilation, conv.groups
        self.padding = tuple(int(p) for p in conv.padding)

    def forward(self, x: Tensor) -> Tensor:
        return torch.mkldnn_convolution(
            x, self.weight, self.bias, self.padding, self.stride, self.dilation, self.groups
        )


class _Transposed(nn.Module):
    """A transposed convolution as a batch of two, which torch always gives to oneDNN.

    There is no direct call as for convolutions. Only layers below torch's own threshold are
    doubled, and those are cheap.
    """

    def __init__(self, conv: nn.ConvTranspose3d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        if len(x) == 1 and x[0, ..., 0].numel() <= 20480:
            pair: Tensor = self.conv(x.expand(2, -1, -1, -1, -1))
            return pair[:1]
        alone: Tensor = self.conv(x)
        return alone


def one_algorithm(net: nn.Module) -> nn.Module:
    """Replace the convolutions of a net, in place, and return it.

    Convolutions that pad with something other than zeros keep torch's choice.
    """
    if isinstance(net, nn.ConvTranspose3d):
        return _Transposed(net)
    if isinstance(net, nn.Conv3d):
        plain = net.padding_mode == "zeros" and not isinstance(net.padding, str)
        return _Convolution(net) if plain else net
    for name, child in net.named_children():
        setattr(net, name, one_algorithm(child))
    return net
