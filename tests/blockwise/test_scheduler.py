"""Work on a cluster that somebody else has started, in another process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from block_operations import Trial, line_of_blocks, tasks_held
from block_processes import StartDriver, StartPython, result, wait_until
from distributed import Client

from vpbsd.blockwise import Ledger, Workers, clusters, run_blocks
from vpbsd.errors import BlocksFailedError, ConfigError, OutputError

HERE = Path(__file__).resolve().parent


def _cluster(start_python: StartPython, workers: int = 1) -> tuple[subprocess.Popen[str], str]:
    process = start_python(str(HERE / "cluster.py"), str(workers))
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    assert address.startswith("tcp://127.0.0.1:")
    return process, address


def test_runs_one_after_the_other_on_a_cluster_that_stays(
    tmp_path: Path, marks: Path, start_python: StartPython, start_driver: StartDriver
) -> None:
    cluster, address = _cluster(start_python)
    workers = Workers(scheduler=address)
    trial = Trial(marks, raising={4: 2})
    run = run_blocks(line_of_blocks(10), trial, workers=workers)
    assert (run.done, run.count) == (10, 450)
    assert trial.tried() == {**dict.fromkeys(range(10), 1), 4: 3}
    (worker,) = trial.processes()
    assert worker not in (os.getpid(), cluster.pid)
    with pytest.raises(BlocksFailedError, match="1 of 3 blocks failed: 0"):
        run_blocks(line_of_blocks(3), Trial(marks, raising={0: 9}), workers=workers)
    with pytest.raises(OutputError, match="the disk is full"):
        run_blocks(line_of_blocks(3), Trial(marks, fatal={0: 9}), workers=workers)
    with Client(address, set_as_default=False) as client:
        assert list(client.run(tasks_held).values()) == [0]
    # After one that was killed, the blocks that it had handed out come to an end.
    job = {"kind": "blocks", "folder": tmp_path, "blocks": 100, "scheduler": address}
    killed = start_driver(**job, seconds=0.1)
    ledger = Ledger(tmp_path / "ledger")
    wait_until(lambda: (ledger.counts(100) >= 0).sum() >= 2, "two blocks are finished")
    killed.kill()
    killed.wait()
    wait_until(lambda: _at_rest(ledger), "the blocks of the killed run are given up")
    finished = int((ledger.counts(100) >= 0).sum())
    assert 2 <= finished < 100
    assert result(start_driver(**job)) == (
        0,
        f"done {100 - finished} skipped {finished} count 49500",
    )
    assert cluster.poll() is None


def _at_rest(ledger: Ledger) -> bool:
    before = (ledger.counts(100) >= 0).sum()
    time.sleep(0.5)
    return bool((ledger.counts(100) >= 0).sum() == before)


def test_an_address_where_nothing_listens_is_refused(
    marks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clusters, "_CONNECT_SECONDS", 1)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(ConfigError) as caught:
            run_blocks(line_of_blocks(2), Trial(marks), workers=Workers(scheduler=address))
    assert str(caught.value) == (
        f"no Dask scheduler answers at '{address}' within 1 s; check that it runs (dask scheduler) "
        "and that the address is written tcp://HOST:PORT"
    )
    for nonsense in ("nowhere", "http://127.0.0.1:1", "tcp://127.0.0.1:many", "tcp://"):
        with pytest.raises(ConfigError, match=r"is written tcp://HOST:PORT"):
            run_blocks(line_of_blocks(2), Trial(marks), workers=Workers(scheduler=nonsense))


def test_a_scheduler_that_dies_is_said_and_the_ledger_is_kept(
    tmp_path: Path,
    marks: Path,
    start_python: StartPython,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clusters, "_CONNECT_SECONDS", 3)
    cluster, address = _cluster(start_python)
    ledger = Ledger(tmp_path / "ledger")

    def kill_at_five(*_: object) -> None:
        if (ledger.counts(40) >= 0).sum() >= 5 and cluster.poll() is None:
            os.killpg(cluster.pid, signal.SIGKILL)
            cluster.wait()

    with pytest.raises(BlocksFailedError) as caught:
        run_blocks(
            line_of_blocks(40),
            Trial(marks, seconds=0.1),
            ledger=ledger,
            workers=Workers(scheduler=address),
            on_done=kill_at_five,
        )
    assert str(caught.value) == (
        f"the Dask scheduler of the workers of {address} is gone; finished blocks are kept, and "
        "the same command goes on from there"
    )
    finished = int((ledger.counts(40) >= 0).sum())
    assert 5 <= finished <= 9
    run = run_blocks(line_of_blocks(40), Trial(marks), ledger=ledger)
    assert (run.done, run.skipped, run.count) == (40 - finished, finished, 7800)
