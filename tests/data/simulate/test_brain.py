from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vpbsd.data.simulate import BrainVolume
from vpbsd.data.simulate.grain import Grain
from vpbsd.data.simulate.outline import Outline
from vpbsd.data.simulate.specimen import Specimen, SpecimenKey
from vpbsd.data.simulate.trunks import grow_trunks
from vpbsd.data.simulate.warp import Warp
from vpbsd.errors import ConfigError, DataError, OutputError
from vpbsd.geometry import Box, Triplet, VoxelSize

# Larger than the specimen, and no multiple of the cells of 16 x 64 x 64 voxels.
SHAPE = (70, 90, 141)
WHOLE = Box.whole(SHAPE)


def small_brain(seed: int = 3, **options: object) -> BrainVolume:
    return BrainVolume(SHAPE, seed, specimen_voxels=40, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def brain() -> BrainVolume:
    return small_brain()


@pytest.fixture(scope="module")
def whole(brain: BrainVolume) -> NDArray[np.uint16]:
    return brain.read(WHOLE)[0]


@pytest.fixture(scope="module")
def truth(brain: BrainVolume) -> NDArray[np.uint8]:
    return brain.truth.read(WHOLE)[0]


@st.composite
def boxes(draw: st.DrawFn, shape: Triplet = SHAPE) -> Box:
    edges = [sorted(draw(st.tuples(*[st.integers(0, n)] * 2))) for n in shape]
    z, y, x = edges
    return Box((z[0], y[0], x[0]), (z[1], y[1], x[1]))


# --------------------------------------------------------------------------------- how it is read


def test_it_is_a_volume_of_counts_with_a_mask(brain: BrainVolume) -> None:
    assert brain.shape == brain.truth.shape == (1, 70, 90, 141)
    assert (brain.dtype, brain.truth.dtype) == (np.uint16, np.uint8)
    assert brain.voxel_size_um == brain.truth.voxel_size_um == VoxelSize(2, 2, 2)
    assert brain.read(Box.at((0, 0, 0), (2, 3, 4))).shape == (1, 2, 3, 4)


@settings(max_examples=30, deadline=None)
@given(box=boxes())
def test_any_cut_gives_the_same_voxels(
    brain: BrainVolume, whole: NDArray[np.uint16], truth: NDArray[np.uint8], box: Box
) -> None:
    np.testing.assert_array_equal(brain.read(box)[0], whole[box.slices])
    np.testing.assert_array_equal(brain.truth.read(box)[0], truth[box.slices])


def test_a_copy_sent_elsewhere_is_small_and_the_same(
    brain: BrainVolume, whole: NDArray[np.uint16], truth: NDArray[np.uint8]
) -> None:
    sent = pickle.dumps((brain, brain.truth))
    assert len(sent) < 4000
    image, mask = pickle.loads(sent)
    np.testing.assert_array_equal(image.read(WHOLE)[0], whole)
    np.testing.assert_array_equal(mask.read(WHOLE)[0], truth)


def test_threads_may_share_it(whole: NDArray[np.uint16]) -> None:
    fresh = small_brain()
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(fresh.read, [WHOLE, WHOLE])
    np.testing.assert_array_equal(first[0], whole)
    np.testing.assert_array_equal(second[0], whole)


def test_the_seed_decides(whole: NDArray[np.uint16], truth: NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(small_brain().read(WHOLE)[0], whole)
    other = small_brain(seed=4)
    assert (other.read(WHOLE)[0] != whole).mean() > 0.99
    assert (other.truth.read(WHOLE)[0] != truth).mean() > 0.02


# ----------------------------------------------------------------------------------- what is in it


def test_vessels_are_bright_tissue_less_and_void_dark(
    whole: NDArray[np.uint16], truth: NDArray[np.uint8]
) -> None:
    depth = Outline(SHAPE).depth_voxels(WHOLE)
    assert set(np.unique(truth)) == {0, 1}
    vessel = np.median(whole[(truth == 1) & (depth > 3)])
    tissue = np.median(whole[(truth == 0) & (depth > 3)])
    void = np.median(whole[(truth == 0) & (depth < -3)])
    assert vessel > 1.3 * tissue
    # The camera's offset is 0.3 of the tissue, which is lit unevenly.
    assert 0.2 < void / tissue < 0.4


def test_no_vessel_lies_in_the_void_but_great_ones(truth: NDArray[np.uint8]) -> None:
    outside = Outline(SHAPE).depth_voxels(WHOLE) <= 0
    trunks = grow_trunks(SHAPE, VoxelSize(2, 2, 2), 3, 8.0)
    distance = trunks.distance_um(WHOLE)
    assert distance is not None
    assert truth[outside].any()
    # In the last digit the distance depends on the box.
    np.testing.assert_array_equal(truth[outside & (distance > 1e-3)], 0)
    np.testing.assert_array_equal(truth[distance < -1e-3], 1)


def test_shares_of_void_and_vessels() -> None:
    brain = BrainVolume((150, 200, 180), 1, specimen_voxels=128)
    shares = brain.shares(cells=60)
    assert 0.5 < shares.void < 0.65
    # 3 to 6 % in a large brain; great vessels and their roots weigh more in a small one.
    assert 0.03 < shares.vessel < 0.09
    tissue = Outline((150, 200, 180)).depth_voxels(Box.whole((150, 200, 180))) > 0
    assert shares.void == pytest.approx(1 - tissue.mean(), abs=0.01)


def test_thick_planes_are_possible() -> None:
    brain = BrainVolume((40, 60, 64), 1, specimen_voxels=32, voxel_size_um=(5, 2, 2))
    assert brain.voxel_size_um == VoxelSize(5, 2, 2)
    assert brain.read(Box.whole((40, 60, 64))).std() > 0
    assert brain.truth.read(Box.whole((40, 60, 64))).any()


# --------------------------------------------------------------------------------------- its parts


def test_outline_is_the_same_on_both_sides() -> None:
    depth = Outline(SHAPE).depth_voxels(WHOLE)
    np.testing.assert_array_equal(depth, depth[:, :, ::-1])
    # Corners and the dorsal fissure are void, both hemispheres tissue, a ventricle void again.
    for place, inside in {
        (0, 0, 0): False,
        (69, 89, 140): False,
        (10, 40, 70): False,
        (35, 40, 28): True,
        (35, 40, 112): True,
        (28, 38, 84): False,
    }.items():
        assert (depth[place] > 0) == inside, place


@given(box=boxes())
def test_bounds_hold_in_every_box(box: Box) -> None:
    if box.is_empty:
        return
    outline = Outline(SHAPE)
    depth = outline.depth_voxels(box)
    low, high = outline.bounds_voxels(box)
    assert low <= depth.min() <= depth.max() <= high


def test_specimen_is_mirrored_at_its_faces() -> None:
    codes = np.zeros((2, 2, 12), np.uint16)
    # (z, y) rows 10, 11; 20, 21, along x already mirrored: 0 1 1 0 0 1 1 0 ...
    codes[0, 0], codes[0, 1], codes[1, 0], codes[1, 1] = 10, 20, 30, 40
    codes += np.array([0, 1, 1, 0] * 3, np.uint16)
    specimen = Specimen(codes, SpecimenKey(0, 2, 2, (2.0, 2.0, 2.0)))
    z, y, x = np.array([0, 1, 2, 3, 4, -1]), np.zeros(6, int), np.array([0, 1, 2, 3, 4, -1])
    assert specimen.runs(z, y, x).tolist() == [
        [10, 11, 11, 10, 10, 11, 11, 10],
        [31, 31, 30, 30, 31, 31, 30, 30],
        [31, 30, 30, 31, 31, 30, 30, 31],
        [10, 10, 11, 11, 10, 10, 11, 11],
        [10, 11, 11, 10, 10, 11, 11, 10],
        [10, 10, 11, 11, 10, 10, 11, 11],
    ]


def test_warp_tears_nothing() -> None:
    shape = (96, 128, 160)
    places = Warp(shape, 64, 0).places(Box.whole(shape))
    steps = ((1, 0, 0), (0, 1, 0), (0, 0, 8))
    for axis, place in enumerate(places):
        assert place.shape == (96, 128, 20)
        for along in range(3):
            moved = np.diff(place, axis=along) - steps[along][axis]
            assert np.abs(moved).max() <= (1 if along < 2 else 2)
    # It does move.
    assert np.abs(places[2] - np.arange(0, 160, 8)).max() >= 4


def test_grain_is_normal_and_independent() -> None:
    box = Box((0, 0, 64), (24, 64, 128))
    first, second = Grain(5).pair(box)
    for noise in (first, second):
        assert abs(noise.mean()) < 0.02
        assert noise.std() == pytest.approx(1.0, abs=0.02)
        for axis in range(3):
            near = np.corrcoef(
                np.delete(noise, 0, axis).ravel(), np.delete(noise, -1, axis).ravel()
            )
            assert abs(near[0, 1]) < 0.02
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.02
    # Another run along x has other noise.
    assert np.abs(Grain(5).pair(Box((0, 0, 0), (24, 64, 64)))[0] - first).mean() > 0.5


# --------------------------------------------------------------------------- kept on disk, refused


def test_specimen_is_kept_for_others(tmp_path: Path, whole: NDArray[np.uint16]) -> None:
    folder = tmp_path / "kept"
    other = BrainVolume((48, 48, 48), 9, specimen_voxels=32)  # pushes the specimen out of memory
    other.read(Box.at((0, 0, 0), (1, 1, 1)))
    kept = small_brain(cache_dir=folder)
    np.testing.assert_array_equal(kept.read(WHOLE)[0], whole)
    (file,) = folder.iterdir()
    other.read(Box.at((24, 24, 12), (1, 1, 1)))
    before = file.stat().st_mtime_ns
    np.testing.assert_array_equal(small_brain(cache_dir=folder).read(WHOLE)[0], whole)
    assert file.stat().st_mtime_ns == before
    other.read(Box.at((24, 24, 12), (1, 1, 1)))
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"specimen_.*cannot be used.*delete it"):
        small_brain(cache_dir=folder).read(WHOLE)


def test_folder_that_cannot_hold_the_specimen(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    brain = BrainVolume((48, 48, 48), 11, specimen_voxels=32, cache_dir=tmp_path / "file")
    with pytest.raises(OutputError, match=r"cannot keep the simulated specimen.*another folder"):
        brain.read(Box.whole((48, 48, 48)))


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((31, 64, 64), {}, r"\(31, 64, 64\) voxels.*at least 32"),
        ((64, 64, 64), {"specimen_voxels": 16}, r"specimen of 16 is too small"),
        ((64, 64, 64), {"seed": -1}, r"0 or above, got -1"),
    ],
)
def test_impossible_brains_are_refused(
    shape: Triplet, options: dict[str, int], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        BrainVolume(shape, **options)
