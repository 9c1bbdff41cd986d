from __future__ import annotations

import numpy as np
import pytest

from vpbsd.errors import VolumeFormatError
from vpbsd.geometry import Box
from vpbsd.volumes.axes import AxisMap


@pytest.mark.parametrize(
    ("letters", "stored", "expected"),
    [
        ("zyx", (2, 3, 4), (1, 2, 3, 4)),
        ("XYZ", (4, 3, 2), (1, 2, 3, 4)),
        ("tzcyx", (1, 2, 5, 3, 4), (5, 2, 3, 4)),
        ("zyxs", (2, 3, 4, 3), (3, 2, 3, 4)),
        ("qzyx", (1, 2, 3, 4), (1, 2, 3, 4)),
    ],
)
def test_shape_is_channel_first(
    letters: str, stored: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    assert AxisMap.of(letters, stored, "a").shape == expected


def test_reads_interleaved_channels() -> None:
    stored = np.arange(12).reshape(1, 2, 2, 3)  # z, y, x, c
    axes = AxisMap.of("zyxc", stored.shape, "a")
    block = axes.read(stored, Box((0, 1, 0), (1, 2, 2)), [2, 1])
    assert block.tolist() == [[[[8, 11]]], [[[7, 10]]]]


@pytest.mark.parametrize(
    ("letters", "stored", "message"),
    [
        ("tzyx", (3, 2, 3, 4), "holds 3 time points"),
        ("cyx", (3, 3, 4), "2D image"),
        ("zxc", (3, 3, 4), "no y axis"),
        ("qzyx", (2, 3, 3, 4), "neither space, channel nor time"),
        ("czyxs", (2, 3, 3, 4, 3), "channels and colour samples"),
        ("zzyx", (2, 3, 3, 4), "names an axis twice"),
    ],
)
def test_axes_that_are_no_volume_are_refused(
    letters: str, stored: tuple[int, ...], message: str
) -> None:
    with pytest.raises(VolumeFormatError, match=f"'brain'.*{message}"):
        AxisMap.of(letters, stored, "brain")


def test_nameless_axes_are_zyx_or_czyx() -> None:
    assert AxisMap.default((2, 3, 4), "a").shape == (1, 2, 3, 4)
    assert AxisMap.default((5, 2, 3, 4), "a").shape == (5, 2, 3, 4)
    with pytest.raises(VolumeFormatError, match="is a 2D image"):
        AxisMap.default((3, 4), "a")
    with pytest.raises(VolumeFormatError, match="has 5 axes"):
        AxisMap.default((1, 1, 2, 3, 4), "a")
