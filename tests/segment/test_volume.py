from __future__ import annotations

import gc
import json
import logging
import tracemalloc
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from vpbsd.blockwise import Part, Workers
from vpbsd.errors import (
    BlocksFailedError,
    ConfigError,
    DataError,
    IntensityError,
    OutputError,
    VolumeFormatError,
    VoxelSizeUnknownError,
)
from vpbsd.geometry import Box, VoxelSize
from vpbsd.segment import (
    RuntimeSpec,
    SegmentOptions,
    SelectedChannels,
    TorchRuntime,
    plan_volume,
    predict_volume,
    prepare_segmentation,
    probability,
    probability_path,
    projected_bytes,
    segment_volume,
)
from vpbsd.volumes import (
    ArrayVolume,
    IntensityScale,
    OmeZarrWriter,
    Volume,
    exists,
    open_volume,
    read_attributes,
)

SIZE = VoxelSize(3.0, 1.5, 1.5)
QUIET = SegmentOptions(precision="fp32", device="cpu", progress=False)


def options(**changes: Any) -> SegmentOptions:
    return SegmentOptions(precision="fp32", device="cpu", progress=False, **changes)


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(3).gamma(2.0, 50.0, (21, 30, 17)).astype(np.uint16)


@pytest.fixture
def volume(image: np.ndarray) -> ArrayVolume:
    return ArrayVolume(image, SIZE)


def test_mask_and_probability_on_disk(
    tmp_path: Path, volume: ArrayVolume, small_net: type, small_model: Callable[..., Any]
) -> None:
    model = small_model(small_net(), threshold=0.55)
    out = tmp_path / "brain.ome.zarr"
    report = segment_volume(
        volume,
        model,
        out,
        options(probability=True, block_voxels=(8, 16, 8), command="vpbsd segment x"),
    )
    expected = predict_volume(volume, TorchRuntime(model.net))
    mask = zarr.open_array(out / "0", mode="r")[:]
    levels = zarr.open_array(tmp_path / "brain_probability.ome.zarr" / "0", mode="r")[:]
    np.testing.assert_array_equal(mask, expected >= 0.55)
    assert mask.dtype == levels.dtype == np.uint8
    # Rounding to 255 steps is off by half a step at most.
    assert np.abs(levels / 255 - expected).max() <= 0.5 / 255 + 1e-6
    assert 0.05 < report.foreground_share < 0.95
    assert report.foreground_share == mask.mean()
    # 3 x 2 x 3 blocks cover 21 x 30 x 17 voxels.
    assert (report.blocks, report.shape_zyx, report.threshold) == (18, (21, 30, 17), 0.55)
    assert report.warning is None
    assert json.loads(json.dumps(report.to_dict()))["mask"] == str(out)
    with open_volume(out) as written:
        assert written.require_voxel_size() == SIZE


def test_provenance_says_how_the_mask_came_about(
    tmp_path: Path, volume: ArrayVolume, small_net: type, small_model: Callable[..., Any]
) -> None:
    out = tmp_path / "mask.ome.zarr"
    segment_volume(
        volume, small_model(small_net()), out, options(command="vpbsd segment brain.tif")
    )
    about = read_attributes(out)
    assert about["kind"] == "mask"
    assert about["model"] == {"kind": "student", "fingerprint": "weights-1"}
    assert about["input"]["fingerprint"] == volume.fingerprint()
    assert about["threshold"] == 0.5
    assert about["precision"] == "fp32"
    assert about["voxel_size_um"] == [3.0, 1.5, 1.5]
    assert about["blocks"]["halo"] == [4, 4, 4]
    assert about["provenance"]["command"] == "vpbsd segment brain.tif"
    assert about["provenance"]["machine"]["cores"] >= 1
    scale = IntensityScale.from_dict(about["intensity"])
    assert scale.centre[0] == pytest.approx(84, abs=10)  # median of a gamma(2) is 1.68 * 50


def test_threshold_is_inclusive_and_can_be_given(
    tmp_path: Path, volume: ArrayVolume, constant_net: type, small_model: Callable[..., Any]
) -> None:
    half = small_model(constant_net(0.0), threshold=0.5)  # sigmoid(0) = 0.5 exactly
    model_own = options(skip_empty=False)
    assert segment_volume(volume, half, tmp_path / "a.zarr", model_own).foreground_share == 1
    higher = options(skip_empty=False, threshold=0.51)
    assert segment_volume(volume, half, tmp_path / "b.zarr", higher).foreground_share == 0


@pytest.mark.parametrize(
    ("logit", "said"), [(-5.0, "no vessel at all"), (5.0, "nothing but vessel")]
)
def test_a_mask_of_one_value_is_warned_about(
    tmp_path: Path,
    volume: ArrayVolume,
    constant_net: type,
    small_model: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
    logit: float,
    said: str,
) -> None:
    with caplog.at_level(logging.WARNING):
        report = segment_volume(
            volume,
            small_model(constant_net(logit)),
            tmp_path / "m.zarr",
            options(skip_empty=False),
        )
    assert report.warning is not None
    assert said in report.warning
    assert said in caplog.text
    assert (tmp_path / "m.zarr").is_dir()


def test_dark_vessels(
    tmp_path: Path, image: np.ndarray, small_net: type, small_model: Callable[..., Any]
) -> None:
    model = small_model(small_net())
    bright, dark = tmp_path / "bright.zarr", tmp_path / "dark.zarr"
    flipped = (1000 - image.astype(np.int32)).astype(np.float32)
    segment_volume(ArrayVolume(image.astype(np.float32), SIZE), model, bright, QUIET)
    segment_volume(ArrayVolume(flipped, SIZE), model, dark, options(invert=True))
    masks = [zarr.open_array(p / "0", mode="r")[:] for p in (bright, dark)]
    assert (masks[0] != masks[1]).mean() < 0.001
    assert read_attributes(dark)["intensity"]["invert"] is True


def test_channels_are_chosen_by_number(
    tmp_path: Path, image: np.ndarray, small_net: type, small_model: Callable[..., Any]
) -> None:
    model = small_model(small_net())
    # The unused channel is constant: it must not even be looked at.
    pair = ArrayVolume(np.stack([np.zeros_like(image), image]), SIZE)
    with pytest.raises(DataError, match=r"comes with 2 channel\(s\).*trained on 1; .*--channels"):
        segment_volume(pair, model, tmp_path / "no.zarr", QUIET)
    segment_volume(pair, model, tmp_path / "one.zarr", options(channels=(1,)))
    segment_volume(ArrayVolume(image, SIZE), model, tmp_path / "alone.zarr", QUIET)
    masks = [zarr.open_array(tmp_path / n / "0", mode="r")[:] for n in ("one.zarr", "alone.zarr")]
    np.testing.assert_array_equal(*masks)
    with pytest.raises(DataError, match=r"channels \[2\] were chosen"):
        segment_volume(pair, model, tmp_path / "no.zarr", options(channels=(2,)))
    swapped = SelectedChannels(pair, (1, 0))
    np.testing.assert_array_equal(swapped.read(Box.whole(image.shape))[0], image)


def test_existing_outputs_are_refused_and_kept(
    tmp_path: Path, volume: ArrayVolume, small_net: type, small_model: Callable[..., Any]
) -> None:
    model, out = small_model(small_net()), tmp_path / "m.ome.zarr"
    segment_volume(volume, model, out, QUIET)
    with pytest.raises(OutputError, match="exists already; pass --overwrite"):
        segment_volume(volume, model, out, QUIET)
    # The mask is new, but its probability would replace another run's.
    segment_volume(volume, model, tmp_path / "n_probability.ome.zarr", QUIET)
    with pytest.raises(OutputError, match=r"n_probability.ome.zarr' exists"):
        segment_volume(volume, model, tmp_path / "n.ome.zarr", options(probability=True))
    segment_volume(volume, model, out, options(overwrite=True, threshold=0.9))
    assert read_attributes(out)["threshold"] == 0.9
    with pytest.raises(OutputError, match="is the input itself"):
        segment_volume(out, model, out, options(overwrite=True))


def test_what_cannot_work_is_refused_before_anything_is_written(
    tmp_path: Path,
    volume: ArrayVolume,
    small_net: type,
    small_model: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, out = small_model(small_net()), tmp_path / "m.zarr"
    with pytest.raises(VoxelSizeUnknownError, match="--voxel-size"):
        segment_volume(ArrayVolume(np.ones((4, 4, 4), np.uint8)), model, out, QUIET)
    with pytest.raises(VolumeFormatError):
        segment_volume(tmp_path / "missing.tif", model, out, QUIET)
    with pytest.raises(OutputError, match="must end in"):
        segment_volume(volume, model, tmp_path / "mask.tif", QUIET)
    with pytest.raises(ConfigError, match="threshold is a probability"):
        options(threshold=1.5)
    with pytest.raises(ConfigError, match="multiple of the net's stride"):
        segment_volume(volume, model, out, options(block_voxels=(7, 8, 8)))
    with pytest.raises(ConfigError, match="memory_bytes must be positive"):
        options(memory_bytes=0)
    monkeypatch.setattr("vpbsd.segment.planning.available_memory_bytes", lambda: 1000)
    with pytest.raises(ConfigError, match="GiB of memory are free; choose smaller blocks"):
        segment_volume(volume, model, out, QUIET)
    monkeypatch.setattr("vpbsd.segment.prepare.free_bytes", lambda _: 1000)
    with pytest.raises(OutputError, match="GB are free; make room"):
        segment_volume(volume, model, out, QUIET)
    assert list(tmp_path.iterdir()) == []


class Spoilt(ArrayVolume):
    """Does something else where a box that is read for a block touches the last plane."""

    spoil: Callable[[np.ndarray], np.ndarray] | None = None

    def _read(self, box: Box, channels: tuple[int, ...]) -> np.ndarray:
        block = super()._read(box, channels)
        # The intensity estimate reads a volume of this size whole, and is to succeed.
        at_end = box.stop[0] == self.shape_zyx[0] and box.start != (0, 0, 0)
        return self.spoil(block) if self.spoil is not None and at_end else block


def _nan(block: np.ndarray) -> np.ndarray:
    block = block.copy()
    block[0, -1, 0, 0] = np.nan
    return block


def _interrupt(_: np.ndarray) -> np.ndarray:
    raise KeyboardInterrupt


def _unreadable(_: np.ndarray) -> np.ndarray:
    raise RuntimeError("the disk is on fire")


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (
            _nan,
            IntensityError,
            r"2 of 6 blocks failed: 4 \(z\[16:21\].* are NaN or infinite.*tries only these again",
        ),
        (_interrupt, KeyboardInterrupt, None),
        (_unreadable, VolumeFormatError, "'array' cannot be read: the disk is on fire"),
    ],
)
def test_a_broken_run_shows_nothing_and_goes_on_once_it_is_mended(
    tmp_path: Path,
    image: np.ndarray,
    small_net: type,
    small_model: Callable[..., Any],
    spoil: Callable[[np.ndarray], np.ndarray],
    error: type[BaseException],
    message: str | None,
) -> None:
    model, out = small_model(small_net()), tmp_path / "m.zarr"
    settings = options(block_voxels=(8, 16, 32), probability=True)
    volume = Spoilt(image.astype(np.float32), SIZE)
    volume.spoil = spoil
    with pytest.raises(error, match=message):
        segment_volume(volume, model, out, settings)
    assert [p.name for p in tmp_path.iterdir()] == ["m.zarr.work"]
    volume.spoil = None
    report = segment_volume(volume, model, out, settings)
    # Four of the six blocks do not touch the last plane.
    assert (report.blocks, report.resumed_blocks) == (2, 4)
    expected = predict_volume(volume, TorchRuntime(model.net)) >= 0.5
    np.testing.assert_array_equal(zarr.open_array(out / "0", mode="r")[:], expected)
    assert report.foreground_share == expected.mean()
    assert not (tmp_path / "m.zarr.work").exists()


def test_a_broken_run_into_an_object_store_goes_on(
    tmp_path: Path,
    image: np.ndarray,
    small_net: type,
    small_model: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    out = f"memory://{uuid.uuid4().hex}/m.ome.zarr"
    model, settings = small_model(small_net()), options(block_voxels=(8, 16, 32), probability=True)
    volume = Spoilt(image.astype(np.float32), SIZE)
    volume.spoil = _nan
    with pytest.raises(IntensityError, match="2 of 6 blocks failed"):
        segment_volume(volume, model, out, settings)
    # The output grows under its own name there, which is no reason to refuse going on.
    assert exists(out)
    volume.spoil = None
    report = segment_volume(volume, model, out, settings)
    assert (report.blocks, report.resumed_blocks) == (2, 4)
    expected = predict_volume(volume, TorchRuntime(model.net)) >= 0.5
    with open_volume(out) as written:
        np.testing.assert_array_equal(written.read(Box.whole(image.shape))[0], expected)
    assert open_volume(out.replace("m.ome", "m_probability.ome")).shape_zyx == image.shape
    with pytest.raises(OutputError, match="exists already"):
        segment_volume(volume, model, out, settings)


def test_a_run_that_dies_between_its_two_outputs_goes_on(
    tmp_path: Path,
    volume: ArrayVolume,
    small_net: type,
    small_model: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, out, settings = small_model(small_net()), tmp_path / "m.zarr", options(probability=True)
    beside = tmp_path / "m_probability.ome.zarr"
    finish = OmeZarrWriter.finish

    def die_at_the_mask(writer: OmeZarrWriter) -> Any:
        if writer.path == out:
            raise KeyboardInterrupt
        return finish(writer)

    with monkeypatch.context() as dying:
        dying.setattr(OmeZarrWriter, "finish", die_at_the_mask)
        with pytest.raises(KeyboardInterrupt):
            segment_volume(volume, model, out, settings)
    assert (out.exists(), beside.exists()) == (False, True)
    report = segment_volume(volume, model, out, settings)
    assert (report.blocks, report.resumed_blocks) == (0, 1)
    expected = predict_volume(volume, TorchRuntime(model.net))
    np.testing.assert_array_equal(zarr.open_array(out / "0", mode="r")[:], expected >= 0.5)
    levels = zarr.open_array(beside / "0", mode="r")[:]
    assert np.abs(levels / 255 - expected).max() <= 0.5 / 255 + 1e-6
    # Only then does either stand in the way of another run.
    with pytest.raises(OutputError, match="exists already"):
        segment_volume(volume, model, out, settings)


def test_failures_that_are_not_the_datas_keep_their_kind(
    tmp_path: Path,
    volume: ArrayVolume,
    small_net: type,
    small_model: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("out of memory")

    model, out = small_model(small_net()), tmp_path / "m.zarr"
    with monkeypatch.context() as broken:
        broken.setattr("vpbsd.segment.operation.SegmentBlock.compute", fail)
        with pytest.raises(BlocksFailedError, match="RuntimeError: out of memory"):
            segment_volume(volume, model, out, QUIET)
    assert segment_volume(volume, model, out, QUIET).blocks == 1


def test_an_unfinished_run_of_other_settings_is_neither_mixed_up_nor_lost(
    tmp_path: Path, image: np.ndarray, small_net: type, small_model: Callable[..., Any]
) -> None:
    volume, out = Spoilt(image.astype(np.float32), SIZE), tmp_path / "m.zarr"
    volume.spoil = _nan
    model, cut = small_model(small_net()), {"block_voxels": (8, 16, 32)}
    with pytest.raises(IntensityError):
        segment_volume(volume, model, out, options(**cut))
    volume.spoil = None
    other = small_model(small_net(), fingerprint="weights-2")
    for changed, settings, said in (
        (model, options(**cut, threshold=0.25), "threshold was 0.5 and is 0.25"),
        (other, options(**cut), 'model was "weights-1" and is "weights-2"'),
        (
            model,
            options(block_voxels=(8, 8, 32)),
            r"block was \[8, 16, 32\] and is \[8, 8, 32\]",
        ),
        (model, options(**cut, skip_empty=False), "skip empty was true and is false"),
        (model, options(**cut, invert=True), "intensity was .*false.* and is .*true"),
    ):
        refused = pytest.raises(OutputError, match=f"{said}.*start anew with --overwrite")
        with refused:
            segment_volume(volume, changed, out, settings)
        # Nor is it estimated what that would take.
        with refused:
            prepare_segmentation(volume, changed, out, settings)
    # What was chosen for the user then is chosen again, though another block would be now.
    report = segment_volume(volume, model, out, options())
    assert (report.blocks, report.resumed_blocks) == (2, 4)


def test_overwrite_starts_an_unfinished_run_of_other_settings_anew(
    tmp_path: Path, image: np.ndarray, small_net: type, small_model: Callable[..., Any]
) -> None:
    volume, out = Spoilt(image.astype(np.float32), SIZE), tmp_path / "m.zarr"
    volume.spoil = _nan
    cut = {"block_voxels": (8, 16, 32)}
    with pytest.raises(IntensityError):
        segment_volume(volume, small_model(small_net()), out, options(**cut))
    volume.spoil = None
    model = small_model(small_net(seed=1), fingerprint="weights-2")
    report = segment_volume(volume, model, out, options(overwrite=True))
    # Not the block that the other model's run had: that of an undisturbed run.
    assert (report.blocks, report.resumed_blocks) == (1, 0)
    expected = predict_volume(volume, TorchRuntime(model.net)) >= 0.5
    np.testing.assert_array_equal(zarr.open_array(out / "0", mode="r")[:], expected)


def test_parts_leave_the_mask_to_the_last_of_them(
    tmp_path: Path, volume: ArrayVolume, small_net: type, small_model: Callable[..., Any]
) -> None:
    model, out, cut = small_model(small_net()), tmp_path / "m.zarr", {"block_voxels": (8, 16, 32)}
    last = segment_volume(volume, model, out, options(**cut, part=Part(3, 3)))
    assert (last.blocks, last.missing_blocks, last.warning) == (2, 4, None)
    first = segment_volume(volume, model, out, options(**cut, part=Part(1, 3)))
    assert (first.blocks, first.missing_blocks) == (2, 2)
    assert not out.exists()
    middle = segment_volume(volume, model, out, options(**cut, part=Part(2, 3)))
    assert (middle.blocks, middle.missing_blocks) == (2, 0)
    expected = predict_volume(volume, TorchRuntime(model.net)) >= 0.5
    np.testing.assert_array_equal(zarr.open_array(out / "0", mode="r")[:], expected)
    assert middle.foreground_share == expected.mean()
    # A job of the array that comes late finds its work done, and the ledger gone.
    late = segment_volume(volume, model, out, options(**cut, part=Part(1, 3)))
    assert (late.blocks, late.missing_blocks) == (0, 0)
    assert (late.foreground_share, late.warning) == (None, None)
    with pytest.raises(OutputError, match="exists already"):
        segment_volume(volume, model, out, options(**cut, threshold=0.3, part=Part(1, 3)))


@pytest.mark.parametrize(
    ("mask", "beside"),
    [("a.ome.zarr", "a_probability.ome.zarr"), ("d/b.c.zarr", "d/b.c_probability.ome.zarr")],
)
def test_name_of_the_probability(mask: str, beside: str) -> None:
    assert probability_path(Path(mask)) == Path(beside)


class Ramp(Volume):
    """A volume of any size that is computed when it is read."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__("ramp", (1, *shape), np.uint8, SIZE)

    def _read(self, box: Box, channels: tuple[int, ...]) -> np.ndarray:
        z, y, x = (np.arange(a, b) for a, b in zip(box.start, box.stop, strict=True))
        return ((z[:, None, None] * 7 + y[:, None] * 5 + x * 3) % 251).astype(np.uint8)[None]


class Halves:
    """A runtime without torch, whose memory tracemalloc sees."""

    name, precision = "halves", "fp32"
    stride = (8, 8, 8)
    halo_voxels = (8, 8, 8)
    channels = 1
    bytes_per_voxel = 16.0

    def logits(self, block: np.ndarray, crop: Box | None = None) -> np.ndarray:
        whole = block[0] - np.float32(5)
        return whole if crop is None else whole[crop.slices]

    def predict(self, block: np.ndarray, crop: Box | None = None) -> np.ndarray:
        return (self.logits(block, crop) > 0).astype(np.float32)


def test_memory_is_that_of_a_block_whatever_the_volume(
    tmp_path: Path,
    small_net: type,
    small_model: Callable[..., Any],
    unit_scale: IntensityScale,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The estimate has a bound of its own (4 million voxels) that would drown a block of this size.
    monkeypatch.setattr("vpbsd.segment.prepare.estimate_intensity", lambda *_, **__: unit_scale)
    picked = (RuntimeSpec(), Halves(), "it is all there is")
    monkeypatch.setattr("vpbsd.segment.prepare.pick_runtime", lambda *_: picked)
    monkeypatch.setattr("vpbsd.segment.operation.make_runtime", lambda *_: Halves())
    peaks = []
    model = small_model(small_net())
    for depth in (16, 512, 1024):
        gc.collect()
        tracemalloc.start()
        segment_volume(
            Ramp((depth, 128, 128)),
            model,
            tmp_path / f"{depth}.zarr",
            # With two lanes, how far reading and writing overlap is chance.
            options(block_voxels=(64, 64, 64), workers=Workers(lanes=1)),
        )
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # The first run pays for what libraries load. The last volume is twice the second: its mask
    # alone grows from 8 to 17 MB, its probabilities from 33 to 67 MB.
    assert peaks[2] < peaks[1] + 1_000_000


def test_projected_memory_covers_the_measured_peak(unit_scale: IntensityScale) -> None:
    volume = Ramp((192, 192, 192))
    plan = plan_volume(volume, Halves(), block_voxels=64)
    # The middle block: of 80^3 voxels, 16 bytes each are computed with and 1 byte is stored, once
    # more for the next block, which is read meanwhile; of 64^3 voxels, 14 bytes are written.
    projected = projected_bytes(plan, volume, Halves())
    assert projected == 80**3 * 18 + 64**3 * 14 == 12_886_016
    gc.collect()
    tracemalloc.start()
    probability(volume, unit_scale, Halves(), plan[13])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 80**3 * 5 < peak <= projected
