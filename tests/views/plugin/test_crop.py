"""A part of a mask is that part of the whole mask, voxel by voxel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vpbsd.errors import ConfigError, DataError
from vpbsd.geometry import Box, VoxelSize
from vpbsd.models import load_model
from vpbsd.views.plugin.crop import MOST_VOXELS, segment_crop
from vpbsd.volumes import ArrayVolume


@pytest.fixture
def image(array: np.ndarray) -> ArrayVolume:
    return ArrayVolume(array, VoxelSize(4, 2, 2))


@pytest.mark.parametrize(
    "box",
    [
        Box((0, 0, 0), (45, 70, 90)),
        Box((7, 9, 11), (30, 50, 61)),
        Box((40, 66, 85), (45, 70, 90)),
        Box((13, 13, 13), (14, 14, 14)),
        Box((0, 0, 3), (1, 70, 88)),
    ],
    ids=str,
)
def test_part_of_the_whole(box: Box, image, whole: np.ndarray, student_file: Path) -> None:
    *_, crop = segment_crop(image, load_model(student_file), box, precision="fp32")
    assert 0 < whole.mean() < 0.9, "a mask without vessels, or of nothing else, proves nothing"
    assert np.array_equal(crop.mask, whole[box.slices])
    assert crop.box == box
    assert crop.threshold == 0.3


def test_progress_and_stopping(image, student_file: Path) -> None:
    model = load_model(student_file)
    steps = segment_crop(image, model, Box((0, 0, 0), (45, 70, 90)), precision="fp32")
    first = next(steps)
    # Blocks of 64 voxels: 1 along z, 2 along y and x.
    assert (first.done, first.total) == (0, 4)
    assert not first.mask.any()
    assert next(steps).done == 1
    steps.close()


def test_threshold_decides(image, student_file: Path) -> None:
    box, model = Box((0, 0, 0), (45, 70, 90)), load_model(student_file)
    shares = [
        list(segment_crop(image, model, box, threshold=t, precision="fp32"))[-1].mask.mean()
        for t in (0.1, 0.9)
    ]
    assert shares[0] > shares[1]


def test_what_cannot_be_done_is_told(image, student_file: Path) -> None:
    model, box = load_model(student_file), Box((0, 0, 0), (8, 8, 8))
    with pytest.raises(ConfigError, match="between 0 and 1, got 30"):
        next(segment_crop(image, model, box, threshold=30))
    large = ArrayVolume(np.zeros((1, 1, 1), np.uint8), VoxelSize(1, 1, 1))
    for part in (Box((0, 0, 0), (0, 8, 8)), Box((0, 0, 0), (1024, 512, 512))):
        with pytest.raises(ConfigError, match=f"covers 1 to {MOST_VOXELS:,} voxels; zoom in"):
            next(segment_crop(large, model, part))
    two = ArrayVolume(np.zeros((2, 8, 8, 8), np.uint8), VoxelSize(1, 1, 1))
    with pytest.raises(DataError, match="2 channel"):
        next(segment_crop(two, model, box))
