"""nnU-Net's net, configured by its rules (Isensee et al. 2021), as MONAI's DynUNet.

nnU-Net looks at patch and voxel size and decides: an axis is halved while 4 cells remain, widths
double from 32 up to 320, kernels are one voxel thick along an axis of thick planes until the
others have been halved to match it. Coarser levels are supervised too, all but the two coarsest.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vpbsd.compare.nets.extra import monai_nets
from vpbsd.compare.nets.pyramid import multiple_of, pyramid
from vpbsd.compare.nets.windowed import Windowed
from vpbsd.config import RunConfig
from vpbsd.geometry import Triplet, as_triplet

__all__ = ["dynunet"]

_LEAST_CELLS = 4
_LEAST_LEVELS = 2
_UNSUPERVISED_LEVELS = 3


def dynunet(config: RunConfig) -> Windowed:
    """Build DynUNet; with four levels or more it gives (B, heads, 1, D, H, W) while it trains."""
    channels = config.student.channels
    factors = pyramid(config, least_cells=_LEAST_CELLS)
    if len(factors) < _LEAST_LEVELS:  # a patch so small that MONAI would have no level to build
        factors = pyramid(config, _LEAST_LEVELS, least_cells=1)
    strides: list[Triplet] = [(1, 1, 1), *factors]
    heads = len(strides) - _UNSUPERVISED_LEVELS
    net = monai_nets().DynUNet(
        3,
        channels,
        1,
        _kernels(factors),
        strides,
        strides[1:],
        deep_supervision=heads > 0,
        deep_supr_num=max(heads, 1),
    )
    supervised = _Supervised(net) if heads > 0 else _once(net)
    return Windowed.of(supervised, config, multiple_of(factors), bytes_per_voxel=1800)


class _Supervised(nn.Module):
    """DynUNet that does not hold on to the coarser results of its last step.

    Held, they could not be copied, and would keep the step's graph alive.
    """

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.dynunet = _once(net)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, in training a stack of them, finest first."""
        net: Any = self.dynunet
        out: Tensor = net(x)
        net.heads[:] = [torch.zeros(1)] * len(net.heads)
        return out


def _once(net: Any) -> nn.Module:
    """Drop MONAI's second name of each block, or every weight would be saved twice."""
    for name in ("input_block", "downsamples", "bottleneck", "upsamples", "deep_supervision_heads"):
        if hasattr(net, name):
            delattr(net, name)
    kept: nn.Module = net
    return kept


def _kernels(factors: tuple[Triplet, ...]) -> list[Triplet]:
    """Return a kernel per level: 1 along an axis that is spared while another is divided."""
    kernels: list[Triplet] = []
    spared = [True, True, True]
    for factor in factors:
        spared = [s and f == 1 and max(factor) > 1 for s, f in zip(spared, factor, strict=True)]
        kernels.append(as_triplet([1 if s else 3 for s in spared]))
    return [*kernels, (3, 3, 3)]
