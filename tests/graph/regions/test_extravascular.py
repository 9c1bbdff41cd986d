"""Distances from tissue to the nearest vessel: by hand, against SciPy, and for any blocks."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from vpbsd.blockwise import Stopped, Workers
from vpbsd.errors import ConfigError, DataError, OutputError
from vpbsd.geometry import VoxelSize
from vpbsd.graph.regions import extravascular
from vpbsd.graph.regions.extravascular import (
    ExtravascularOptions,
    count_tissue,
    plan_counting,
)
from vpbsd.graph.regions.tissue_counts import DistanceHistogram, TissueCounts
from vpbsd.graph.regions.volume import RegionVolume
from vpbsd.volumes import ArrayVolume

TWO = VoxelSize(2.0, 2.0, 2.0)


def every_voxel(**settings) -> ExtravascularOptions:
    return ExtravascularOptions(spacing_um=0.0, **settings)


def counted(mask: np.ndarray, size: VoxelSize, options, labels=None, tissue=None) -> TissueCounts:
    volumes = [
        None if v is None else RegionVolume(ArrayVolume(v, size), mask.shape, size)
        for v in (labels, tissue)
    ]
    return count_tissue(
        ArrayVolume(mask, size), size, regions=volumes[0], tissue=volumes[1], options=options
    )


def tubes(shape, seed: int) -> np.ndarray:
    """A few straight vessels in all directions."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(shape, np.uint8)
    for _ in range(5):
        start, stop = rng.uniform(0, 1, (2, 3)) * (np.array(shape) - 1)
        for t in np.linspace(0, 1, 200):
            mask[tuple(np.rint(start + t * (stop - start)).astype(int))] = 255
    return mask


# --------------------------------------------------------------------------------------- by hand


def test_row_of_voxels() -> None:
    # One row; vessel at 2. Distances to it, at 2 µm: 4, 2, -, 2, 4, 6, 8; beyond 6 µm: the last.
    mask = np.array([0, 0, 1, 0, 0, 0, 0], np.uint8).reshape(1, 1, 7)
    voxels, vessels, histogram = counted(mask, TWO, every_voxel(limit_um=6.0, bin_um=0.5)).of()
    assert (voxels, vessels) == (7, 1)
    assert histogram is not None
    assert {i * 0.5: n for i, n in enumerate(histogram.counts.tolist()) if n} == {
        2.0: 2,
        4.0: 2,
        6.0: 1,
    }
    assert histogram.beyond == 1
    assert histogram.beyond_share == pytest.approx(1 / 6)
    assert histogram.mean_um == pytest.approx(18 / 5)
    assert histogram.percentile_um(50) == 4.0  # the third of six
    assert histogram.percentile_um(83) == 6.0
    assert histogram.percentile_um(95) is None  # the sixth of six is beyond


def test_regions_and_tissue_part_the_counts() -> None:
    mask = np.array([1, 0, 0, 0, 0, 1], np.uint8).reshape(1, 1, 6)
    labels = np.array([4, 4, 4, 9, 9, 9], np.int32).reshape(1, 1, 6)
    tissue = np.array([0, 1, 1, 1, 1, 1], np.uint8).reshape(1, 1, 6)
    counts = counted(mask, TWO, every_voxel(limit_um=50.0), labels, tissue)
    assert counts.labels.tolist() == [4, 9]
    assert counts.voxels.tolist() == [2, 3]
    # The vessel outside the tissue is not counted, but is the nearest one of 4's voxels.
    assert counts.vessel_voxels.tolist() == [0, 1]
    assert counts.of([4])[2].mean_um == pytest.approx((2 + 4) / 2)  # type: ignore[union-attr]
    assert counts.of([9])[2].mean_um == pytest.approx((4 + 2) / 2)  # type: ignore[union-attr]
    assert counts.of([77])[:2] == (0, 0)


def test_no_vessel_at_all() -> None:
    _, _, histogram = counted(np.zeros((4, 5, 6), np.uint8), TWO, every_voxel(limit_um=8.0)).of()
    assert histogram is not None
    assert (histogram.total, histogram.beyond) == (120, 120)
    assert histogram.mean_um is None


def test_nothing_but_vessel() -> None:
    _, vessels, histogram = counted(np.ones((2, 2, 2), np.uint8), TWO, every_voxel()).of()
    assert vessels == 8
    assert histogram is not None
    assert histogram.total == 0
    assert (histogram.mean_um, histogram.percentile_um(50), histogram.beyond_share) == (None,) * 3


def test_distance_of_exactly_the_limit_is_within() -> None:
    # 3, 4, 5: the vessel is 5 steps of 1.3 µm from the corner.
    mask = np.zeros((1, 4, 5), np.uint8)
    mask[0, 3, 4] = 1
    size = VoxelSize(1.3, 1.3, 1.3)
    _, _, histogram = counted(mask, size, every_voxel(limit_um=6.5, bin_um=0.1)).of()
    assert histogram is not None
    assert histogram.beyond == 0
    assert histogram.counts[65] == 1


def test_without_distances_only_voxels_are_counted() -> None:
    counts = counted(tubes((9, 9, 9), 0), TWO, every_voxel(limit_um=None))
    assert counts.of()[0] == 729
    assert counts.of()[2] is None


# ---------------------------------------------------------------------------------------- oracle


@pytest.mark.parametrize("size", [(2.0, 2.0, 2.0), (5.0, 1.62, 1.0), (0.7, 3.0, 1.1)])
@pytest.mark.parametrize("limit_um", [9.0, 1000.0])
def test_distances_are_those_of_scipy(size, limit_um: float) -> None:
    mask = tubes((21, 26, 33), 3)
    _, _, histogram = counted(mask, VoxelSize.of(size), every_voxel(limit_um=limit_um)).of()
    assert histogram is not None
    true = ndimage.distance_transform_edt(mask == 0, sampling=size)[mask == 0]
    within = np.sort(true[true <= limit_um * (1 + 1e-12)])
    assert histogram.beyond == true.size - within.size
    found = np.repeat(np.arange(len(histogram.counts)) * 0.1, histogram.counts)
    # Rounded to a tenth; the square's own rounding is smaller than a thousandth of that.
    assert np.abs(found - within).max() <= 0.0501


@settings(max_examples=60)
@given(
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    size=st.tuples(*[st.sampled_from([0.5, 1.0, 1.62, 4.0])] * 3),
    limit_um=st.sampled_from([0.3, 2.0, 5.0, 40.0]),
    vessels=st.integers(0, 8),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_small_mask_is_as_scipy_has_it(shape, size, limit_um, vessels, seed: int) -> None:
    mask = np.zeros(shape, np.uint8)
    mask.flat[np.random.default_rng(seed).integers(0, mask.size, vessels)] = 1
    _, _, histogram = counted(mask, VoxelSize.of(size), every_voxel(limit_um=limit_um)).of()
    assert histogram is not None
    true = np.full(np.count_nonzero(mask == 0), np.inf)
    if vessels:
        true = ndimage.distance_transform_edt(mask == 0, sampling=size)[mask == 0]
    within = np.sort(true[true <= limit_um * (1 + 1e-9)])
    assert histogram.beyond == true.size - within.size
    found = np.repeat(np.arange(len(histogram.counts)) * 0.1, histogram.counts)
    assert np.abs(found - within).max(initial=0) <= 0.0501


def test_lattice_takes_every_second_voxel_of_the_volume() -> None:
    mask = tubes((20, 24, 31), 5)
    options = ExtravascularOptions(spacing_um=4.0, limit_um=60.0)
    _, _, histogram = counted(mask, TWO, options).of()
    assert histogram is not None
    true = ndimage.distance_transform_edt(mask == 0, sampling=2.0)[1::2, 1::2, 1::2]
    kept = np.sort(true[mask[1::2, 1::2, 1::2] == 0])
    found = np.repeat(np.arange(len(histogram.counts)) * 0.1, histogram.counts)
    assert found.size == kept.size
    assert np.abs(found - kept).max() <= 0.0501


# ------------------------------------------------------------------------------------------ laws


@pytest.mark.parametrize("spacing_um", [0.0, 3.0])
def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch, spacing_um: float) -> None:
    mask, size = tubes((37, 41, 45), 1), VoxelSize(3.0, 1.62, 1.0)
    labels = (np.indices(mask.shape).sum(axis=0) // 20).astype(np.uint16)
    found = []
    for block in ((64, 64, 64), (16, 16, 16), (13, 41, 7)):
        monkeypatch.setattr(extravascular, "choose_block", lambda *_, block=block, **__: block)
        options = ExtravascularOptions(limit_um=15.0, spacing_um=spacing_um)
        found.append(counted(mask, size, options, labels))
    for other in found[1:]:
        assert np.array_equal(other.labels, found[0].labels)
        assert np.array_equal(other.voxels, found[0].voxels)
        assert np.array_equal(other.vessel_voxels, found[0].vessel_voxels)
        assert np.array_equal(other.distances, found[0].distances)
    assert found[0].of()[0] == mask.size
    assert found[0].of()[1] == np.count_nonzero(mask)


def test_regions_add_up_to_the_whole() -> None:
    mask = tubes((20, 20, 20), 2)
    labels = (np.indices(mask.shape)[0] // 7).astype(np.uint8)
    parted = counted(mask, TWO, every_voxel(limit_um=20.0), labels).of()
    whole = counted(mask, TWO, every_voxel(limit_um=20.0)).of()
    assert parted[:2] == whole[:2]
    assert np.array_equal(parted[2].counts, whole[2].counts)  # type: ignore[union-attr]


def test_a_stopped_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extravascular, "choose_block", lambda *_, **__: (8, 8, 8))
    mask = tubes((24, 24, 24), 4)
    volume = ArrayVolume(mask, TWO)
    options = every_voxel(limit_um=10.0, work=tmp_path / "work", workers=Workers(lanes=1))
    seen: list[int] = []

    def stop_at_ten(block, done) -> None:
        seen.append(block.index)
        if len(seen) == 10:
            raise Stopped("enough")

    with pytest.raises(Stopped):
        count_tissue(volume, TWO, options=options, on_done=stop_at_ten)
    assert len(seen) < 27
    resumed: list[int] = []
    found = count_tissue(
        volume, TWO, options=options, on_done=lambda block, _: resumed.append(block.index)
    )
    assert not set(seen[:9]) & set(resumed)
    assert len(resumed) < 27 - 8
    fresh = count_tissue(volume, TWO, options=every_voxel(limit_um=10.0))
    assert np.array_equal(found.distances, fresh.distances)
    with pytest.raises(OutputError, match=r"longest distance was 10\.0 and is 12\.0"):
        count_tissue(volume, TWO, options=every_voxel(limit_um=12.0, work=tmp_path / "work"))


@pytest.mark.slow
def test_workers_count_the_same() -> None:
    mask = tubes((60, 50, 40), 6)
    labels = (np.indices(mask.shape)[2] // 11).astype(np.uint8)
    here = counted(mask, TWO, every_voxel(limit_um=20.0), labels)
    options = every_voxel(limit_um=20.0, workers=Workers(processes=2))
    there = counted(mask, TWO, options, labels)
    assert np.array_equal(there.distances, here.distances)
    assert np.array_equal(there.labels, here.labels)


def test_memory_stays_within_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    # A mask that takes no memory itself, in blocks of 96 voxels read with 10 around them.
    mask = np.broadcast_to(tubes((1, 96, 96), 7), (384, 96, 96))
    labels = np.broadcast_to(np.arange(96, dtype=np.uint32) // 10, mask.shape)
    monkeypatch.setattr(extravascular, "choose_block", lambda *_, **__: (96, 96, 96))
    tracemalloc.start()
    counted(mask, TWO, every_voxel(limit_um=20.0), labels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    volume = ArrayVolume(mask, TWO)
    regions = RegionVolume(ArrayVolume(labels, TWO), mask.shape, TWO)
    per_voxel = extravascular._voxel_bytes(volume, TWO, [regions])
    read = 116 * 96 * 96
    # Beside the blocks: the reading of the first samples for nothing, the counts, Python itself.
    assert 0.4 * read * per_voxel < peak < read * per_voxel + 8 * 2**20


# -------------------------------------------------------------------------------------- refusals


def test_probabilities_are_refused() -> None:
    with pytest.raises(DataError, match="probabilities"):
        counted(np.full((4, 4, 4), 0.5, np.float32), TWO, every_voxel())


def test_too_little_memory_is_refused() -> None:
    volume = ArrayVolume(np.zeros((1, 1, 1), np.uint8), TWO)
    with pytest.raises(ConfigError, match=r"more than the 0\.1 GiB"):
        count_tissue(volume, TWO, options=every_voxel(memory_bytes=2**27))


@pytest.mark.parametrize("faulty", [{"limit_um": 0.0}, {"bin_um": 0.0}, {"spacing_um": -1.0}])
def test_lengths_out_of_range_are_refused(faulty) -> None:
    with pytest.raises(ConfigError, match="µm"):
        ExtravascularOptions(**faulty)


def test_percentiles_count_ranks() -> None:
    histogram = DistanceHistogram(np.array([0, 10, 80, 10]), 0, 2.0)
    assert [histogram.percentile_um(p) for p in (5, 10, 11, 50, 90, 91)] == [2, 2, 4, 4, 4, 6]
    assert histogram.mean_um == 4.0


def test_without_distances_a_volume_is_not_cut_for_nothing() -> None:
    mask = ArrayVolume(np.zeros((96, 128, 160), np.uint8), VoxelSize(2, 2, 2))
    options = ExtravascularOptions(limit_um=None)
    assert len(plan_counting(mask, VoxelSize(2, 2, 2), None, None, options)) == 1
