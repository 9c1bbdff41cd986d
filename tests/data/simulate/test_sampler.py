from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import tifffile
from pydantic import ValidationError

from vpbsd.config import SimulateConfig
from vpbsd.data.simulate import (
    SimulatedVolume,
    SimulatedVolumes,
    VesselNetwork,
    simulate_volume,
    write_simulated,
)
from vpbsd.data.simulate import write as write_module
from vpbsd.data.simulate.raster import rasterise
from vpbsd.errors import OutputError

SMALL = SimulateConfig(shape_voxels=(16, 24, 24))


def same(one: SimulatedVolume, two: SimulatedVolume) -> bool:
    return (
        np.array_equal(one.image, two.image)
        and np.array_equal(one.mask, two.mask)
        and one.microscope == two.microscope
        and one.voxel_size_um == two.voxel_size_um
    )


def test_a_volume_depends_on_seed_and_index_alone() -> None:
    forwards, backwards = SimulatedVolumes(SMALL, seed=5), SimulatedVolumes(SMALL, seed=5)
    indices = [0, 1, 4, 9, 25]  # more anatomies than the cache keeps
    one = [forwards.volume(i) for i in indices]
    two = [backwards.volume(i) for i in reversed(indices)][::-1]
    assert all(same(a, b) for a, b in zip(one, two, strict=True))
    assert same(forwards.volume(0), one[0])
    assert same(simulate_volume(SMALL, 5, index=4), one[2])


def test_seeds_and_indices_differ() -> None:
    volumes = SimulatedVolumes(SMALL, seed=5)
    assert not np.array_equal(volumes.volume(0).image, volumes.volume(1).image)
    assert not np.array_equal(volumes.volume(0).mask, volumes.volume(1).mask)
    assert not same(volumes.volume(0), simulate_volume(SMALL, 6))


def test_a_pickled_copy_goes_on_alike_and_is_small() -> None:
    volumes = SimulatedVolumes(SMALL, seed=3)
    first = volumes.volume(2)
    frozen = pickle.dumps(volumes)
    assert len(frozen) < 5000
    assert same(pickle.loads(frozen).volume(2), first)


def test_images_of_one_anatomy_share_it() -> None:
    volumes = SimulatedVolumes(SMALL.model_copy(update={"images_per_anatomy": 2}), seed=1)
    for index in range(4):
        volumes.volume(index)
    assert list(volumes._anatomies) == [0, 1]


def test_arrays_have_their_types_and_ranges() -> None:
    made = simulate_volume(SMALL, 0)
    assert made.image.shape == made.mask.shape == made.occupancy.shape == (16, 24, 24)
    assert made.image.dtype in (np.uint8, np.uint16)
    assert made.mask.dtype == np.uint8
    assert set(np.unique(made.mask)) <= {0, 1}
    assert made.occupancy.dtype == np.float32
    assert made.occupancy.min() >= 0
    assert made.occupancy.max() <= 1


@pytest.mark.parametrize("seed", range(3))
def test_the_network_is_the_truth_of_the_mask(seed: int) -> None:
    made = simulate_volume(SMALL, seed)
    assert made.network is not None
    low, high = made.network.points_um.min(axis=0), made.network.points_um.max(axis=0)
    size = np.array(made.voxel_size_um.zyx_um)
    assert (low >= -size / 2 - 1e-9).all()
    assert (high <= (np.array(SMALL.shape_voxels) - 0.5) * size + 1e-9).all()
    redrawn = rasterise(made.network, SMALL.shape_voxels, made.voxel_size_um)
    assert not (redrawn.mask & ~made.mask & 1).any()
    # Only vessels whose middle runs outside the field are missing.
    assert redrawn.mask.sum() > 0.5 * made.mask.sum() > 0


def test_zoom_sets_the_voxel_size() -> None:
    config = SimulateConfig(shape_voxels=(8, 8, 8), voxel_size_um=(5.0, 1.0, 1.0), zoom=(2.0, 2.0))
    assert simulate_volume(config, 0).voxel_size_um.zyx_um == pytest.approx((10.0, 2.0, 2.0))
    config = SimulateConfig(shape_voxels=(8, 8, 8), zoom=(0.5, 3.0))
    sizes = {simulate_volume(config, s).voxel_size_um.z_um for s in range(8)}
    assert len(sizes) == 8
    assert all(1.0 <= s <= 6.0 for s in sizes)


@pytest.mark.parametrize(
    ("shape", "voxel"), [((24, 48, 48), (2.0, 2.0, 2.0)), ((10, 56, 56), (5.0, 1.5, 1.5))]
)
def test_the_share_of_vessel_varies_as_in_real_volumes(
    shape: tuple[int, int, int], voxel: tuple[float, float, float]
) -> None:
    volumes = SimulatedVolumes(
        SimulateConfig(shape_voxels=shape, voxel_size_um=voxel, images_per_anatomy=1), seed=0
    )
    share = np.array([volumes.volume(i).mask.mean() for i in range(12)])
    assert 0.03 < np.median(share) < 0.3
    assert share.max() > 0.2
    assert share.min() < 0.08
    assert share.max() < 0.8


@pytest.mark.parametrize(
    "wrong",
    [
        {"shape_voxels": (2, 8, 8)},
        {"voxel_size_um": (0.0, 1.0, 1.0)},
        {"zoom": (2.0, 1.0)},
        {"geometry": ("a.tif",), "geometry_voxel_size_um": ((1, 1, 1), (1, 1, 1))},
        {"images_per_anatomy": 0},
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SimulateConfig.model_validate(wrong)


def test_written_files_hold_the_volume_and_its_voxel_size(tmp_path: Path) -> None:
    images = write_simulated(tmp_path / "out", SMALL, seed=7, count=2)
    assert [p.name for p in images] == ["volume_000_image.ome.tif", "volume_001_image.ome.tif"]
    made = simulate_volume(SMALL, 7, index=1)
    with tifffile.TiffFile(images[1]) as file:
        assert file.series[0].axes == "ZYX"
        np.testing.assert_array_equal(file.asarray(), made.image)
        assert f'PhysicalSizeZ="{made.voxel_size_um.z_um}"' in (file.ome_metadata or "")
    label = tifffile.imread(tmp_path / "out" / "volume_001_label.ome.tif")
    np.testing.assert_array_equal(label, made.mask)
    assert made.network is not None
    stored = VesselNetwork.load(tmp_path / "out" / "volume_001_network.npz")
    assert stored.length_um == made.network.length_um
    record = json.loads((tmp_path / "out" / "volume_001.json").read_text(encoding="utf-8"))
    assert (record["seed"], record["index"]) == (7, 1)
    assert record["voxel_size_um"] == list(made.voxel_size_um.zyx_um)
    assert record["truth"]["loops"] == made.network.loops
    assert record["microscope"]["instrument"] == made.microscope.instrument


def test_a_folder_that_holds_files_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="already holds files"):
        write_simulated(out, SMALL, seed=0, count=1)
    assert [p.name for p in out.iterdir()] == ["thesis.txt"]
    with pytest.raises(OutputError, match=r"more than simulated volumes \(first: thesis.txt\)"):
        write_simulated(out, SMALL, seed=0, count=1, overwrite=True)
    assert (out / "thesis.txt").read_text() == "mine"


def test_earlier_volumes_are_replaced_when_allowed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_simulated(out, SMALL, seed=0, count=2)
    write_simulated(out, SMALL, seed=1, count=1, overwrite=True)
    assert json.loads((out / "volume_000.json").read_text())["seed"] == 1
    assert not (out / "volume_001.json").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_an_empty_folder_is_used(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert write_simulated(tmp_path / "out", SMALL, seed=0, count=1)[0].is_file()


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(OutputError, match="is a file"):
        write_simulated(tmp_path / "out", SMALL, seed=0, count=1, overwrite=True)


def test_a_full_disk_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_simulated(tmp_path / "out", SMALL, seed=0, count=1)
    before = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    written = []

    def fail_on_the_second(folder: Path, volumes: SimulatedVolumes, index: int) -> None:
        (folder / f"part_{index}").write_text("half")
        written.append(index)
        if index == 1:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(write_module, "_write_one", fail_on_the_second)
    with pytest.raises(OutputError, match="No space left"):
        write_simulated(tmp_path / "out", SMALL, seed=1, count=3, overwrite=True)
    assert written == [0, 1]
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_one_specimen_has_one_microscope() -> None:
    wide = SimulateConfig(shape_voxels=(16, 24, 24), zoom=(1.0, 1.0))
    one = SimulateConfig(shape_voxels=(16, 24, 24), zoom=(1.0, 1.0), specimen_seed=5)
    seen = [SimulatedVolumes(one, seed).volume(index) for seed, index in ((0, 0), (0, 4), (9, 1))]
    assert seen[0].microscope == seen[1].microscope == seen[2].microscope
    # Tissue and look are shared, the vessels themselves are not.
    assert not np.array_equal(seen[0].mask, seen[1].mask)
    others = [SimulatedVolumes(wide, 0).volume(index) for index in (0, 4)]
    assert others[0].microscope != others[1].microscope


def test_several_specimens_come_one_after_the_other() -> None:
    settings = {"shape_voxels": (16, 24, 24), "zoom": (1.0, 1.0), "images_per_anatomy": 2}
    alone = [
        SimulatedVolumes(SimulateConfig(**settings, specimen_seed=seed), 0).volume(0).microscope
        for seed in (5, 6)
    ]
    assert alone[0] != alone[1]
    both = SimulatedVolumes(SimulateConfig(**settings, specimen_seed=(5, 6)), 0)
    # Two images of each grown network, which is of one specimen.
    found = [both.volume(index).microscope for index in range(6)]
    assert found == [alone[i] for i in (0, 0, 1, 1, 0, 0)]


@pytest.mark.parametrize("seed", [(), -1, (3, -1), "five"])
def test_specimens_are_seeds(seed: object) -> None:
    with pytest.raises(ValidationError):
        SimulateConfig(specimen_seed=seed)
