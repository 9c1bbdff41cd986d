from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from vpbsd.config import SimulateConfig
from vpbsd.data.simulate import SimulatedVolumes
from vpbsd.data.simulate.geometry import LabelGeometry, read_label
from vpbsd.errors import DataError
from vpbsd.geometry import VoxelSize

UNIT = VoxelSize(1, 1, 1)


def bar() -> NDArray[np.uint8]:
    """A bar of 6 x 8 voxels along x in a volume of 20 x 24 x 24."""
    label = np.zeros((20, 24, 24), np.uint8)
    label[7:13, 8:16] = 255
    return label


def test_at_its_own_scale_the_mask_is_the_label_turned() -> None:
    label = bar() > 0
    turned = [label, label.transpose(0, 2, 1)]
    wanted = [t[::a, ::b, ::c] for t in turned for a in (1, -1) for b in (1, -1) for c in (1, -1)]
    seen = set()
    for seed in range(12):
        raster = LabelGeometry.of(label, UNIT).crop(label.shape, UNIT, np.random.default_rng(seed))
        same = [np.array_equal(raster.mask > 0, w) for w in wanted]
        assert any(same)
        seen.add(same.index(True))
    assert len(seen) > 1


def test_a_crop_is_a_part_of_the_label() -> None:
    raster = LabelGeometry.of(bar(), UNIT).crop((20, 24, 10), UNIT, np.random.default_rng(0))
    assert raster.mask.shape == (20, 24, 10)
    assert int(raster.mask.sum()) in {6 * 8 * 10, *(6 * 24 * n for n in range(9))}


def test_scale_and_voxel_size_keep_physical_size() -> None:
    geometry = LabelGeometry.of(bar(), VoxelSize(2, 1, 1))  # 12 x 8 µm
    raster = geometry.crop((36, 30, 30), UNIT, np.random.default_rng(3), scale=1.5)  # 18 x 12 µm
    assert raster.mask.any(axis=(1, 2)).sum() == pytest.approx(18, abs=1)
    per_plane = raster.mask[18].any(axis=0).sum(), raster.mask[18].any(axis=1).sum()
    assert min(per_plane) == pytest.approx(12, abs=1)
    assert max(per_plane) == 30


def test_distance_and_depth_are_in_micrometres() -> None:
    raster = LabelGeometry.of(bar(), UNIT).crop((20, 24, 24), UNIT, np.random.default_rng(0))
    assert raster.distance_um.min() == pytest.approx(-2.5)
    assert raster.distance_um.max() == pytest.approx(0.75)
    inside = raster.part[raster.mask > 0]
    assert inside.min() >= 0
    assert raster.parts.radius_um[inside].max() == pytest.approx(2.5)
    assert len(raster.parts.position_um) == 5 * 6 * 6


def test_occupancy_sums_to_the_labels_volume() -> None:
    raster = LabelGeometry.of(bar(), UNIT).crop((20, 24, 24), UNIT, np.random.default_rng(0))
    assert raster.occupancy.sum() == pytest.approx(6 * 8 * 24, rel=0.02)


def test_a_label_smaller_than_the_volume_is_mirrored() -> None:
    raster = LabelGeometry.of(bar(), UNIT).crop((20, 24, 60), UNIT, np.random.default_rng(1))
    assert raster.mask.any(axis=(0, 1)).all() or raster.mask.any(axis=(0, 2)).all()


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (np.zeros((4, 4)), "must be"),
        (np.zeros((4, 4, 4)), "holds no vessel"),
        (np.ones((4, 4, 4)), "holds only vessel"),
    ],
)
def test_useless_labels_are_refused(label: NDArray[np.float64], message: str) -> None:
    with pytest.raises(DataError, match=message):
        LabelGeometry.of(label, UNIT)


def test_a_missing_label_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.tif"):
        read_label(tmp_path / "absent.tif", None, UNIT)


def test_read_label_prefers_the_given_voxel_size(tmp_path: Path) -> None:
    np.save(tmp_path / "bar.npy", bar())
    assert read_label(tmp_path / "bar.npy", None, VoxelSize(3, 3, 3)).voxel_size == VoxelSize(
        3, 3, 3
    )
    given = VoxelSize(2, 1, 1)
    assert read_label(tmp_path / "bar.npy", given, VoxelSize(3, 3, 3)).voxel_size == given


def test_the_sampler_images_real_geometry(tmp_path: Path) -> None:
    np.save(tmp_path / "bar.npy", bar())
    config = SimulateConfig(
        shape_voxels=(12, 16, 16), geometry=(tmp_path / "bar.npy",), geometry_share=1.0
    )
    made = SimulatedVolumes(config, seed=0).volume(0)
    assert made.network is None
    assert made.image.shape == made.mask.shape == (12, 16, 16)


def test_half_of_the_volumes_are_real_where_half_are_asked_for(tmp_path: Path) -> None:
    np.save(tmp_path / "bar.npy", bar())
    config = SimulateConfig(
        shape_voxels=(8, 12, 12), geometry=(tmp_path / "bar.npy",), geometry_share=0.5
    )
    volumes = SimulatedVolumes(config, seed=0)
    real = sum(volumes.volume(i).network is None for i in range(16))
    assert 3 <= real <= 13


@pytest.mark.real_data
def test_real_labels_can_be_imaged(shared_data: Path) -> None:
    path = shared_data / "geometry" / "endo_block_label.tif"
    if not path.is_file():
        pytest.skip(f"{path.name} is not among the real volumes")
    geometry = read_label(path, VoxelSize(2, 2, 2), UNIT)
    raster = geometry.crop((48, 64, 64), VoxelSize(2, 2, 2), np.random.default_rng(0))
    assert 0.005 < raster.mask.mean() < 0.4
