"""A light net after HP-VSP's MINet: three resolutions side by side, fused by attention.

Grouped bottlenecks at full, half and quarter resolution, each begun by a link that looks one level
coarser and adds what it saw; the three are brought back to full resolution, stacked, weighted by
channel and by place (CBAM, Woo et al. 2018), and classified. Written from the layout that the
authors of HP-VSP published (Li et al., Bioinformatics 2023); where they halve all axes, thin
stacks are spared along z as they are by our student.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_max_pool3d, interpolate

from vpbsd.compare.nets.pyramid import multiple_of, pyramid
from vpbsd.compare.nets.windowed import Windowed
from vpbsd.config import RunConfig
from vpbsd.geometry import Triplet, as_triplet
from vpbsd.models.layers import channels_last

__all__ = ["MultiResolutionNet", "hp_vsp"]

_WIDTH, _QUARTER_WIDTH = 32, 16
_GROUPS = 2
_DROPOUT = 0.1
_REDUCTION, _PLACE_KERNEL = 16, 7


class MultiResolutionNet(nn.Module):
    """Branches at three resolutions and their fusion.

    Parameters
    ----------
    channels
        Of the image.
    factors
        (z, y, x) from full to half resolution, on to a quarter, and on to an eighth.
    """

    def __init__(self, channels: int, factors: tuple[Triplet, Triplet, Triplet]) -> None:
        super().__init__()
        half, quarter, eighth = factors
        self.fine = _branch(channels, half, bottlenecks=3)
        self.middle = nn.Sequential(
            nn.AvgPool3d(half),
            *_branch(channels, quarter, bottlenecks=3),
            nn.ConvTranspose3d(_WIDTH, _WIDTH, half, stride=half),
        )
        self.coarse = nn.Sequential(
            nn.AvgPool3d(_product(half, quarter)),
            *_branch(channels, eighth, bottlenecks=2),
            nn.ConvTranspose3d(_WIDTH, _WIDTH, quarter, stride=quarter),
            *_bottleneck(_WIDTH, _QUARTER_WIDTH),
            nn.ConvTranspose3d(_QUARTER_WIDTH, _QUARTER_WIDTH, half, stride=half),
        )
        fused = 2 * _WIDTH + _QUARTER_WIDTH
        self.attention = _Attention(fused)
        self.out = nn.Sequential(*_bottleneck(fused, fused // 2), nn.Conv3d(fused // 2, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return vessel logits (B, 1, D, H, W) of intensities (B, C, D, H, W)."""
        fused = torch.cat([self.fine(x), self.middle(x), self.coarse(x)], dim=1)
        return cast(Tensor, self.out(self.attention(fused)))


class _Link(nn.Module):
    """Adds what a convolution sees at the next coarser resolution."""

    def __init__(self, width: int, factor: Triplet) -> None:
        super().__init__()
        self.coarse = nn.Sequential(
            nn.AvgPool3d(factor),
            nn.Conv3d(width, width, 3, padding=1),
            nn.BatchNorm3d(width),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + interpolate(self.coarse(x), size=x.shape[2:], mode="trilinear")


class _Attention(nn.Module):
    """CBAM beside an identity: ``x + x * channel gate * place gate``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.channel = nn.Sequential(
            nn.Conv3d(width, width // _REDUCTION, 1, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv3d(width // _REDUCTION, width, 1, bias=False),
        )
        self.place = nn.Conv3d(2, 1, _PLACE_KERNEL, padding=_PLACE_KERNEL // 2)

    def forward(self, x: Tensor) -> Tensor:
        largest, mean = adaptive_max_pool3d(x, 1), x.mean((2, 3, 4), keepdim=True)
        gated = x * torch.sigmoid(self.channel(largest) + self.channel(mean))
        seen = torch.cat([gated.amax(1, keepdim=True), gated.mean(1, keepdim=True)], dim=1)
        return x + gated * torch.sigmoid(self.place(seen))


def _branch(channels: int, coarser: Triplet, *, bottlenecks: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(channels, _WIDTH, 3, padding=1),
        nn.BatchNorm3d(_WIDTH),
        nn.Dropout(_DROPOUT),
        nn.ReLU(inplace=True),
        _Link(_WIDTH, coarser),
        *(layer for _ in range(bottlenecks) for layer in _bottleneck(_WIDTH, _WIDTH)),
    )


def _bottleneck(inputs: int, outputs: int) -> list[nn.Module]:
    """Half as many features, mixed in space by groups, and back."""
    inner = outputs // 2
    return [
        *_normalised(nn.Conv3d(inputs, inner, 1)),
        *_normalised(nn.Conv3d(inner, inner, 3, padding=1, groups=_GROUPS)),
        *_normalised(nn.Conv3d(inner, outputs, 1)),
    ]


def _normalised(conv: nn.Conv3d) -> list[nn.Module]:
    return [conv, nn.BatchNorm3d(conv.out_channels), nn.ReLU(inplace=True)]


def _product(a: Triplet, b: Triplet) -> Triplet:
    return as_triplet([m * n for m, n in zip(a, b, strict=True)])


def hp_vsp(config: RunConfig) -> Windowed:
    """Build the net for the images of a run; its gates see the whole window."""
    channels = config.student.channels
    half, quarter, eighth = factors = pyramid(config, 3)
    net = MultiResolutionNet(channels, (half, quarter, eighth))
    channels_last(net)
    return Windowed.of(net, config, multiple_of(factors), bytes_per_voxel=2200)
