"""Patches are a pure function of seed and number, and aligned patches match what is labelled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vpbsd.config import SimulateConfig
from vpbsd.data.collection import TrainingVolume
from vpbsd.data.patches import (
    PatchSampler,
    UnlabelledPatches,
    aligned_box,
    draw_aligned,
    simulated_volume,
)
from vpbsd.errors import ConfigError
from vpbsd.geometry import Box
from vpbsd.segment import read_padded
from vpbsd.volumes import ArrayVolume, IntensityScale, estimate_intensity

SMALL = SimulateConfig(shape_voxels=(16, 20, 20), images_per_anatomy=2)
PATCH = (8, 12, 16)
Shape = tuple[int, int, int]


def volume(
    name: str = "volume", shape: Shape = (20, 24, 28), labelled: bool = True, seed: int = 0
) -> TrainingVolume:
    """Bright tubes along x; the label is where the image is bright."""
    rng = np.random.default_rng(seed)
    label = np.zeros(shape, np.uint8)
    label[5:8, 6:9, :] = 1
    label[12:15, 15:19, :] = 1
    counts = (1000 * label.astype(int) + rng.integers(0, 100, shape)).astype(np.uint16)
    image = ArrayVolume(counts, source=name)
    truth = ArrayVolume(label, source=f"{name} label")
    return TrainingVolume(name, image, estimate_intensity(image), truth if labelled else None)


def sampler(
    volumes: tuple[TrainingVolume, ...] | None = None, share: float = 0.5, seed: int = 0
) -> PatchSampler:
    volumes = (volume(),) if volumes is None else volumes
    return PatchSampler(volumes, SMALL, simulated_share=share, patch=PATCH, seed=seed)


# ----------------------------------------------------------------------------------------- sampler


def test_a_patch_depends_on_seed_and_number_alone() -> None:
    first, second = sampler(), sampler()
    forwards = [first.patch(i) for i in (0, 3, 9, 40)]
    backwards = [second.patch(i) for i in (40, 9, 3, 0)][::-1]
    again = [first.patch(i) for i in (0, 3, 9, 40)]
    for a, b, c in zip(forwards, backwards, again, strict=True):
        assert torch.equal(a.image, b.image)
        assert torch.equal(a.label, b.label)
        assert torch.equal(a.image, c.image)
    others = sampler(seed=1)
    assert not any(torch.equal(a.image, others.patch(i).image) for i, a in enumerate(forwards))


def test_shapes_and_types() -> None:
    patch = sampler().patch(0)
    assert patch.image.shape == patch.label.shape == (1, *PATCH)
    assert patch.image.dtype == patch.label.dtype == torch.float32
    assert set(patch.label.unique().tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_ranks_share_the_patches_of_a_step(ranks: int) -> None:
    source = sampler(share=0.0)
    # Two steps of each rank, three patches a step: patches 0 .. 6 ranks - 1, each once.
    batches = [source.batch(s, 3, r, ranks).image for s in range(2) for r in range(ranks)]
    found = torch.cat(batches)
    expected = torch.stack([source.patch(i).image for i in range(6 * ranks)])
    assert torch.equal(found, expected)
    assert len({float(p.double().sum()) for p in found}) == 6 * ranks


def test_every_volume_has_its_turn() -> None:
    # Told apart by their labels: nothing, everything, or either by turns.
    empty, full = volume("empty"), volume("full")
    full = TrainingVolume(
        "full", full.image, full.scale, ArrayVolume(np.ones(full.shape, np.uint8))
    )
    empty = TrainingVolume(
        "empty", empty.image, empty.scale, ArrayVolume(np.zeros(empty.shape, np.uint8))
    )
    source = sampler((empty, full), share=0.0)
    shares = [float(source.patch(i).label.mean()) for i in range(60)]
    assert set(shares) == {0.0, 1.0}
    assert 15 <= sum(shares) <= 45


@pytest.mark.parametrize(("share", "low", "high"), [(0.0, 0, 0), (0.5, 10, 30), (1.0, 40, 40)])
def test_share_of_simulated_patches(share: float, low: int, high: int) -> None:
    source = sampler(share=share)
    opened: list[int] = []
    source._opened = lambda index: (opened.append(index), volume(seed=1))[1]  # type: ignore[assignment]
    for number in range(40):
        source.patch(number)
    assert low <= len(opened) <= high
    # One simulated volume serves eight patches.
    assert set(opened) <= {0, 1, 2, 3, 4}


def test_patches_look_for_vessels() -> None:
    # One vessel voxel in 400 of the volume: a single try would nearly always miss it.
    sparse = volume(shape=(20, 24, 100))
    label = np.zeros(sparse.shape, np.uint8)
    label[:, :, 40:42] = 1
    sparse = TrainingVolume("sparse", sparse.image, sparse.scale, ArrayVolume(label))
    hits = sum(bool(sampler((sparse,), 0.0).patch(i).label.any()) for i in range(40))
    once = PatchSampler((sparse,), SMALL, simulated_share=0.0, patch=PATCH, seed=0)
    once_hits = 0
    for number in range(40):
        rng = np.random.default_rng((0, number))
        rng.random()
        once_hits += bool(once._cut(sparse, rng).label.any())
    assert once_hits + 10 <= hits


def test_without_label_all_is_background() -> None:
    patch = sampler((volume(labelled=False),), share=0.0).patch(0)
    assert not patch.label.any()
    assert patch.image.std() > 0


def test_image_and_label_of_a_patch_belong_together() -> None:
    source = sampler(share=0.0)
    for number in range(12):
        patch = source.patch(number)
        vessel = patch.label.bool()
        if 20 < vessel.sum() < vessel.numel() - 20:
            assert patch.image[vessel].median() > patch.image[~vessel].median()


def test_nothing_to_draw_from() -> None:
    with pytest.raises(ConfigError, match=r"no volume to draw patches from.*simulated_share to 1"):
        sampler((), share=0.5)
    assert sampler((), share=1.0).patch(0).image.shape == (1, *PATCH)


def test_volumes_smaller_than_a_patch() -> None:
    thin = volume(shape=(4, 24, 10))
    patch = sampler((thin,), share=0.0).patch(0)
    assert patch.image.shape == (1, *PATCH)
    assert torch.isfinite(patch.image).all()


def test_simulated_volumes_come_with_truth_unless_asked_without() -> None:
    made, again = (simulated_volume(SMALL, 7, 1) for _ in range(2))
    box = Box.whole(made.shape)
    assert made.shape == (16, 20, 20)
    assert made.truth(box).any()
    np.testing.assert_array_equal(made.image.read(box), again.image.read(box))
    hidden = simulated_volume(SMALL, 7, 1, labelled=False)
    assert hidden.label is None
    np.testing.assert_array_equal(hidden.image.read(box), made.image.read(box))


# ----------------------------------------------------------------------------------------- aligned

edge = st.integers(1, 40)


@given(
    st.integers(0, 2**32),
    st.tuples(edge, edge, edge),
    st.sampled_from([(2, 4, 4), (4, 4, 4), (1, 2, 8)]),
    st.tuples(*[st.integers(1, 3)] * 3),
)
def test_aligned_boxes_lie_on_the_grid_inside_the_padded_volume(
    seed: int, shape: Shape, stride: Shape, cells: Shape
) -> None:
    patch = tuple(c * s for c, s in zip(cells, stride, strict=True))
    box = aligned_box(np.random.default_rng(seed), shape, patch, stride)  # type: ignore[arg-type]
    assert box.shape == patch
    for start, stop, n, p, s in zip(box.start, box.stop, shape, patch, stride, strict=True):
        assert start % s == 0
        assert start >= 0
        assert stop <= max(-(-n // s) * s, p)
        assert start < n, "a patch without a single voxel of the volume"


def test_aligned_boxes_reach_every_place() -> None:
    rng = np.random.default_rng(0)
    starts = {aligned_box(rng, (10, 10, 10), (8, 8, 8), (4, 4, 4)).start for _ in range(200)}
    # 10 is padded to 12, so that 8 fit at 0 and at 4 along each axis.
    assert starts == {(z, y, x) for z in (0, 4) for y in (0, 4) for x in (0, 4)}


@pytest.mark.parametrize("shape", [(20, 24, 28), (5, 6, 30), (9, 13, 17)])
def test_aligned_patches_show_what_the_teacher_saw(
    shape: Shape, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vpbsd.data.patches.augment_intensity", lambda image, rng: image)
    plain = IntensityScale(centre=(0.0,), spread=(1.0,))
    source = [TrainingVolume("a", volume(shape=shape).image, plain, None)]
    for seed in range(10):
        patch = draw_aligned(source, np.random.default_rng(seed), (16, 16, 16), (4, 4, 4))
        assert patch.image.shape == (1, 16, 16, 16)
        # The teacher labels the volume through read_padded: the same voxels, mirrored alike.
        expected = plain.apply(read_padded(source[0].image, patch.box))
        np.testing.assert_array_equal(patch.image.numpy(), expected)


def test_aligned_patches_are_deterministic_and_name_their_volume() -> None:
    source = [volume("a"), volume("b", shape=(16, 16, 16), seed=1)]
    for seed in range(8):
        a, b = (draw_aligned(source, np.random.default_rng(seed), PATCH, (4, 4, 4)) for _ in "ab")
        assert torch.equal(a.image, b.image)
        assert (a.volume, a.box) == (b.volume, b.box)
    drawn = {
        draw_aligned(source, np.random.default_rng(s), PATCH, (4, 4, 4)).volume for s in range(20)
    }
    assert drawn == {0, 1}


def test_aligned_intensities_vary_from_draw_to_draw() -> None:
    cube = [volume(shape=(16, 16, 16))]
    images = [
        draw_aligned(cube, np.random.default_rng(s), (16, 16, 16), (4, 4, 4)).image
        for s in range(5)
    ]
    assert len({round(float(i.mean()), 5) for i in images}) == 5


def test_geometry_of_real_labels_can_be_simulated(tmp_path: Path) -> None:
    label = np.zeros((24, 32, 32), np.uint8)
    label[8:14, 10:16, :] = 1
    np.save(tmp_path / "label.npy", label)
    config = SimulateConfig(
        shape_voxels=(16, 20, 20),
        geometry=(tmp_path / "label.npy",),
        geometry_share=1.0,
        geometry_voxel_size_um=((2.0, 2.0, 2.0),),
    )
    made = simulated_volume(config, 0, 0)
    assert 0 < made.truth(Box.whole(made.shape)).mean() < 1


def test_two_looks_at_the_same_voxels() -> None:
    patches = UnlabelledPatches([volume()], (16, 16, 16), 5)
    found = patches.patch(7)
    assert found.keys() == {"plain", "unlabelled"}
    plain, look = found["plain"], found["unlabelled"]
    assert plain.shape == look.shape == (1, 16, 16, 16)
    assert not torch.equal(plain, look)
    # Bright stays brighter than dark.
    bright = plain > plain.mean()
    assert look[bright].mean() > look[~bright].mean() + 0.1
    assert torch.equal(patches.patch(7)["plain"], plain)
    assert not torch.equal(patches.patch(8)["plain"], plain)
    other = UnlabelledPatches([volume()], (16, 16, 16), 6).patch(7)
    assert not torch.equal(other["plain"], plain)


def test_batches_of_unlabelled_patches_are_patches_in_turn() -> None:
    patches = UnlabelledPatches([volume()], (16, 16, 16), 5)
    batch = patches.batch(3, 2, rank=1, ranks=2)
    for place, number in enumerate((14, 15)):
        for key, value in patches.patch(number).items():
            assert torch.equal(batch[key][place], value)
