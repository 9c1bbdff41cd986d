"""Evaluates any net on one block, for the tiler that every method shares.

Whatever plans and reads blocks (:func:`vpbsd.segment.predict_volume`) does so for all methods
alike; only halo and block differ. A net with a finite receptive field declares it as its halo, and
its result does not depend on the cut. The others are shown windows of the shape they were trained
on (:class:`vpbsd.compare.nets.windowed.Windowed`).
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vpbsd.errors import ConfigError
from vpbsd.geometry import Box, Triplet
from vpbsd.machine import Device, Precision
from vpbsd.models import Student
from vpbsd.segment import Predictor, TorchRuntime
from vpbsd.segment.runtimes import sigmoid
from vpbsd.segment.runtimes.base import NetShape

__all__ = ["NetPredictor", "predictor_of"]

_DECLARED = ("stride", "halo_voxels", "channels", "block_voxels", "bytes_per_voxel")


def predictor_of(
    net: nn.Module, precision: Precision = "fp32", device: Device = "cpu"
) -> Predictor:
    """Return what evaluates a deployed net: our student as it is deployed, any other as it is.

    The student's holds a copy of the net as it is now.
    """
    if isinstance(net, Student):
        return TorchRuntime(net, precision, device)
    return NetPredictor(net, precision, device)


class NetPredictor:
    """Evaluates a net on blocks.

    Parameters
    ----------
    net
        Maps (B, C, D, H, W) to logits (B, 1, D, H, W), and declares

        * ``stride``, ``halo_voxels``: as of :class:`vpbsd.segment.Predictor`;
        * ``channels``: C;
        * ``block_voxels``: the blocks it must be shown, or None for any;
        * ``bytes_per_voxel``: memory it needs in fp32, per voxel of a block with its halo.

        Used as it is, in evaluation mode: training it on changes what is predicted.
    precision
        ``bf16`` computes under autocast, as in training.
    device
        Where to compute; the net is moved there.

    Raises
    ------
    ConfigError
        If the net lacks one of these declarations.
    """

    def __init__(
        self, net: nn.Module, precision: Precision = "fp32", device: Device = "cpu"
    ) -> None:
        lacking = [name for name in _DECLARED if not hasattr(net, name)]
        if lacking:
            raise ConfigError(
                f"{type(net).__name__} does not declare {', '.join(lacking)} and cannot be "
                "evaluated block by block: give the net these attributes, or put it into a "
                "Windowed"
            )
        declared = cast(Any, net)
        self._net, self._device = net, device
        self._autocast = precision == "bf16"
        self.stride: Triplet = declared.stride
        self.halo_voxels: Triplet = declared.halo_voxels
        self.channels: int = declared.channels
        self.block: Triplet | None = declared.block_voxels
        """Edges of the blocks to cut volumes into; None = as large as memory allows."""
        self.bytes_per_voxel: float = declared.bytes_per_voxel
        self._shape = NetShape(self.stride, self.halo_voxels, self.channels)

    def predict(self, block: NDArray[np.float32], crop: Box | None = None) -> NDArray[np.float32]:
        """Return vessel probabilities (z, y, x) in ``crop`` of a block (c, z, y, x).

        Raises
        ------
        DataError
            If the number of channels or an edge does not fit the net, or the crop the block.
        ConfigError
            If the block is larger than the window of the net.
        """
        box = self._shape.crop_of(block, crop)
        self._net.eval().to(self._device)
        # torch takes no negative strides, and warns about memory that it may not write to.
        image = np.require(block, np.float32, ["C", "W"])
        with (
            torch.inference_mode(),
            torch.autocast(self._device, torch.bfloat16, enabled=self._autocast),
        ):
            logits: Tensor = self._net(torch.from_numpy(image)[None].to(self._device))
        inside = logits[(0, 0, *box.slices)].float().cpu().contiguous()
        return sigmoid(inside.numpy())
