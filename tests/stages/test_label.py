"""The teacher's labels on disk: computed once, true to the teacher, replaced by real labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vpbsd.config import CodebookConfig, TeacherConfig
from vpbsd.data.collection import TrainingVolume
from vpbsd.errors import CollapseError
from vpbsd.geometry import Box, tile
from vpbsd.models import CodeUsage, Model, Teacher, load_model, save_model
from vpbsd.segment import read_padded
from vpbsd.stages.label import (
    TeacherLabels,
    TeacherRuntime,
    label_volumes,
    labelling_threshold,
)
from vpbsd.volumes import ArrayVolume, estimate_intensity

PATCH = (16, 16, 16)
SHAPE = (13, 24, 30)  # not a multiple of the stride, and thinner than a patch


class CountingRuntime(TeacherRuntime):
    """Counts the teacher's forward passes."""

    forwards = 0

    def encode(self, block: np.ndarray) -> tuple[Any, Any, Any]:
        self.forwards += 1
        return super().encode(block)


def make_teacher(folder: Path, seed: int = 0, quantiser: str = "ema") -> Model:
    torch.manual_seed(seed)
    config = TeacherConfig(widths=(8, 16, 16, 16), heads=2, attention_blocks=1, window_tokens=2)
    codebook = CodebookConfig.model_validate({"size": 8, "dimension": 4, "quantiser": quantiser})
    net = Teacher(config, codebook)
    net(torch.randn(2, 1, 16, 16, 16), "segment")
    # The median of what it says, so that both sides of the threshold occur.
    with torch.no_grad():
        threshold = net.eval()(torch.randn(1, 1, 16, 16, 16), "segment").image.sigmoid().median()
    save_model(folder / "teacher.safetensors", net, threshold=float(threshold), metadata={})
    return load_model(folder, "teacher")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return make_teacher(tmp_path_factory.mktemp("teacher"))


def volume(labelled: bool = False, seed: int = 0, name: str = "a") -> TrainingVolume:
    rng = np.random.default_rng(seed)
    image = ArrayVolume(rng.normal(size=SHAPE).astype(np.float32), source=name)
    label = None
    if labelled:
        truth = np.zeros(SHAPE, np.uint8)
        truth[4:7, :, 10:14] = 1
        label = ArrayVolume(truth, source=f"{name} label")
    return TrainingVolume(name, image, estimate_intensity(image), label)


def label(
    teacher: Model,
    volumes: Sequence[TrainingVolume],
    folder: Path,
    **changed: Any,
) -> tuple[list[TeacherLabels], int]:
    """Return the labels and how often the teacher was asked."""
    assert isinstance(teacher.net, Teacher)
    runtime = CountingRuntime(teacher.net)
    settings = {"patch": PATCH, "keep_encodings": False, **changed}
    found = label_volumes(teacher, volumes, folder, runtime=runtime, **settings)
    return found, runtime.forwards


# ------------------------------------------------------------------------------------------- cache


def test_labels_are_computed_once(teacher: Model, tmp_path: Path) -> None:
    volumes = [volume(), volume(labelled=True, seed=1)]
    first, asked = label(teacher, volumes, tmp_path)
    again, asked_again = label(teacher, volumes, tmp_path)
    assert asked == 2
    assert asked_again == 0
    box = Box.at((0, 8, 12), PATCH)
    for a, b in zip(first, again, strict=True):
        cut_a, cut_b = a.cut(box), b.cut(box)
        assert all(torch.equal(cut_a[k], cut_b[k]) for k in cut_a)


def test_labels_of_another_teacher_are_not_used(teacher: Model, tmp_path: Path) -> None:
    (first,), _ = label(teacher, [volume()], tmp_path)
    before = np.asarray(first.probability[:])
    other = make_teacher(tmp_path / "other", seed=1)
    (second,), asked = label(other, [volume()], tmp_path)
    assert asked == 1
    assert not np.array_equal(np.asarray(second.probability[:]), before)


@pytest.mark.parametrize("change", ["image", "label", "patch", "encodings"])
def test_labels_of_something_else_are_not_used(change: str, teacher: Model, tmp_path: Path) -> None:
    label(teacher, [volume(labelled=True)], tmp_path)
    other = volume(labelled=change != "label", seed=1 if change == "image" else 0)
    settings: dict[str, Any] = {
        "patch": {"patch": (24, 16, 16)},
        "encodings": {"keep_encodings": True},
    }.get(change, {})
    _, asked = label(teacher, [other], tmp_path, **settings)
    assert asked == 1


def test_encodings_that_nobody_asks_for_are_left_there(teacher: Model, tmp_path: Path) -> None:
    """One that imitates encodings and one that does not share what a teacher said."""
    label(teacher, [volume()], tmp_path, keep_encodings=True)
    (found,), asked = label(teacher, [volume()], tmp_path)
    assert asked == 0
    assert "encodings" in found.cut(Box.at((0, 0, 0), PATCH))


def test_labelling_that_was_cut_short_starts_again(teacher: Model, tmp_path: Path) -> None:
    (found,), _ = label(teacher, [volume()], tmp_path)
    before = np.asarray(found.probability[:])
    (done,) = tmp_path.glob("*/done.json")
    done.unlink()
    (found,), asked = label(teacher, [volume()], tmp_path)
    assert asked == 1
    np.testing.assert_array_equal(np.asarray(found.probability[:]), before)


# ---------------------------------------------------------------------------------------- contents


@pytest.mark.parametrize("quantiser", ["ema", "fsq"])
def test_labels_are_what_the_teacher_says(quantiser: str, tmp_path: Path) -> None:
    teacher = make_teacher(tmp_path, quantiser=quantiser)
    assert isinstance(teacher.net, Teacher)
    source = volume()
    (found,), _ = label(teacher, [source], tmp_path / "labels", keep_encodings=True)
    assert found.probability.shape == (16, 24, 32)
    assert found.codes.shape == (4, 6, 8)
    padded = read_padded(source.image, Box.whole((16, 24, 32)))
    with torch.no_grad():
        out = teacher.net(torch.from_numpy(source.scale.apply(padded))[None], "segment")
    box = Box.at((0, 8, 16), PATCH)
    cut = found.cut(box)
    assert {k: tuple(v.shape) for k, v in cut.items()} == {
        "probability": (1, 16, 16, 16),
        "codes": (4, 4, 4),
        "encodings": (4, 4, 4, 4),
    }
    expected = out.image[0, :, 0:16, 8:24, 16:32].sigmoid()
    torch.testing.assert_close(cut["probability"], expected, atol=0.5 / 255 + 1e-6, rtol=0)
    assert torch.equal(cut["codes"], out.quantised.indices[0, 0:4, 2:6, 4:8])
    encodings = out.quantised.encodings[0, :, 0:4, 2:6, 4:8]
    torch.testing.assert_close(cut["encodings"], encodings, atol=2e-3, rtol=1e-3)


def test_encodings_are_kept_only_where_asked_for(teacher: Model, tmp_path: Path) -> None:
    (found,), _ = label(teacher, [volume()], tmp_path)
    assert found.encodings is None
    assert set(found.cut(Box.at((0, 0, 0), PATCH))) == {"probability", "codes"}


def test_a_real_label_takes_the_place_of_the_teachers(teacher: Model, tmp_path: Path) -> None:
    (found,), _ = label(teacher, [volume(labelled=True)], tmp_path)
    kept = np.asarray(found.probability[:])
    expected = np.zeros((13, 24, 30), np.uint8)
    expected[4:7, :, 10:14] = 255
    np.testing.assert_array_equal(kept[:13, :, :30], expected)
    # Beyond the volume, image and label go on as its mirror image: 12, 11, 10 after 12.
    np.testing.assert_array_equal(kept[13:], kept[10:13][::-1])
    codes = np.asarray(found.codes[:])
    assert len(np.unique(codes)) > 1, "codes are the teacher's all the same"


def test_blocks_cover_volumes_larger_than_one(teacher: Model, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = ArrayVolume(rng.normal(size=(16, 72, 130)).astype(np.float32), source="large")
    source = TrainingVolume("large", image, estimate_intensity(image))
    (found,), asked = label(teacher, [source], tmp_path)
    assert asked == 2 * 3
    kept = np.asarray(found.probability[:])
    assert kept.shape == (16, 72, 136)
    for box in tile((16, 72, 136), (16, 64, 64)):
        assert kept[box.slices].mean() > 1, f"{box} was left out"


def test_codes_are_counted_when_asked(teacher: Model) -> None:
    assert isinstance(teacher.net, Teacher)
    runtime = TeacherRuntime(teacher.net)
    runtime.usage = CodeUsage(8)
    runtime.predict(np.zeros((1, 16, 16, 16), np.float32))
    assert runtime.usage.counts.sum() == 4 * 4 * 4


# ----------------------------------------------------------------------------------------- mirrors


class FirstHalf(TeacherRuntime):
    """Finds vessel in the first half of a block along x, from whichever side it looks."""

    forwards = 0

    def encode(self, block: np.ndarray) -> tuple[Any, Any, Any]:
        self.forwards += 1
        _, codes, encodings = super().encode(block)
        found = np.zeros(block.shape[1:], np.float32)
        found[..., : block.shape[-1] // 2] = 1
        return found, codes, encodings


def first_half(teacher: Model, mirrors: bool) -> FirstHalf:
    assert isinstance(teacher.net, Teacher)
    return FirstHalf(teacher.net, mirrors=mirrors)


def test_mirrored_looks_are_turned_back_and_averaged(teacher: Model) -> None:
    block = np.zeros((1, 16, 16, 16), np.float32)
    runtime = first_half(teacher, mirrors=True)
    seen = runtime.predict(block)
    # Three of the four looks agree; the one that is mirrored along x sees the other half.
    assert seen[..., :8].tolist() == np.full((16, 16, 8), 0.75).tolist()
    assert seen[..., 8:].tolist() == np.full((16, 16, 8), 0.25).tolist()
    assert runtime.forwards == 4
    assert np.array_equal(runtime.predict(block, Box((0, 0, 4), (2, 3, 12))), seen[:2, :3, 4:12])
    assert first_half(teacher, mirrors=False).predict(block)[..., 8:].max() == 0


def test_a_mirrored_volume_has_mirrored_probabilities_and_plain_codes(teacher: Model) -> None:
    assert isinstance(teacher.net, Teacher)
    runtime = TeacherRuntime(teacher.net, mirrors=True)
    block = np.random.default_rng(3).normal(size=(1, 16, 16, 16)).astype(np.float32)
    looks = [TeacherRuntime(teacher.net).encode(np.flip(block, a))[0] for a in (1, 2, 3)]
    plain = TeacherRuntime(teacher.net).encode(block)[0]
    expected = (plain + sum(np.flip(p, a) for a, p in enumerate(looks))) / 4
    assert np.allclose(runtime.predict(block), expected, atol=1e-6)


def test_labels_of_mirrored_looks_keep_plain_codes_and_real_labels(
    teacher: Model, tmp_path: Path
) -> None:
    teacher = replace(teacher, threshold=0.5)
    volumes = [volume(), volume(labelled=True, seed=1)]
    settings: dict[str, Any] = {"patch": PATCH, "keep_encodings": False}
    plain = label_volumes(
        teacher, volumes, tmp_path, runtime=first_half(teacher, False), **settings
    )
    before = [np.asarray(one.probability[:]) for one in plain]
    codes = [np.asarray(one.codes[:]) for one in plain]
    runtime = first_half(teacher, mirrors=True)
    found = label_volumes(teacher, volumes, tmp_path, runtime=runtime, **settings)
    # Labels of plain looks are not taken for those of mirrored ones; a real label needs one look.
    assert runtime.forwards == 4 + 1
    assert set(np.unique(before[0])) == {0, 255}
    assert set(np.unique(np.asarray(found[0].probability[:]))) == {64, 191}
    assert np.array_equal(np.asarray(found[1].probability[:]), before[1])
    for one, same in zip(found, codes, strict=True):
        assert np.array_equal(np.asarray(one.codes[:]), same)


def test_mirrored_looks_are_cut_at_a_threshold_of_their_own(teacher: Model, tmp_path: Path) -> None:
    half = volume(labelled=True)
    truth = np.zeros(SHAPE, np.uint8)
    truth[..., :16] = 1  # the block is padded to 32 voxels along x
    half = TrainingVolume("v", half.image, half.scale, ArrayVolume(truth, source="truth"))
    once = labelling_threshold(teacher, [half], tmp_path, runtime=first_half(teacher, False))
    assert once == teacher.threshold
    assert not (tmp_path / "threshold.json").exists()
    runtime = first_half(teacher, mirrors=True)
    # Vessel has 0.75 there and the rest 0.25, which is not above 0.25.
    found = labelling_threshold(teacher, [half], tmp_path, runtime=runtime)
    assert 0.25 < found <= 0.75
    asked = runtime.forwards
    assert labelling_threshold(teacher, [half], tmp_path, runtime=runtime) == found
    assert runtime.forwards == asked
    other = volume(labelled=True, seed=5)
    labelling_threshold(teacher, [other], tmp_path, runtime=runtime)
    assert runtime.forwards > asked


# ---------------------------------------------------------------------------------------- collapse


class Constant(TeacherRuntime):
    """Says the same everywhere."""

    value = 0.0

    def encode(self, block: np.ndarray) -> tuple[Any, Any, Any]:
        _, codes, encodings = super().encode(block)
        return np.full(block.shape[1:], self.value, np.float32), codes, encodings


@pytest.mark.parametrize(
    ("value", "advice"),
    [(0.0, r"finds no vessel in any unlabelled.*finetune\.steps"), (1.0, "over 90 % of every")],
)
def test_degenerate_pseudo_labels_stop_with_advice(
    value: float, advice: str, teacher: Model, tmp_path: Path
) -> None:
    assert isinstance(teacher.net, Teacher)
    runtime = Constant(teacher.net)
    runtime.value = value
    settings: Any = {"runtime": runtime, "patch": PATCH, "keep_encodings": False}
    with pytest.raises(CollapseError, match=advice):
        label_volumes(teacher, [volume()], tmp_path, **settings)
    # It is remembered: a second attempt must not go on with what was refused.
    with pytest.raises(CollapseError, match=advice):
        label_volumes(teacher, [volume()], tmp_path, **settings)
    # Where every volume is labelled, the teacher's probability is not used.
    label_volumes(teacher, [volume(labelled=True)], tmp_path / "labelled", **settings)
