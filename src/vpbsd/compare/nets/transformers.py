"""Nets with a transformer for an encoder: UNETR and Swin UNETR, from MONAI.

Both divide every axis alike, UNETR by 16 and Swin UNETR by 32; a patch that is no multiple, as of
a thin stack, is mirrored up to one, and pays for it.
"""

from __future__ import annotations

from vpbsd.compare.nets.extra import monai_nets
from vpbsd.compare.nets.windowed import Windowed
from vpbsd.config import RunConfig
from vpbsd.geometry import as_triplet

__all__ = ["swin_unetr", "unetr"]

_UNETR_TOKEN = 16
_SWIN_DIVISOR = 32
_SWIN_WIDTH = 24


def unetr(config: RunConfig) -> Windowed:
    """Build UNETR of the paper's size: 12 layers of 768 (Hatamizadeh et al., WACV 2022).

    Its learnt position embedding holds for one shape of window.
    """
    window = [-(-n // _UNETR_TOKEN) * _UNETR_TOKEN for n in config.distill.patch_voxels]
    net = monai_nets().UNETR(config.student.channels, 1, window)
    return Windowed.of(net, config, as_triplet(_UNETR_TOKEN), bytes_per_voxel=3200)


def swin_unetr(config: RunConfig) -> Windowed:
    """Build Swin UNETR with 24 features, MONAI's default (Hatamizadeh et al. 2022; there 48)."""
    net = monai_nets().SwinUNETR(config.student.channels, 1, feature_size=_SWIN_WIDTH)
    z = y = x = _SWIN_DIVISOR
    if max(config.distill.patch_voxels) <= _SWIN_DIVISOR:
        # A single cell on the coarsest grid cannot be normalised.
        x = 2 * _SWIN_DIVISOR
    return Windowed.of(net, config, (z, y, x), bytes_per_voxel=2700)
