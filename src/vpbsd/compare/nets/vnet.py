"""V-Net: residual levels of 5x5x5 convolutions (Milletari et al. 2016), from MONAI."""

from __future__ import annotations

from torch import nn

from vpbsd.compare.nets.extra import monai_nets
from vpbsd.compare.nets.pyramid import multiple_of, pyramid
from vpbsd.compare.nets.windowed import Windowed
from vpbsd.config import RunConfig
from vpbsd.errors import ConfigError

__all__ = ["vnet"]

# Names of MONAI's levels, finest first, by their width.
_LEVELS = (32, 64, 128, 256)
_FIRST_WIDTH = 16


def vnet(config: RunConfig) -> Windowed:
    """Build V-Net with its dropout; the image is added to the first level, repeated 16 times.

    Raises
    ------
    ConfigError
        If the image has a number of channels that does not divide 16.
    """
    channels = config.student.channels
    if _FIRST_WIDTH % channels:
        raise ConfigError(
            f"V-Net repeats the image to {_FIRST_WIDTH} channels, which {channels} "
            "(student.channels) do not divide: leave vnet out of this comparison"
        )
    net = monai_nets().VNet(3, channels, 1)
    factors = pyramid(config, len(_LEVELS))
    for width, factor in zip(_LEVELS, factors, strict=True):
        down, up = net.get_submodule(f"down_tr{width}"), net.get_submodule(f"up_tr{width}")
        # MONAI's own halve and double every axis.
        old = down.down_conv
        down.down_conv = nn.Conv3d(
            old.in_channels, old.out_channels, factor, stride=factor, bias=old.bias is not None
        )
        old = up.up_conv
        up.up_conv = nn.ConvTranspose3d(old.in_channels, old.out_channels, factor, stride=factor)
    return Windowed.of(net, config, multiple_of(factors), bytes_per_voxel=1250)
