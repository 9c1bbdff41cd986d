"""Masks on disk: at once or block by block, and what is refused."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from vpbsd.errors import ConfigError, DataError
from vpbsd.geometry import VoxelSize
from vpbsd.metrics import calibration, score
from vpbsd.metrics.evaluate import EvaluateOptions, calibrate, evaluate

SHAPE = (8, 100, 80)
SIZE = (3.0, 1.5, 1.5)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A mask and a truth: two lines, of which one is found, and one that is not there."""
    truth, mask = np.zeros((2, *SHAPE), np.uint8)
    truth[4, 20, :] = truth[4, 70, :] = 255
    mask[4, 20, :] = mask[4, 45, :] = 1
    for name, array in (("mask", mask), ("truth", truth)):
        tifffile.imwrite(tmp_path / f"{name}.tif", array, compression="zlib")
    return tmp_path / "mask.tif", tmp_path / "truth.tif"


def test_small_volumes_are_scored_at_once(
    files: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "vpbsd"):
        scores, size = evaluate(*files, SIZE)
    assert caplog.messages == []
    assert size == VoxelSize(3, 1.5, 1.5)
    assert (scores.dice, scores.cldice, scores.betti_0_error) == (0.5, 0.5, 0)
    assert scores.note is None


def test_what_does_not_fit_is_scored_block_by_block_and_says_so(
    files: tuple[Path, Path], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vpbsd.metrics.evaluate.available_memory_bytes", lambda: 1_000_000)
    with caplog.at_level(logging.INFO, "vpbsd"):
        scores, _ = evaluate(*files, SIZE)
    assert "(8, 100, 80) voxels at once would take" in caplog.messages[0]
    assert "scoring block by block" in caplog.messages[0]
    assert (scores.dice, scores.cldice, scores.betti_0_error) == (0.5, 0.5, None)
    assert "block by block" in str(scores.note)


def test_workers_ask_for_blocks_and_progress_is_shown(
    files: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    options = EvaluateOptions(workers=1, progress=True, capillary_radius_um=1.0)
    with caplog.at_level(logging.INFO, "vpbsd"):
        scores, _ = evaluate(*files, SIZE, options)
    assert "block by block" in str(scores.note)
    assert "scoring: 100 %" in caplog.messages[-1]
    # A line one voxel wide is 1.5 µm from the background: no capillary of less than 1 µm.
    assert (scores.capillary_recall, scores.large_vessel_recall) == (None, 0.5)


def test_one_array_at_once_and_by_block(files: tuple[Path, Path]) -> None:
    mask, truth = (tifffile.imread(path) > 0 for path in files)
    at_once = score(mask, truth, VoxelSize(3, 1.5, 1.5))
    by_block, _ = evaluate(*files, SIZE, EvaluateOptions(workers=1))
    for name in ("dice", "cldice", "surface_dice_2_voxels", "euler_error", "capillary_recall"):
        assert getattr(by_block, name) == getattr(at_once, name)


def test_bad_options(files: tuple[Path, Path]) -> None:
    with pytest.raises(ConfigError, match="radius of capillaries"):
        evaluate(*files, SIZE, EvaluateOptions(capillary_radius_um=-1))
    with pytest.raises(ConfigError, match="at least 1 worker"):
        evaluate(*files, SIZE, EvaluateOptions(workers=0))
    with pytest.raises(ConfigError, match="--memory"):
        evaluate(*files, SIZE, EvaluateOptions(workers=1, memory_bytes=1000))


def test_probabilities_on_disk_are_calibrated_box_by_box(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vpbsd.metrics.evaluate._TILE_VOXELS", 30)
    rng = np.random.default_rng(0)
    probability = rng.random(SHAPE).astype(np.float32)
    np.save(tmp_path / "probability.npy", probability)
    got = calibrate(tmp_path / "probability.npy", files[1])
    whole = calibration(probability, tifffile.imread(files[1]) > 0)
    assert got.voxels.tolist() == whole.voxels.tolist()
    assert got.brier == pytest.approx(whole.brier)
    with pytest.raises(DataError, match="same resolution"):
        np.save(tmp_path / "other.npy", probability[1:])
        calibrate(tmp_path / "other.npy", files[1])
    with pytest.raises(DataError, match="2 channels"):
        np.save(tmp_path / "two.npy", np.stack([probability, probability]))
        calibrate(tmp_path / "two.npy", files[1])
    with pytest.raises(DataError, match="sigmoid"):
        np.save(tmp_path / "logits.npy", probability * 9)
        calibrate(tmp_path / "logits.npy", files[1])


_PEAK = """
import re
import sys
from pathlib import Path

import numpy as np

from vpbsd.geometry import VoxelSize
from vpbsd.metrics.by_block import BYTES_PER_VOXEL, plan_scoring, score_by_block, BlockwiseOptions
from vpbsd.volumes import open_volume

def peak():
    # Not getrusage: its maximum includes that of the process which started this one.
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

def run(mask, truth):
    with open_volume(mask) as p, open_volume(truth) as t:
        return score_by_block(p, t, VoxelSize(2, 1, 1), BlockwiseOptions()).dice

run(sys.argv[1], sys.argv[1])  # what libraries take when they are first used
before = peak()
dice = run(sys.argv[2], sys.argv[3])
shape = np.load(sys.argv[2], mmap_mode="r").shape
plan = plan_scoring(shape, BlockwiseOptions())
print(BYTES_PER_VOXEL * np.prod(plan.largest_read), peak() - before, dice)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is counted as Linux does")
def test_measured_peak_stays_below_the_projected(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).random((96, 128, 160), np.float32)
    masks = {"small": noise[:8] < 0.3, "mask": noise < 0.3, "truth": noise < 0.35}
    for name, mask in masks.items():
        np.save(tmp_path / f"{name}.npy", mask.astype(np.uint8))
    files = [str(tmp_path / f"{name}.npy") for name in masks]
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, *files],
        check=True, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    projected, measured, dice = (float(word) for word in done.stdout.split())
    assert 0.4 * projected < measured < projected
    assert dice == pytest.approx(0.6 / 0.65, abs=0.01)
