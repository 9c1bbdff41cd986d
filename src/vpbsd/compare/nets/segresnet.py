"""SegResNet: a deep residual encoder and a shallow decoder (Myronenko 2018), from MONAI."""

from __future__ import annotations

from vpbsd.compare.nets.extra import monai_nets
from vpbsd.compare.nets.pyramid import multiple_of, pyramid
from vpbsd.compare.nets.windowed import Windowed
from vpbsd.config import RunConfig

__all__ = ["segresnet"]

_FIRST_WIDTH = 16


def segresnet(config: RunConfig) -> Windowed:
    """Build SegResNet with 16 features at full resolution, without the variational branch."""
    channels = config.student.channels
    net = monai_nets().SegResNet(3, _FIRST_WIDTH, channels, 1)
    factors = pyramid(config, len(net.blocks_down) - 1)
    ups = reversed(list(net.up_samples))
    for down, up, factor in zip(list(net.down_layers)[1:], ups, factors, strict=True):
        # MONAI's own halve and double every axis.
        down[0].conv.stride = factor
        up[1].upsample_non_trainable.scale_factor = tuple(float(f) for f in factor)
    return Windowed.of(net, config, multiple_of(factors), bytes_per_voxel=3600)
