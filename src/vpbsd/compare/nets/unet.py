"""U-Nets of convolutions alone: with residual units, as Çiçek drew it, with attention gates.

All three from MONAI, five levels deep, with a third axis that is halved where ours is.
"""

from __future__ import annotations

from torch import nn

from vpbsd.compare.nets.extra import monai_nets
from vpbsd.compare.nets.pyramid import multiple_of, pyramid
from vpbsd.compare.nets.windowed import Windowed
from vpbsd.config import RunConfig

__all__ = ["attention_unet", "basic_unet", "unet"]

_WIDTHS = (16, 32, 64, 128, 256)


def unet(config: RunConfig) -> Windowed:
    """Build the 3D U-Net that MONAI names so: strided, with two residual units a level.

    Kerfoot et al. 2018. Its first level already halves the image: light, and blind to detail.
    """
    factors = pyramid(config, len(_WIDTHS) - 1)
    channels = config.student.channels
    net = monai_nets().UNet(3, channels, 1, _WIDTHS, factors, num_res_units=2)
    return Windowed.of(net, config, multiple_of(factors), bytes_per_voxel=1000)


def attention_unet(config: RunConfig) -> Windowed:
    """Build the Attention U-Net: gates on the skips tell where to look (Oktay et al. 2018)."""
    factors = pyramid(config, len(_WIDTHS) - 1)
    channels = config.student.channels
    net = monai_nets().AttentionUnet(3, channels, 1, _WIDTHS, factors)
    return Windowed.of(net, config, multiple_of(factors), bytes_per_voxel=2600)


def basic_unet(config: RunConfig) -> Windowed:
    """Build the 3D U-Net as Çiçek et al. (2016) drew it, in MONAI's width of 32 to 256.

    Two convolutions a level from full resolution on, pooling, concatenated skips; with instance
    instead of batch normalisation.
    """
    channels = config.student.channels
    net = monai_nets().BasicUNet(3, channels, 1)
    factors = pyramid(config, 4)
    for level, factor in enumerate(factors, start=1):
        net.get_submodule(f"down_{level}").max_pooling = nn.MaxPool3d(factor)
        up = net.get_submodule(f"upcat_{level}").upsample
        # MONAI's own doubles every axis.
        old = up.deconv
        up.deconv = nn.ConvTranspose3d(old.in_channels, old.out_channels, factor, stride=factor)
    return Windowed.of(net, config, multiple_of(factors), bytes_per_voxel=2400)
