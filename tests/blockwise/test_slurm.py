"""SLURM as dask-jobqueue sees it: commands on the path, which here start jobs on this machine."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from pathlib import Path

import dask
import pytest
from block_operations import Trial, line_of_blocks
from block_processes import slurm_processes, wait_until

from vpbsd.blockwise import Workers, run_blocks
from vpbsd.errors import ConfigError, MissingExtraError


@pytest.mark.slow
def test_jobs_are_started_replaced_when_they_end_and_cancelled(slurm: Path, marks: Path) -> None:
    # The last blocks wait, so that however long a job takes to start, it finds some.
    trial = Trial(marks, seconds=0.02, waiting=tuple(range(20, 60)))

    def end_one_job() -> None:
        wait_until(lambda: len(trial.processes()) == 2, "both jobs compute")
        os.killpg(int((slurm / "1" / "pid").read_text()), signal.SIGKILL)
        wait_until(lambda: len(trial.processes()) == 3, "another job computes")
        (marks / "go").touch()

    other = threading.Thread(target=end_one_job)
    other.start()
    run = run_blocks(
        line_of_blocks(60), trial, workers=Workers(slurm_jobs=2, threads=3, memory_bytes=5 * 2**30)
    )
    other.join()
    assert (run.done, run.count) == (60, 17700)  # 10 * (0 + ... + 59)
    assert sum(trial.tried().values()) <= 62

    script = (slurm / "1" / "script").read_text()
    assert re.search(r"^#SBATCH -A vessels$", script, re.MULTILINE)
    assert re.search(r"^#SBATCH -t 00:10:00$", script, re.MULTILINE)
    assert re.search(r"^#SBATCH --cpus-per-task=3$", script, re.MULTILINE)
    assert re.search(r"^#SBATCH --mem=5G$", script, re.MULTILINE)
    for line in ("FROM_THE_SITE=1", "OMP_NUM_THREADS=3", "OMP_WAIT_POLICY=PASSIVE"):
        assert f"export {line}\n" in script
    assert "--nthreads 2" in script
    assert "--memory-limit 0" in script

    assert (slurm / "2" / "cancelled").exists()
    assert (slurm / "3" / "cancelled").exists()
    wait_until(lambda: not slurm_processes(slurm), "all jobs have ended", 10.0)


def test_jobs_that_slurm_would_not_take_are_refused_at_once(slurm: Path, marks: Path) -> None:
    workers = Workers(slurm_jobs=1)
    with (
        dask.config.set({"jobqueue.slurm.account": "nobody"}),
        pytest.raises(ConfigError) as caught,
    ):
        run_blocks(line_of_blocks(1), Trial(marks), workers=workers)
    assert str(caught.value) == (
        "SLURM would not take the jobs: sbatch: error: Invalid account or account/partition "
        "combination specified; set account, partition, memory and walltime under jobqueue: "
        "slurm: in ~/.config/dask/jobqueue.yaml"
    )
    assert list(slurm.iterdir()) == []


def test_a_machine_without_slurm_is_refused(
    slurm: Path, marks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(marks))
    with pytest.raises(ConfigError, match="sbatch, which is not on the path here; run this on a"):
        run_blocks(line_of_blocks(1), Trial(marks), workers=Workers(slurm_jobs=1))


def test_without_dask_jobqueue_the_way_to_get_it_is_told(
    marks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("dask_jobqueue", "dask_jobqueue.slurm"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'vpbsd\[cluster\]'$"):
        run_blocks(line_of_blocks(1), Trial(marks), workers=Workers(slurm_jobs=1))
    assert Trial(marks).tried() == {}
