"""Nets as small as they can be that still have a stride, a halo and batch normalisation."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from vpbsd.volumes import IntensityScale


class SmallNet(nn.Module):
    """3x3x3 convolution, down by 2, 3x3x3 convolution, up by 2, added to the first.

    A voxel sees 1 + (1 cell of 2) + rounding to cells (1) = 4 voxels at most.
    """

    stride = (2, 2, 2)
    halo_voxels = (4, 4, 4)

    def __init__(self, channels: int = 1, seed: int = 0) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv3d(channels, 4, 3, padding=1), nn.BatchNorm3d(4))
        self.down = nn.Conv3d(4, 8, 2, stride=2)
        self.middle = nn.Sequential(nn.Conv3d(8, 8, 3, padding=1), nn.BatchNorm3d(8))
        self.up = nn.ConvTranspose3d(8, 4, 2, stride=2)
        self.out = nn.Conv3d(4, 1, 1)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for value in (*self.parameters(), *self.buffers()):
                if value.is_floating_point():
                    value.uniform_(-0.5, 0.5, generator=generator)
            for norm in (self.first[1], self.middle[1]):
                norm.running_var.uniform_(0.5, 2.0, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        fine = torch.relu(self.first(x))
        coarse = torch.relu(self.middle(torch.relu(self.down(fine))))
        return self.out(fine + self.up(coarse))

    def fold(self) -> SmallNet:
        net = copy.deepcopy(self).eval()
        for name in ("first", "middle"):
            conv, norm = getattr(net, name)
            setattr(net, name, fuse_conv_bn_eval(conv, norm))
        return net


@dataclass(frozen=True)
class SmallModel:
    """What ``load_model`` returns, as far as segmentation looks at it."""

    net: nn.Module
    threshold: float = 0.5
    kind: str = "student"
    fingerprint: str = "weights-1"


class Constant(nn.Module):
    """The same logit everywhere."""

    stride = (1, 1, 1)
    halo_voxels = (0, 0, 0)

    def __init__(self, logit: float) -> None:
        super().__init__()
        self.conv = nn.Conv3d(1, 1, 1)
        nn.init.zeros_(self.conv.weight)
        nn.init.constant_(self.conv.bias, logit)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


@pytest.fixture(scope="session")
def small_net() -> type[SmallNet]:
    """Class of the small net; call it with ``channels`` and ``seed``."""
    return SmallNet


@pytest.fixture(scope="session")
def small_model() -> type[SmallModel]:
    """Class of a loaded model; call it with a net."""
    return SmallModel


@pytest.fixture(scope="session")
def constant_net() -> type[Constant]:
    """Class of a net that gives one logit everywhere."""
    return Constant


@pytest.fixture(scope="session")
def unit_scale() -> IntensityScale:
    """An intensity scale that is nothing but asinh."""
    return IntensityScale((0.0,), (1.0,))
