"""What is measured, and the instruments: volumes of links, peaks of processes, windows."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from vpbsd.geometry import Box
from vpbsd.volumes import open_volume


@pytest.fixture
def arguments(tmp_path: Path) -> argparse.Namespace:
    return argparse.Namespace(quick=True, seed=0, threads=1, work=tmp_path)


def test_volume_is_copies_of_one_specimen_in_one_file(
    subjects: ModuleType, arguments: argparse.Namespace
) -> None:
    path = subjects.volume(arguments, (1, 2, 2))
    with open_volume(path) as volume:
        assert volume.shape == (1, 64, 128, 128)
        assert volume.dtype == np.uint16
        assert volume.require_voxel_size().zyx_um == (2.0, 2.0, 2.0)
        copies = [volume.read(Box.at((0, y, x), 64))[0] for y in (0, 64) for x in (0, 64)]
    assert all(np.array_equal(copy, copies[0]) for copy in copies[1:])
    assert copies[0].std() > 0
    shards = [p for p in (path / "0" / "c").rglob("*") if p.is_file()]
    assert len(shards) == 4
    assert len({shard.stat().st_ino for shard in shards}) == 1
    assert subjects.volume(arguments, (1, 2, 2)) == path


def test_cube_in_memory_is_mirrored_beyond_the_specimen(
    subjects: ModuleType, arguments: argparse.Namespace
) -> None:
    cube = subjects.memory_array(arguments, 96)
    assert cube.shape == (96, 96, 96)
    assert np.array_equal(cube[64:], cube[32:64][::-1])
    assert subjects.memory_array(arguments, 32).shape == (32, 32, 32)


def test_sliding_window_counts_as_monai_does(rivals: ModuleType) -> None:
    assert rivals.windows(256, 128) == 27
    assert rivals.windows(256, 96) == 125
    assert rivals.windows(64, 128) == 1


CHILD = """
import subprocess, sys
block = bytearray(200 * 2**20)
grandchild = "block = bytearray(100 * 2**20); import time; time.sleep(0.5)"
subprocess.run([sys.executable, "-c", grandchild], check=True)
print("done")
"""


def test_peak_memory_is_of_each_process_and_all_of_them(processes: ModuleType) -> None:
    watched = processes.watch([sys.executable, "-c", CHILD], interval_s=0.02)
    assert watched.output == "done\n"
    assert len(watched.peaks_bytes) == 2
    own, other = (peak / 2**20 for peak in watched.peaks_bytes)
    assert 200 < own < 250
    assert 100 < other < 150
    assert watched.peak_bytes == sum(watched.peaks_bytes)
    assert watched.seconds > 0.5


def test_failed_command_raises_with_its_error(processes: ModuleType) -> None:
    with pytest.raises(RuntimeError, match=r"ended with 1: (?s:.*)no such luck"):
        processes.watch([sys.executable, "-c", "raise SystemExit('no such luck')"])


def test_high_water_mark_stays_when_memory_is_freed(processes: ModuleType) -> None:
    before = processes.high_water_bytes()
    assert before > 2**20
    block = np.ones(400 * 2**20, np.uint8)
    del block
    assert processes.high_water_bytes() >= max(before, 400 * 2**20)
    assert processes.high_water_bytes(2**22 + 1) == 0  # larger than any process number
