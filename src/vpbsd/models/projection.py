"""The projection of the student's encoding to the teacher's code space, used in training only."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from vpbsd.config import StudentConfig
from vpbsd.geometry import Triplet

__all__ = ["Projection", "code_level", "on_code_grid"]


class Projection(nn.Module):
    """Linear map from the student's features to code vectors on the teacher's code grid.

    The features come from the level whose stride equals ``code_stride``, else from the coarsest
    level that is finer, averaged over code cells, else from the finest level, interpolated.
    """

    def __init__(self, student: StudentConfig, code_stride: Triplet, dimension: int) -> None:
        super().__init__()
        self.code_stride = code_stride
        self.level = code_level(student, code_stride)
        width = student.widths[self.level]
        self.map = nn.Sequential(
            nn.Conv3d(width, 2 * dimension, 1), nn.ReLU(), nn.Conv3d(2 * dimension, dimension, 1)
        )

    def forward(self, features: list[Tensor], grid: Triplet) -> Tensor:
        """Return (B, dimension, *grid) from the student's features, finest level first."""
        return cast(Tensor, self.map(on_code_grid(features[self.level], grid)))


def code_level(student: StudentConfig, code_stride: Triplet) -> int:
    """Return the level, finest first, whose features are compared with the teacher's codes."""
    finer = [
        i
        for i, s in enumerate(_level_strides(student))
        if all(c % a == 0 for a, c in zip(s, code_stride, strict=True))
    ]
    return max(finer, default=0)


def on_code_grid(features: Tensor, grid: Triplet) -> Tensor:
    """Average features (B, width, d, h, w) over the cells of a coarser grid, or interpolate."""
    size = tuple(features.shape[2:])
    if size == grid:
        return features
    if all(n % g == 0 for n, g in zip(size, grid, strict=True)):
        return nn.functional.adaptive_avg_pool3d(features, grid)
    return nn.functional.interpolate(features, grid, mode="trilinear")


def _level_strides(student: StudentConfig) -> list[Triplet]:
    strides, total = [], (1, 1, 1)
    for z, y, x in student.downsampling:
        total = (total[0] * z, total[1] * y, total[2] * x)
        strides.append(total)
    return strides
