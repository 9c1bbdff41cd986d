"""nnU-Net's augmentation of intensities, as far as it goes beyond what all methods share.

All labelled patches are already rotated, zoomed, mirrored along every axis, blurred and made noisy
(:mod:`vpbsd.data.augment`), and mirroring twice at random is mirroring once. What is left of
nnU-Net's recipe (Isensee et al. 2021, supplementary note 4; probabilities and ranges of its
version 2), in its order and per patch and channel:

=====================  ===========  ===========================================================
brightness             p = 0.15     times a factor of 0.75 to 1.25
contrast               p = 0.15     times such a factor about the mean, clipped to the old range
low resolution         p = 0.25     nearest neighbours at 1/2 to 1 of the voxels, half the
                                    channels; thick planes are left alone
gamma of the inverse   p = 0.1      range to 0..1, to the power of 0.7 to 1.5, mean and spread
gamma                  p = 0.3      restored
=====================  ===========  ===========================================================

Random numbers come from torch's global generator on the CPU, which a checkpoint keeps: a resumed
run sees what an uninterrupted one sees.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from vpbsd.geometry import Triplet

__all__ = ["NnUnetAugmentation"]

_FACTOR = (0.75, 1.25)
_GAMMA = (0.7, 1.5)
_LEAST_RESOLUTION = 0.5
_CHANNEL_SHARE = 0.5
# nnU-Net takes patches more oblong than this for stacks of thick planes.
_THICK_PLANES_FROM = 3.0
_TINY = 1e-7


class NnUnetAugmentation:
    """Changes the look of a batch (B, C, D, H, W), never its shape.

    Parameters
    ----------
    patch
        Shape (z, y, x) in voxels; decides whether planes are thick.
    """

    def __init__(self, patch: Triplet) -> None:
        self._thick_planes = max(patch) / patch[0] > _THICK_PLANES_FROM

    def __call__(self, image: Tensor) -> Tensor:
        """Return the augmented batch; ``image`` is left as it is."""
        steps: list[tuple[float, Callable[[Tensor], Tensor]]] = [
            (0.15, _brightness),
            (0.15, _contrast),
            (0.25, self._low_resolution),
            (0.1, lambda channel: -_gamma(-channel)),
            (0.3, _gamma),
        ]
        patches = []
        for patch in image:
            channels = list(patch)
            for probability, change in steps:
                if _random() < probability:
                    channels = [change(channel) for channel in channels]
            patches.append(torch.stack(channels))
        return torch.stack(patches)

    def _low_resolution(self, channel: Tensor) -> Tensor:
        if _random() >= _CHANNEL_SHARE:
            return channel
        scale = _uniform(_LEAST_RESOLUTION, 1.0)
        z, y, x = (max(1, round(n * scale)) for n in channel.shape)
        coarse = (channel.shape[0] if self._thick_planes else z, y, x)
        small = interpolate(channel[None, None], size=coarse, mode="nearest-exact")
        return interpolate(small, size=channel.shape, mode="trilinear")[0, 0]


def _brightness(channel: Tensor) -> Tensor:
    return channel * _about_one(*_FACTOR)


def _contrast(channel: Tensor) -> Tensor:
    mean, low, high = channel.mean(), channel.min(), channel.max()
    return ((channel - mean) * _about_one(*_FACTOR) + mean).clamp(low, high)


def _gamma(channel: Tensor) -> Tensor:
    low, high = channel.min(), channel.max()
    share = (channel - low) / (high - low).clamp(min=_TINY)
    bent = share ** _about_one(*_GAMMA)
    spread = channel.std() / bent.std().clamp(min=_TINY)
    return (bent - bent.mean()) * spread + channel.mean()


def _about_one(low: float, high: float) -> float:
    """Draw below or above 1 with equal chance, so that the wider side is not preferred."""
    return _uniform(low, 1.0) if _random() < 0.5 else _uniform(1.0, high)


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * _random()


def _random() -> float:
    return float(torch.rand(()))
