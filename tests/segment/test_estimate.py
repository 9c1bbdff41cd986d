"""What is told before a segmentation, and that it is true."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vpbsd.blockwise import Part, Workers
from vpbsd.errors import ConfigError, DataError
from vpbsd.geometry import Box, VoxelSize
from vpbsd.segment import (
    Segmentation,
    SegmentOptions,
    estimate_segmentation,
    prepare_segmentation,
    require_memory,
    run_segmentation,
)
from vpbsd.volumes import ArrayVolume

SIZE = VoxelSize(2, 2, 2)
GIB = 2**30


@pytest.fixture
def image() -> np.ndarray:
    """Tissue in the first quarter of a volume, void in the rest."""
    array = np.zeros((16, 16, 128), np.uint16)
    array[:, :, :32] = np.random.default_rng(0).gamma(2.0, 50.0, (16, 16, 32)) + 1
    return array


@pytest.fixture
def prepared(
    tmp_path: Path, image: np.ndarray, small_net: type, small_model: Callable[..., Any]
) -> Callable[..., Segmentation]:
    def prepare(volume: ArrayVolume | None = None, **changes: Any) -> Segmentation:
        chosen = SegmentOptions(
            precision="fp32", device="cpu", progress=False, block_voxels=(16, 16, 16)
        )
        return prepare_segmentation(
            volume or ArrayVolume(image, SIZE),
            small_model(small_net()),
            tmp_path / "mask.ome.zarr",
            replace(chosen, **changes),
        )

    return prepare


def shown(segmentation: Segmentation) -> dict[str, str]:
    return dict(estimate_segmentation(segmentation).lines(segmentation))


def test_numbers_by_hand(tmp_path: Path, prepared: Callable[..., Segmentation]) -> None:
    segmentation = prepared()
    found = estimate_segmentation(segmentation)
    assert (found.blocks, found.todo) == (8, 8)
    # 2 blocks of 16 + 4 and 6 of 16 + 2 * 4 planes along x, of 128.
    assert found.overhead == (2 * 20 + 6 * 24) / 128
    assert found.decode_factor == found.overhead
    # Blocks 0 and 1 hold the tissue, and block 2 reads four columns of it, which a look at a few
    # places of it may miss.
    assert found.empty_share in (5 / 8, 6 / 8)
    # 0.15 bytes a voxel for the mask and its pyramid.
    assert found.disk_bytes == int(16 * 16 * 128 * 0.15) == 4915
    assert found.gpu_bytes == 0
    assert found.worker_bytes == found.total_bytes
    assert found.seconds > 0
    assert found.voxels_per_second == pytest.approx(16 * 16 * 128 / found.seconds)
    assert 0 < found.io_share < 1
    # Neither output nor work folder, and what was written to measure the disk is gone.
    assert list(tmp_path.iterdir()) == []


def test_lines_tell_numbers_with_units(prepared: Callable[..., Segmentation]) -> None:
    lines = shown(prepared(probability=True))
    assert lines["blocks"] == "8 of (16, 16, 16) voxels, read as (16, 16, 24)"
    assert lines["halo"] == "1.44 times the voxels of the volume are read"
    assert re.fullmatch(r"about (62|75) % of the blocks", lines["without tissue"])
    assert lines["computed by"] == "this process; torch fp32, the usual on such a processor"
    memory = r"up to [\d.]+ [MG]iB, [\d.]+ [MG]iB a worker \([\d.]+ [MG]iB are free\)"
    assert re.fullmatch(memory, lines["memory"])
    assert re.fullmatch(r"up to 0 MiB \([\d.]+ [MG]iB are free\)", lines["disk"])
    assert re.fullmatch(
        r"about \d+ seconds at [\d.]+ Mvoxel/s \(\d+ % of it reading and writing\)", lines["time"]
    )
    assert "GPU memory" not in lines
    assert "warning" not in lines
    assert "without tissue" not in shown(prepared(skip_empty=False))


def test_what_is_finished_is_not_counted_again(
    image: np.ndarray, prepared: Callable[..., Segmentation]
) -> None:
    run_segmentation(prepared(part=Part(2, 4)))
    again = prepared()
    found = estimate_segmentation(again)
    assert (found.blocks, found.todo) == (8, 6)
    assert dict(found.lines(again))["blocks"].endswith("(16, 16, 24), 6 of them to do")
    # A part counts only its own blocks.
    assert estimate_segmentation(prepared(part=Part(3, 4))).todo == 2
    assert estimate_segmentation(prepared(part=Part(2, 4))).todo == 0


class Planes(ArrayVolume):
    """Stored as whole planes that no cache holds."""

    chunk_voxels = (1, 16, 128)


def test_input_that_is_decoded_over_and_over_is_warned_about(
    image: np.ndarray,
    prepared: Callable[..., Segmentation],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vpbsd.segment.estimate.CACHE_BYTES", 0)
    segmentation = prepared(Planes(image, SIZE))
    # Each of 8 blocks along x decodes all planes.
    assert estimate_segmentation(segmentation).decode_factor == 8
    assert shown(segmentation)["warning"] == (
        "each part of the input is decoded 8 times, because of how it is stored; 'vpbsd convert' "
        "it to OME-Zarr once"
    )


def test_memory_of_all_processes_is_refused_with_numbers(
    prepared: Callable[..., Segmentation], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, four = prepared(), prepared(workers=Workers(processes=4, threads=1))
    worker = estimate_segmentation(one).total_bytes
    # Four workers, and the process that hands out the blocks.
    assert 4 * 0.9 * worker < estimate_segmentation(four).total_bytes < 5 * 1.1 * worker
    monkeypatch.setattr("vpbsd.segment.estimate.available_memory_bytes", lambda: 4 * GIB // 10)
    require_memory(one)
    with pytest.raises(ConfigError) as refused:
        require_memory(four)
    assert re.fullmatch(
        r"4 processes would need [\d.]+ GiB for blocks of \(16, 16, 16\) voxels, but only 0.4 GiB "
        r"of memory are free; choose fewer workers \(--workers\), smaller blocks \(--block-voxels "
        r"or --memory\), or close other programs",
        str(refused.value),
    )
    monkeypatch.setattr("vpbsd.segment.estimate.available_memory_bytes", lambda: GIB // 10)
    with pytest.raises(ConfigError, match=r"this process would need .*; choose smaller blocks"):
        require_memory(one)
    # What a cluster has is not known here.
    require_memory(prepared(workers=Workers(scheduler="tcp://192.0.2.1:8786")))


def test_a_job_on_a_cluster_asks_for_the_memory_of_its_blocks(
    prepared: Callable[..., Segmentation],
) -> None:
    small = prepared(workers=Workers(slurm_jobs=2)).job.workers
    large = prepared(workers=Workers(slurm_jobs=2), block_voxels=(16, 16, 128)).job.workers
    assert (small.slurm_jobs, large.slurm_jobs) == (2, 2)
    # 1 GiB for the program, 128 MiB for the cache, and some kilobytes for so small a block.
    assert GIB + GIB // 8 < small.memory_bytes < large.memory_bytes < 1.2 * GIB


def test_a_block_that_cannot_be_read_is_told_before_the_run(
    image: np.ndarray, prepared: Callable[..., Segmentation]
) -> None:
    class Torn(ArrayVolume):
        def _read(self, box: Box, channels: tuple[int, ...]) -> np.ndarray:
            if box.shape[2] < 128:
                raise ValueError("torn")
            return super()._read(box, channels)

    with pytest.raises(DataError, match="cannot be read: torn"):
        estimate_segmentation(prepared(Torn(image, SIZE)))


PEAK = """
import json, re, sys
from pathlib import Path
import numpy as np
from vpbsd.machine import prepare_process
prepare_process(1)
from vpbsd.geometry import VoxelSize
from vpbsd.models import load_model
from vpbsd.segment import *
from vpbsd.segment.estimate import total_bytes
from vpbsd.volumes import open_volume
def peak():
    # Not getrusage: its maximum includes that of the process which started this one.
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
volume = open_volume("image.npy", voxel_size_um=VoxelSize(2, 2, 2))
block = tuple(int(n) for n in sys.argv[1:4])
options = SegmentOptions(block_voxels=block, probability=True, skip_empty=False, progress=False)
out = Path(f"mask_{block[0]}.ome.zarr")
prepared = prepare_segmentation(volume, load_model(Path(sys.argv[4])), out, options)
before = peak()
projected = total_bytes(prepared)
run_segmentation(prepared)
print(json.dumps([before, projected, peak()]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is counted as Linux does")
def test_measured_peak_of_a_run_stays_below_the_projected(
    tmp_path: Path, student_file: Path
) -> None:
    image = np.random.default_rng(0).integers(0, 255, (96, 256, 256)).astype(np.uint8)
    np.save(tmp_path / "image.npy", image)
    for block in ((48, 64, 64), (96, 128, 256)):
        command = [sys.executable, "-c", PEAK, *map(str, block), str(student_file)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        before, projected, measured = json.loads(done.stdout)
        assert measured <= projected
        # Nor is it a number that nothing could exceed.
        assert measured > 0.4 * projected
        assert measured > before
