"""What tests of the engine share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import pytest

HERE = Path(__file__).resolve().parent
# Test modules and worker processes, which inherit the path, import the tests' operations.
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))

import block_processes  # noqa: E402  (found through the path above)
from block_processes import StartDriver, StartPython  # noqa: E402


@pytest.fixture
def start_python() -> Iterator[StartPython]:
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
        started.append(block_processes.start_python(*arguments, **environment))
        return started[-1]

    yield start
    for process in started:
        block_processes.end(process)


@pytest.fixture
def start_driver(start_python: StartPython) -> StartDriver:
    def start(**job: Any) -> subprocess.Popen[str]:
        return start_python(str(HERE / "driver.py"), json.dumps(job, default=str))

    return start


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    """An empty folder for the marks of a ``Trial``."""
    folder = tmp_path / "marks"
    folder.mkdir()
    return folder


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Put the commands on the path; the folder with script, output and process of every job."""
    pytest.importorskip("dask_jobqueue")
    folder = tmp_path / "slurm"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{HERE / 'fake_slurm'}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(folder))
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    settings = {
        "jobqueue.slurm.interface": "lo",
        "jobqueue.slurm.walltime": "00:10:00",
        "jobqueue.slurm.account": "vessels",
        "jobqueue.slurm.job-script-prologue": ["export FROM_THE_SITE=1"],
        "jobqueue.slurm.scheduler-options": {"dashboard_address": None},
        # A job that has ended is replaced after this long.
        "distributed.deploy.lost-worker-timeout": "1s",
    }
    with dask.config.set(settings):
        yield folder
    for process in block_processes.slurm_processes(folder):
        process.kill()
