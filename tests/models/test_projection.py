"""The projection to code space: right grid, right level, whatever the strides of the two nets."""

from __future__ import annotations

import pytest
import torch

from vpbsd.config import StudentConfig
from vpbsd.models import Projection, Student

LEVELS = {"widths": (8, 16, 24), "downsampling": ((2, 2, 2), (2, 2, 2), (2, 2, 2))}


@pytest.mark.parametrize(
    ("code_stride", "level", "width"),
    [
        ((2, 2, 2), 0, 8),
        ((4, 4, 4), 1, 16),
        ((8, 8, 8), 2, 24),
        # no level has this stride: the coarsest that is finer along every axis
        ((16, 16, 16), 2, 24),
        ((4, 8, 8), 1, 16),
        # every level is coarser: the finest
        ((1, 1, 1), 0, 8),
        ((3, 3, 3), 0, 8),
    ],
)
def test_level_follows_the_code_stride(
    code_stride: tuple[int, int, int], level: int, width: int
) -> None:
    projection = Projection(StudentConfig(**LEVELS), code_stride, 5)
    assert projection.level == level
    assert projection.map[0].in_channels == width


@pytest.mark.parametrize("code_stride", [(2, 2, 2), (4, 4, 4), (16, 16, 16), (4, 8, 8), (1, 1, 1)])
def test_result_lies_on_the_code_grid(code_stride: tuple[int, int, int]) -> None:
    config = StudentConfig(**LEVELS)
    features = Student(config).features(torch.randn(2, 1, 16, 16, 32))
    z, y, x = (n // s for n, s in zip((16, 16, 32), code_stride, strict=True))
    out = Projection(config, code_stride, 5)(features, (z, y, x))
    assert out.shape == (2, 5, z, y, x)


def test_features_of_finer_levels_are_averaged_over_a_code_cell() -> None:
    projection = Projection(StudentConfig(**LEVELS), (4, 8, 8), 1)
    for parameter in projection.parameters():
        parameter.data.fill_(0.0)
    # Passes the first feature on: only that weight is not 0.
    projection.map[0].weight.data[0, 0] = 1.0
    projection.map[2].weight.data[0, 0] = 1.0
    level1 = torch.zeros(1, 16, 1, 2, 4)
    level1[0, 0] = torch.tensor([[1.0, 3.0, 10.0, 20.0], [5.0, 7.0, 30.0, 40.0]])
    out = projection([torch.zeros(0), level1], (1, 1, 2))
    # (1 + 3 + 5 + 7) / 4 and (10 + 20 + 30 + 40) / 4
    assert out.flatten().tolist() == [4.0, 25.0]
