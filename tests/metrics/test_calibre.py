from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays
from scipy.ndimage import distance_transform_edt

from vpbsd.errors import ConfigError, DataError
from vpbsd.geometry import VoxelSize
from vpbsd.metrics import calibre_scores, cldice
from vpbsd.metrics.calibre import radius_um

ONE = VoxelSize(1, 1, 1)
SHAPE = (25, 40, 30)


def _cylinder(y: int, radius: float, start: int = 0, stop: int = 30) -> np.ndarray:
    """A cylinder along x around z = 12."""
    z, rows, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    return ((z - 12) ** 2 + (rows - y) ** 2 <= radius**2) & (x >= start) & (x < stop)


def _of(got: object) -> list[float | None]:
    return [
        getattr(got, f"{name}_{side}")
        for name in ("capillary", "large_vessel")
        for side in ("precision", "recall")
    ]


def test_half_of_the_capillary_and_all_of_the_large_vessel() -> None:
    # From the axes to the nearest background it is (5, 5), √50 µm, and (1, 2), √5 µm.
    truth = _cylinder(10, 7) | _cylinder(30, 2)
    found = _cylinder(10, 7) | _cylinder(30, 2, 0, 15)
    capillary_precision, capillary_recall, *large = _of(calibre_scores(found, truth, ONE))
    assert capillary_precision == 1.0
    # Thinning takes a few voxels from the ends of the 30 that are there; 15 are found.
    assert capillary_recall == pytest.approx(0.5, abs=0.05)
    assert large == [1.0, 1.0]


def test_a_capillary_that_is_not_there() -> None:
    truth = _cylinder(10, 7)
    got = calibre_scores(truth | _cylinder(30, 1), truth, ONE)
    assert _of(got) == [0.0, None, 1.0, 1.0]  # the truth has no capillary to be found


@pytest.mark.parametrize(("limit_um", "calibre"), [(2.2, 1), (2.3, 0)])
def test_the_limit_is_the_distance_to_the_background(limit_um: float, calibre: int) -> None:
    tube = _cylinder(20, 2)  # √5 = 2.236 µm
    got = _of(calibre_scores(tube, tube, ONE, limit_um))
    assert got[2 * calibre : 2 * calibre + 2] == [1.0, 1.0]
    assert got[2 - 2 * calibre : 4 - 2 * calibre] == [None, None]


def test_each_axis_has_its_own_size() -> None:
    # One voxel along z (5 µm) and five along y: the nearest background is 3 voxels of 1 µm away
    # along y in the first case, one voxel of 5 µm along z in the second (y now 2 µm a voxel).
    ribbon = np.zeros((9, 15, 20), bool)
    ribbon[4, 5:10, :] = True
    assert radius_um(ribbon, VoxelSize(5, 1, 1))[4, 7, 10] == 3.0
    assert radius_um(ribbon, VoxelSize(5, 2, 1))[4, 7, 10] == 5.0
    assert _of(calibre_scores(ribbon, ribbon, VoxelSize(5, 1, 1), 4)) == [1.0, 1.0, None, None]
    assert _of(calibre_scores(ribbon, ribbon, VoxelSize(5, 2, 1), 4)) == [None, None, 1.0, 1.0]


def test_what_lies_beyond_the_border_does_not_limit_a_radius() -> None:
    half = np.zeros((5, 9, 9), bool)
    half[:, :4, :] = True
    # Row 0 is 4 rows from the background; that it is at the border says nothing.
    assert radius_um(half, ONE)[2, :, 4].tolist() == [4.0, 3.0, 2.0, 1.0, 0, 0, 0, 0, 0]


def test_empty() -> None:
    nothing, tube = np.zeros(SHAPE, bool), _cylinder(20, 2)
    assert _of(calibre_scores(nothing, nothing, ONE)) == [1.0] * 4
    assert _of(calibre_scores(nothing, tube, ONE)) == [0.0] * 4
    assert _of(calibre_scores(tube, nothing, ONE)) == [0.0] * 4


@given(arrays(bool, (5, 6, 7)), arrays(bool, (5, 6, 7)))
def test_a_limit_beyond_all_radii_gives_cldice(p: np.ndarray, t: np.ndarray) -> None:
    got, whole = _of(calibre_scores(p, t, ONE, 100.0)), cldice(p, t)
    if p.any() and t.any() and not (p.all() or t.all()):
        assert got == [whole.topology_precision, whole.topology_sensitivity, None, None]


@given(arrays(bool, (5, 6, 7)))
def test_scipy_agrees_on_radii(mask: np.ndarray) -> None:
    if not mask.all():
        expected = distance_transform_edt(mask, sampling=(3, 2, 1.5))
        assert radius_um(mask, VoxelSize(3, 2, 1.5)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan"), float("inf")])
def test_bad_limit(limit: float) -> None:
    with pytest.raises(ConfigError, match="radius of capillaries"):
        calibre_scores(np.zeros(SHAPE, bool), np.zeros(SHAPE, bool), ONE, limit)


def test_bad_masks() -> None:
    with pytest.raises(DataError, match="different shapes"):
        calibre_scores(np.zeros(SHAPE, bool), np.zeros((2, 2, 2), bool), ONE)
