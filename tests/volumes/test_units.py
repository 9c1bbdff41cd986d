from __future__ import annotations

import pytest

from vpbsd.geometry import VoxelSize
from vpbsd.volumes.units import micrometres_per, voxel_size_from


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("µm", 1.0),
        ("μm", 1.0),
        ("um", 1.0),
        ("\\u00B5m", 1.0),
        ("Micron", 1.0),
        ("micrometre", 1.0),
        ("micrometers", 1.0),
        ("nm", 0.001),
        ("nanometer", 0.001),
        ("mm", 1000.0),
        ("millimetre", 1000.0),
        ("cm", 10000.0),
        ("m", 1000000.0),
        ("inch", 25400.0),
        ("Å", 0.0001),
        ("pixel", None),
        ("", None),
        ("second", None),
        (None, None),
    ],
)
def test_units(unit: str | None, expected: float | None) -> None:
    assert micrometres_per(unit) == expected


def test_each_axis_has_its_own_unit() -> None:
    size = voxel_size_from([5000.0, 0.0025, -1.25], ["nm", "mm", "um"])
    assert size is not None
    assert size.zyx_um == pytest.approx((5.0, 2.5, 1.25))


@pytest.mark.parametrize("bad", [None, 0.0, float("nan"), float("inf")])
def test_a_senseless_size_is_unknown(bad: float | None) -> None:
    assert voxel_size_from([5.0, bad, 1.0], ["um"] * 3) is None
    assert voxel_size_from([5.0, 1.0, 1.0], ["um", "pixel", "um"]) is None
    assert voxel_size_from([5.0, 1.0, 1.0], ["um"] * 3) == VoxelSize(5, 1, 1)
