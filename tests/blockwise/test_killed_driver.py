"""The process that hands out the blocks dies or is told to stop; its workers must not stay."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from block_operations import Trial
from block_processes import StartDriver, alive, family, result, wait_until

from vpbsd.blockwise import Ledger

BLOCKS = 200


class _Started:
    """A driver with two worker processes on 200 blocks, some of which are finished."""

    def __init__(self, folder: Path, start_driver: StartDriver) -> None:
        (folder / "marks").mkdir()
        self.folder = folder
        self.trial = Trial(folder / "marks")
        self.ledger = Ledger(folder / "ledger")
        self.process = start_driver(
            kind="blocks", folder=folder, blocks=BLOCKS, processes=2, seconds=0.1
        )
        wait_until(lambda: self.finished() >= 4, "four blocks are finished")
        self.workers = family(self.process.pid)
        assert {p.pid for p in self.workers} >= self.trial.processes()

    def finished(self) -> int:
        return int((self.ledger.counts(BLOCKS) >= 0).sum())

    def goes_on(self, start_driver: StartDriver) -> None:
        """Check that nothing runs any more, and that a run only does what is missing."""
        wait_until(lambda: not alive(self.workers), "all workers are gone", 10.0)
        finished = self.finished()
        assert 4 <= finished < BLOCKS
        before = self.trial.tried()
        again = start_driver(kind="blocks", folder=self.folder, blocks=BLOCKS)
        assert result(again) == (0, f"done {BLOCKS - finished} skipped {finished} count 199000")
        new = {i: n - before.get(i, 0) for i, n in self.trial.tried().items()}
        assert sum(new.values()) == BLOCKS - finished
        assert set(new.values()) == {0, 1}


def test_kill_9_of_the_driver_ends_its_workers(tmp_path: Path, start_driver: StartDriver) -> None:
    driver = _Started(tmp_path, start_driver)
    driver.process.kill()
    driver.process.wait()
    driver.goes_on(start_driver)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "everyone"),
    [
        (signal.SIGTERM, False),  # kill PID
        (signal.SIGTERM, True),  # as batch systems do at the end of a job's time
        (signal.SIGINT, True),  # Ctrl-C in a terminal
    ],
)
def test_a_driver_that_is_told_to_stop_ends_its_workers(
    tmp_path: Path, start_driver: StartDriver, number: signal.Signals, everyone: bool
) -> None:
    driver = _Started(tmp_path, start_driver)
    if everyone:
        os.killpg(driver.process.pid, number)
    else:
        driver.process.send_signal(number)
    last, err = driver.process.communicate(timeout=30)
    assert driver.process.returncode == 130, err
    assert last.startswith("Stopped: stopped with ")
    assert last.endswith(" of 200 blocks finished; the same command goes on from there\n")
    if number == signal.SIGINT:
        assert err == "", "the workers have nothing to say to whom pressed Ctrl-C"
    told = int(last.split()[3])
    assert 0 < told <= driver.finished()  # some may be finished but not yet told
    driver.goes_on(start_driver)


def test_kill_9_of_everything(tmp_path: Path, start_driver: StartDriver) -> None:
    driver = _Started(tmp_path, start_driver)
    os.killpg(driver.process.pid, signal.SIGKILL)
    driver.process.wait()
    driver.goes_on(start_driver)
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    blocks = {json.loads(line)["block"] for line in lines}
    assert len(blocks) >= 196  # whatever was done but not yet told when all were killed


def test_stderr_is_silent_about_the_workers(tmp_path: Path, start_driver: StartDriver) -> None:
    driver = start_driver(kind="blocks", folder=_marked(tmp_path), blocks=6, processes=2)
    out, err = driver.communicate(timeout=60)
    assert isinstance(driver, subprocess.Popen)
    assert (driver.returncode, out) == (0, "done 6 skipped 0 count 150\n")
    assert err == ""


def _marked(folder: Path) -> Path:
    (folder / "marks").mkdir()
    return folder
