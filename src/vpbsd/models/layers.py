"""Building blocks that teacher and student share."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from vpbsd.geometry import Triplet

__all__ = ["ConvBatchNorm", "ConvGroupNorm", "Down", "Up", "check_patch", "foreground_bias"]


def foreground_bias(share: float) -> float:
    """Logit at which an untrained head predicts vessels with probability ``share``."""
    return math.log(share / (1 - share))


class ConvBatchNorm(nn.Sequential):
    """3x3x3 convolution, batch normalisation (foldable at deployment), ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            nn.Conv3d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm3d(outputs),
            nn.ReLU(inplace=True),
        )


class ConvGroupNorm(nn.Module):
    """3x3x3 convolution, group normalisation, GELU, with a residual path of equal width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(width, width, 3, padding=1, bias=False)
        self.norm = nn.GroupNorm(8, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width, D, H, W) to the same shape."""
        return x + nn.functional.gelu(self.norm(self.conv(x)))


class Down(nn.Conv3d):
    """Convolution over disjoint cells of ``factor`` voxels.

    Cells do not overlap, so a cell of the coarse grid and the cell that ``Up`` writes back are
    the same voxels: downsampling adds nothing to the receptive field but rounding to cells.
    """

    def __init__(self, inputs: int, outputs: int, factor: Sequence[int]) -> None:
        z, y, x = factor
        super().__init__(inputs, outputs, (z, y, x), stride=(z, y, x))


class Up(nn.ConvTranspose3d):
    """Transposed convolution that fills disjoint cells of ``factor`` voxels."""

    def __init__(self, inputs: int, outputs: int, factor: Sequence[int]) -> None:
        z, y, x = factor
        super().__init__(inputs, outputs, (z, y, x), stride=(z, y, x))


def check_patch(x: Tensor, stride: Triplet, net: str) -> None:
    """Raise ``ValueError`` unless ``x`` (B, C, D, H, W) has edges that ``stride`` divides."""
    if x.ndim != 5 or any(n % s for n, s in zip(x.shape[2:], stride, strict=True)):
        raise ValueError(
            f"the {net} takes (B, C, D, H, W) with edges divisible by {stride}, "
            f"got {tuple(x.shape)}"
        )
