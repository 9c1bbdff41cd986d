"""A net that must be shown windows: what no halo makes independent of how a volume is cut.

Instance and group normalisation, attention and position embeddings see the whole input, and the
receptive field of a deep U-Net is wider than any block. Such a net is shown, in training and in
use, windows of one shape: the patch of its training, which is also how nnU-Net and MONAI evaluate
nets. A halo of a quarter of the patch is cut off on each side, so that as many voxels are computed
as with windows that overlap by half.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vpbsd.config import RunConfig
from vpbsd.errors import ConfigError
from vpbsd.geometry import Triplet, as_triplet
from vpbsd.models.layers import with_safe_convolutions

__all__ = ["Windowed", "pad_mirrored"]

_HALO_PARTS = 4


class Windowed(nn.Module):
    """A net with the window that it is shown; pads what is smaller, and cuts it off again.

    Parameters
    ----------
    net
        Maps (B, C, D, H, W) to logits (B, 1, D, H, W), or while it trains with deep supervision
        to (B, heads, 1, D, H, W).
    channels
        C.
    patch
        Shape (z, y, x) of the patches it is trained on, in voxels.
    multiple
        What its input's edges must be multiples of.
    bytes_per_voxel
        Peak memory of evaluating one window in fp32, over its voxels, as measured.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        channels: int,
        patch: Triplet,
        multiple: Triplet,
        bytes_per_voxel: float,
    ) -> None:
        super().__init__()
        self.net = with_safe_convolutions(net)
        self.channels = channels
        self.window: Triplet = as_triplet(
            [-(-n // m) * m for n, m in zip(patch, multiple, strict=True)]
        )
        self._patch, self._bytes_per_voxel = patch, bytes_per_voxel

    @classmethod
    def of(
        cls, net: nn.Module, config: RunConfig, multiple: Triplet, *, bytes_per_voxel: float
    ) -> Windowed:
        """Show ``net`` the patches of a run's ``distill`` stage."""
        return cls(
            net,
            channels=config.student.channels,
            patch=config.distill.patch_voxels,
            multiple=multiple,
            bytes_per_voxel=bytes_per_voxel,
        )

    @property
    def bytes_per_voxel(self) -> float:
        """Peak memory in bytes per voxel of a block as large as a patch."""
        return self._bytes_per_voxel * math.prod(self.window) / math.prod(self._patch)

    @property
    def stride(self) -> Triplet:
        """Blocks may start anywhere: no shift leaves the result the same."""
        return (1, 1, 1)

    @property
    def halo_voxels(self) -> Triplet:
        """A quarter of the patch, rounded up."""
        return as_triplet([-(-n // _HALO_PARTS) for n in self._patch])

    @property
    def block_voxels(self) -> Triplet:
        """What remains of a patch without its halo: the edges of the blocks to cut."""
        return as_triplet(
            [max(1, n - 2 * h) for n, h in zip(self._patch, self.halo_voxels, strict=True)]
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of (B, C, D, H, W), which is at most as large as the window.

        Raises
        ------
        ConfigError
            If it is larger.
        """
        edges = x.shape[2:]
        if any(n > w for n, w in zip(edges, self.window, strict=True)):
            raise ConfigError(
                f"this net takes windows of up to {self.window} voxels (z, y, x), got "
                f"{tuple(edges)}: cut the volume into the predictor's own blocks, or train the "
                "net on larger patches (distill.patch_voxels)"
            )
        out: Tensor = self.net(pad_mirrored(x, self.window))
        d, h, w = edges
        return out[..., :d, :h, :w]


def pad_mirrored(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Extend the last axes of ``x`` at their high ends to ``shape`` by mirroring.

    As where a volume ends: ``a b c | c b a | a b c``, at any distance.
    """
    for axis, size in zip(range(-len(shape), 0), shape, strict=True):
        n = x.shape[axis]
        if n == size:
            continue
        turn = torch.arange(size, device=x.device) % (2 * n)
        x = x.index_select(axis, torch.where(turn < n, turn, 2 * n - 1 - turn))
    return x
