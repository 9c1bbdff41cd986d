"""A vessel graph computed by the workers of a cluster: the files that one process writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from block_processes import HERE, StartPython

from vpbsd import cli


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """A graph of a lattice of vessels, in eight blocks, with regions."""
    mask = np.zeros((40, 48, 56), np.uint8)
    for at in (8, 22, 34):
        mask[at : at + 3, at : at + 4, :] = 1
        mask[at : at + 4, :, at : at + 3] = 1
        mask[:, at : at + 3, at : at + 2] = 1
    np.save(tmp_path / "mask.npy", mask)
    np.save(tmp_path / "regions.npy", np.arange(40 * 48 * 56).reshape(mask.shape) // 20000 + 1)
    words = ["graph", str(tmp_path / "mask.npy"), "--voxel-size", "1", "1", "1", "--quiet"]
    words += ["--block-voxels", "20", "24", "28", "--regions", str(tmp_path / "regions.npy")]
    return [*words, "--region-voxel-size", "1", "1", "1", "-o"]


def files(folder: Path) -> dict[str, bytes]:
    """Return what a graph's folder holds, but for the record of how it was made."""
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "summary.json"}


def same_as_alone(words: list[str], folder: Path, *where: str) -> None:
    assert cli.main([*words, str(folder / "alone")]) == 0
    assert cli.main([*words, str(folder / "there"), *where]) == 0
    alone = files(folder / "alone")
    assert {"nodes.parquet", "edges.parquet", "regions.csv"} <= set(alone)
    assert files(folder / "there") == alone


@pytest.mark.slow
def test_on_a_running_scheduler(
    words: list[str], tmp_path: Path, start_python: StartPython
) -> None:
    cluster = start_python(str(HERE / "cluster.py"), "2")
    assert cluster.stdout is not None
    address = cluster.stdout.readline().strip()
    same_as_alone(words, tmp_path, "--scheduler", address)
    assert cluster.poll() is None


@pytest.mark.slow
def test_in_slurm_jobs(words: list[str], tmp_path: Path, slurm: Path) -> None:
    same_as_alone(words, tmp_path, "--slurm", "2")
    assert "#SBATCH" in (slurm / "1" / "script").read_text()
