"""The student: a light convolutional net with a finite receptive field.

Everything in it is a convolution, a batch normalisation or a ReLU, so a voxel's result depends on
the voxels within ``halo_voxels`` and on nothing else. Cut a volume into blocks that start at
multiples of ``stride`` and are grown by ``halo_voxels``, and the result does not change.
"""

from __future__ import annotations

import copy
from typing import cast

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from vpbsd.config import StudentConfig
from vpbsd.geometry import Box, Triplet, as_triplet
from vpbsd.models.inside import (
    convolve,
    features_inside,
    head_boxes,
    level_boxes,
    narrow,
    padding,
)
from vpbsd.models.layers import (
    ConvBatchNorm,
    Down,
    Up,
    channels_last,
    check_patch,
    foreground_bias,
)

__all__ = ["Student"]

_FINE_WIDTH = 8
_FIRST_LEVEL_CONVS = 2


class Student(nn.Module):
    """U-shaped net with additive skips and non-overlapping down- and upsampling.

    Parameters
    ----------
    config
        Widths, downsampling factors and preset.
    """

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        self.config = config
        widths, factors = config.widths, config.downsampling
        inputs = (config.channels, *widths[:-1])
        self.down = nn.ModuleList(
            Down(a, b, f) for a, b, f in zip(inputs, widths, factors, strict=True)
        )
        self.encoder = nn.ModuleList(_level(i, width) for i, width in enumerate(widths))
        self.up = nn.ModuleList(
            Up(widths[i + 1], widths[i], factors[i + 1]) for i in range(len(widths) - 1)
        )
        self.decoder = nn.ModuleList(_level(i, width) for i, width in enumerate(widths[:-1]))
        if config.preset == "fine":
            self.detail: nn.Module | None = nn.Conv3d(config.channels, _FINE_WIDTH, 3, padding=1)
            self.out_up = Up(widths[0], _FINE_WIDTH, factors[0])
            self.refine: nn.Module = ConvBatchNorm(_FINE_WIDTH, _FINE_WIDTH)
            self.out: nn.Module = nn.Conv3d(_FINE_WIDTH, 1, 1)
        else:
            self.detail = None
            self.out_up = Up(widths[0], 1, factors[0])
            self.refine, self.out = nn.Identity(), nn.Identity()
        last = self.out if config.preset == "fine" else self.out_up
        nn.init.constant_(cast(Tensor, last.bias), foreground_bias(0.1))
        channels_last(self)

    @property
    def stride(self) -> Triplet:
        """Edges of an input must be multiples of this (z, y, x)."""
        return self.config.stride

    @property
    def receptive_field_voxels(self) -> Triplet:
        """How far (z, y, x) an input voxel can be from an output voxel that it changes.

        Each 3x3x3 convolution on a level reaches one cell of that level further; cells are
        non-overlapping, so all reaches add up in voxels, and the outermost cell counts whole:
        ``sum(reach) + stride - 1``.
        """
        levels = len(self.config.widths)
        reach = [1 if self.config.preset == "fine" else 0] * 3
        cell = [1, 1, 1]
        for level, factor in enumerate(self.config.downsampling):
            cell = [c * f for c, f in zip(cell, factor, strict=True)]
            passes = 1 if level == levels - 1 else 2
            convs = passes * _convs(level)
            reach = [r + convs * c for r, c in zip(reach, cell, strict=True)]
        z, y, x = (r + s - 1 for r, s in zip(reach, self.stride, strict=True))
        return (z, y, x)

    @property
    def halo_voxels(self) -> Triplet:
        """The receptive field rounded up to whole strides: what a block must read around it."""
        z, y, x = (
            -(-r // s) * s for r, s in zip(self.receptive_field_voxels, self.stride, strict=True)
        )
        return (z, y, x)

    @property
    def convs_per_level(self) -> tuple[int, ...]:
        """Number of 3x3x3 convolutions on each level, finest first: down, and again up."""
        return tuple(_convs(level) for level in range(len(self.config.widths)))

    def features(self, x: Tensor) -> list[Tensor]:
        """Return the decoder's features of each level, finest first.

        Parameters
        ----------
        x
            Normalised intensities (B, C, D, H, W).

        Returns
        -------
        list of Tensor
            Level ``i`` is (B, widths[i], D/s, H/s, W/s) with ``s`` the stride of that level.
        """
        check_patch(x, self.stride, "student")
        skips: list[Tensor] = []
        for down, encode in zip(self.down, self.encoder, strict=True):
            x = encode(down(x))
            skips.append(x)
        out = [skips[-1]]
        for i in reversed(range(len(self.up))):
            out.insert(0, self.decoder[i](skips[i] + self.up[i](out[0])))
        return out

    def head(self, x: Tensor, features: list[Tensor]) -> Tensor:
        """Return logits (B, 1, D, H, W) from the image and its ``features``."""
        y: Tensor = self.out_up(features[0])
        if self.detail is not None:
            y = self.refine(nn.functional.relu(y + self.detail(x)))
        return cast(Tensor, self.out(y))

    def forward(self, x: Tensor) -> Tensor:
        """Return vessel logits (B, 1, D, H, W) of normalised intensities (B, C, D, H, W)."""
        return self.head(x, self.features(x))

    def forward_inside(self, x: Tensor, crop: Box) -> Tensor:
        """Return ``forward(x)`` in a box, without computing what only the rest would need.

        Parameters
        ----------
        x
            Normalised intensities (B, C, D, H, W) of a block with its halo.
        crop
            In voxels of the block, not empty; logits are (B, 1, *crop.shape).
        """
        check_patch(x, self.stride, "student")
        boxes = level_boxes(self.config, self.convs_per_level, as_triplet(x.shape[2:]), crop)
        features = features_inside(self, x, boxes, self.config.downsampling)
        return self._head_inside(x, features, crop)

    def _head_inside(self, x: Tensor, features: Tensor, crop: Box) -> Tensor:
        boxes = head_boxes(self.config, as_triplet(x.shape[2:]), crop)
        y = narrow(self.out_up(features), boxes.seen, boxes.upsampled)
        if self.detail is not None:
            y += narrow(self.detail(narrow(x, boxes.image, boxes.block)), boxes.seen, boxes.image)
            pad = padding(boxes.seen, crop)
            y = convolve(self.refine, nn.functional.relu_(y), pad)
            y = narrow(y, crop, boxes.seen.grow([p - 1 for p in pad]))
        return cast(Tensor, self.out(y))

    def fold(self) -> Student:
        """Return a copy for inference with every batch normalisation folded into its convolution.

        The result equals this net in evaluation mode up to rounding.
        """
        net = copy.deepcopy(self).eval()
        for module in list(net.modules()):
            if isinstance(module, ConvBatchNorm):
                conv, norm = cast(nn.Conv3d, module[0]), cast(nn.BatchNorm3d, module[1])
                module[0] = fuse_conv_bn_eval(conv, norm)
                module[1] = nn.Identity()
        return net


def _convs(level: int) -> int:
    # The first level sees capillaries at their full count; a second convolution there pays most.
    return _FIRST_LEVEL_CONVS if level == 0 else 1


def _level(level: int, width: int) -> nn.Sequential:
    return nn.Sequential(*(ConvBatchNorm(width, width) for _ in range(_convs(level))))
