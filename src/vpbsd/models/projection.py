"""The projection of the student's encoding to the teacher's code space, used in training only."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from vpbsd.config import StudentConfig
from vpbsd.geometry import Triplet

__all__ = ["Projection"]


class Projection(nn.Module):
    """Linear map from the student's features to code vectors on the teacher's code grid.

    The features come from the level whose stride equals ``code_stride``, else from the coarsest
    level that is finer, averaged over code cells, else from the finest level, interpolated.
    """

    def __init__(self, student: StudentConfig, code_stride: Triplet, dimension: int) -> None:
        super().__init__()
        self.code_stride = code_stride
        strides = _level_strides(student)
        finer = [
            i
            for i, s in enumerate(strides)
            if all(c % a == 0 for a, c in zip(s, code_stride, strict=True))
        ]
        self.level = max(finer, default=0)
        width = student.widths[self.level]
        self.map = nn.Sequential(
            nn.Conv3d(width, 2 * dimension, 1), nn.ReLU(), nn.Conv3d(2 * dimension, dimension, 1)
        )

    def forward(self, features: list[Tensor], grid: Triplet) -> Tensor:
        """Return (B, dimension, *grid) from the student's features, finest level first."""
        h = features[self.level]
        size = tuple(h.shape[2:])
        if size != grid:
            if all(n % g == 0 for n, g in zip(size, grid, strict=True)):
                h = nn.functional.adaptive_avg_pool3d(h, grid)
            else:
                h = nn.functional.interpolate(h, grid, mode="trilinear")
        return cast(Tensor, self.map(h))


def _level_strides(student: StudentConfig) -> list[Triplet]:
    strides, total = [], (1, 1, 1)
    for z, y, x in student.downsampling:
        total = (total[0] * z, total[1] * y, total[2] * x)
        strides.append(total)
    return strides
