from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from vpbsd.errors import ConfigError
from vpbsd.geometry import VoxelSize
from vpbsd.metrics import surface_dice, surface_dice_voxels, surface_distances

ONE = VoxelSize(1, 1, 1)


def _voxels(*places: tuple[int, int, int]) -> np.ndarray:
    mask = np.zeros((6, 7, 8), bool)
    for place in places:
        mask[place] = True
    return mask


def test_two_voxels_apart() -> None:
    # 3 steps along y, 4 along x, and none along z.
    a, b = _voxels((2, 1, 1)), _voxels((2, 4, 5))
    got = surface_distances(a, b, ONE)
    assert got.prediction_to_truth.tolist() == [5.0]
    assert got.truth_to_prediction.tolist() == [5.0]
    assert surface_dice_voxels(a, b, 4.9) == 0.0
    assert surface_dice_voxels(a, b, 5) == 1.0


@pytest.mark.parametrize(
    ("place", "expected_um"), [((1, 0, 0), 5.0), ((0, 1, 0), 2.0), ((0, 0, 1), 0.5)]
)
def test_each_axis_has_its_own_size(place: tuple[int, int, int], expected_um: float) -> None:
    got = surface_distances(_voxels((0, 0, 0)), _voxels(place), VoxelSize(5, 2, 0.5))
    assert got.hausdorff() == pytest.approx(expected_um)
    assert got.mean() == pytest.approx(expected_um)


def test_a_voxel_is_one_voxel_on_thick_planes_too() -> None:
    a, b = _voxels((2, 2, 2)), _voxels((3, 2, 2))
    assert surface_dice_voxels(a, b, 1) == 1.0
    assert surface_dice(a, b, VoxelSize(5, 1, 1), 1.0) == 0.0


@pytest.mark.parametrize("steps", [1, 5, 7])
@pytest.mark.parametrize("size_um", [0.994, 1.59, 2.485, 0.1, 1 / 3])
def test_a_tolerance_of_whole_voxels_in_um_is_not_lost_to_rounding(
    size_um: float, steps: int
) -> None:
    a, b = _voxels((2, 2, 0)), _voxels((2, 2, steps))
    size = VoxelSize(size_um, size_um, size_um)
    assert surface_dice(a, b, size, size_um * steps) == 1.0
    assert surface_dice(a, b, size, size_um * steps * 0.999) == 0.0


def test_hand_counted_shares_percentile_and_mean() -> None:
    # prediction at x = 0 and x = 4, truth at x = 1: distances 1 and 3 one way, 1 the other.
    got = surface_distances(_voxels((0, 0, 0), (0, 0, 4)), _voxels((0, 0, 1)), ONE)
    assert got.dice(0.5) == 0.0
    assert got.dice(1) == pytest.approx(2 / 3)
    assert got.dice(3) == 1.0
    assert got.hausdorff(100) == 3.0
    assert got.hausdorff(95) == pytest.approx(2.9)  # 95 % of the way from 1 to 3
    assert got.mean() == pytest.approx(5 / 3)


def test_the_inside_of_a_solid_is_no_surface() -> None:
    solid = np.zeros((9, 9, 9), bool)
    solid[2:7, 2:7, 2:7] = True
    got = surface_distances(solid, solid, ONE)
    assert got.prediction_to_truth.size == 125 - 27
    assert (got.dice(0), got.hausdorff(), got.mean()) == (1.0, 0.0, 0.0)


def test_empty() -> None:
    nothing, something = _voxels(), _voxels((1, 1, 1))
    both = surface_distances(nothing, nothing, ONE)
    assert (both.dice(1), both.hausdorff(), both.mean()) == (1.0, 0.0, 0.0)
    for one in (
        surface_distances(nothing, something, ONE),
        surface_distances(something, nothing, ONE),
    ):
        assert (one.dice(1e9), one.hausdorff(), one.mean()) == (0.0, None, None)


@pytest.mark.parametrize("tolerance", [-1.0, float("nan"), float("inf")])
def test_bad_tolerance(tolerance: float) -> None:
    with pytest.raises(ConfigError, match="tolerance"):
        surface_dice_voxels(_voxels((0, 0, 0)), _voxels((0, 0, 0)), tolerance)


@pytest.mark.parametrize("voxel_size", [ONE, VoxelSize(5, 2.485, 2.485), VoxelSize(2, 1.1, 0.7)])
@pytest.mark.parametrize("seed", [0, 1])
def test_monai_agrees(seed: int, voxel_size: VoxelSize) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MONAI warns of its own deprecations
        import torch
        from monai.metrics import (
            compute_average_surface_distance,
            compute_hausdorff_distance,
            compute_surface_dice,
        )

        rng = np.random.default_rng(seed)
        smooth = gaussian_filter(rng.standard_normal((12, 20, 18)), 2)
        noise = gaussian_filter(rng.standard_normal((12, 20, 18)), 1)
        p, t = smooth > 0.03, smooth + 0.2 * noise > 0.03
        a, b = (torch.from_numpy(mask)[None, None].float() for mask in (p, t))
        spacing = [float(v) for v in voxel_size.zyx_um]
        tolerances = [1.0, 1.5, 3.0, 6.0]
        dice = [
            compute_surface_dice(a, b, [v], include_background=True, spacing=spacing).item()
            for v in tolerances
        ]
        hd95 = compute_hausdorff_distance(
            a, b, include_background=True, percentile=95, spacing=spacing
        ).item()
        assd = compute_average_surface_distance(
            a, b, include_background=True, symmetric=True, spacing=spacing
        ).item()

    got = surface_distances(p, t, voxel_size)
    assert 0.1 < dice[0] < 1.0  # the masks differ, but not wholly
    assert [got.dice(v) for v in tolerances] == pytest.approx(dice)
    assert got.hausdorff(95) == pytest.approx(hd95, rel=1e-5)
    assert got.mean() == pytest.approx(assd, rel=1e-5)
