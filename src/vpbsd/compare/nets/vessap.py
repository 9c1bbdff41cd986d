"""VesSAP's net: a small fully convolutional net, here with cross-hair filters.

Four convolutions at full resolution and one classifier, no pooling: Todorov et al., *VesSAP*,
Nature Methods 2020, after DeepVesselNet. A cross-hair filter replaces the k x k x k kernel by one
kernel in each of the three planes through a voxel, summed (Tetteh et al. 2020, eq. 3):

    I * M  =  I * M_yx  +  I * M_zx  +  I * M_zy
"""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from vpbsd.config import RunConfig
from vpbsd.geometry import Triplet
from vpbsd.models.layers import SmallGridConv3d, channels_last

__all__ = ["CrossHairConv", "VessapNet", "vessap_fcn"]

_WIDTHS = (5, 10, 20, 50)
_KERNELS = (3, 5, 5, 3)


class CrossHairConv(nn.Module):
    """Sum of three planar convolutions of ``kernel`` x ``kernel`` voxels, and one bias."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        half = kernel // 2

        def planar(k: Triplet, padding: Triplet, *, bias: bool) -> nn.Conv3d:
            conv = SmallGridConv3d(inputs, outputs, k, padding=padding, bias=bias)
            nn.init.xavier_uniform_(conv.weight)
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)
            return conv

        self.yx = planar((1, kernel, kernel), (0, half, half), bias=True)
        self.zx = planar((kernel, 1, kernel), (half, 0, half), bias=False)
        self.zy = planar((kernel, kernel, 1), (half, half, 0), bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B, inputs, D, H, W) to (B, outputs, D, H, W)."""
        return cast(Tensor, self.yx(x) + self.zx(x) + self.zy(x))


class VessapNet(nn.Module):
    """Cross-hair layers of 5, 10, 20 and 50 features with tanh between, and a 1x1x1 classifier.

    Parameters
    ----------
    channels
        Of the image.
    """

    stride: Triplet = (1, 1, 1)
    halo_voxels: Triplet = (6, 6, 6)
    """Its receptive field: 1 + 2 + 2 + 1 voxels to each side."""
    block_voxels = None
    """Blocks may be of any size."""
    bytes_per_voxel = 1450.0
    """Measured peak in fp32."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        widths = pairwise((channels, *_WIDTHS))
        self.layers = nn.ModuleList(
            CrossHairConv(a, b, kernel) for (a, b), kernel in zip(widths, _KERNELS, strict=True)
        )
        self.out = nn.Conv3d(_WIDTHS[-1], 1, 1)
        channels_last(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return vessel logits (B, 1, D, H, W) of intensities (B, C, D, H, W)."""
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return cast(Tensor, self.out(x))


def vessap_fcn(config: RunConfig) -> VessapNet:
    """Build VesSAP's net for the images of a run."""
    return VessapNet(config.student.channels)
