"""The executor for everything parallel, on local processes; nothing here is mocked."""

from __future__ import annotations

import contextlib
import json
import logging
import multiprocessing.spawn
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import dask
import pytest
from block_operations import ALWAYS, StartEnvironment, Trial, line_of_blocks
from block_processes import wait_until

from vpbsd.blockwise import Ledger, Workers, on_dask, run_blocks
from vpbsd.blockwise.execute import Executor, open_executor
from vpbsd.errors import BlocksFailedError, OutputError, WorkerDiedError

PLAN = line_of_blocks(40)


@pytest.fixture(scope="module")
def two() -> Iterator[Executor]:
    """Two processes of two lanes each, for all tests of this file: starting them takes seconds."""
    with open_executor(Workers(processes=2)) as executor:
        yield executor


def test_every_block_is_done_once_by_two_other_processes(
    two: Executor, tmp_path: Path, marks: Path
) -> None:
    told: dict[int, int] = {}
    trial, log = Trial(marks, seconds=0.02), tmp_path / "log.jsonl"
    run = run_blocks(
        PLAN, trial, workers=two, log=log, on_done=lambda b, d: told.__setitem__(b.index, d.count)
    )
    assert (run.done, run.count, run.complete) == (40, 7800, True)
    assert told == {i: 10 * i for i in range(40)}
    assert trial.tried() == dict.fromkeys(range(40), 1)
    assert len(trial.processes()) == 2
    assert os.getpid() not in trial.processes()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert sorted(line["block"] for line in lines) == list(range(40))
    workers = {int(line["worker"].rpartition(":")[2]) for line in lines}
    assert workers == trial.processes()


def test_only_what_the_ledger_lacks_is_done(two: Executor, tmp_path: Path, marks: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    for index in range(30):
        ledger.record(index, 10 * index)
    run = run_blocks(PLAN, Trial(marks), ledger=ledger, workers=two)
    assert (run.done, run.skipped, run.count) == (10, 30, 7800)
    assert sorted(Trial(marks).tried()) == list(range(30, 40))
    assert run_blocks(PLAN, Trial(marks), ledger=ledger, workers=two).done == 0


def test_bad_blocks_do_not_end_the_run_but_are_named_at_its_end(
    two: Executor, tmp_path: Path, marks: Path
) -> None:
    ledger = Ledger(tmp_path / "ledger")
    trial = Trial(marks, raising={3: ALWAYS, 5: 2, 17: ALWAYS})
    with pytest.raises(BlocksFailedError) as caught:
        run_blocks(PLAN, trial, ledger=ledger, workers=two)
    assert str(caught.value) == (
        "2 of 40 blocks failed: 3 (z[3:4] y[0:1] x[0:1]; ValueError: try 3 of 3); "
        "17 (z[17:18] y[0:1] x[0:1]; ValueError: try 3 of 17); all others of this run are "
        "finished, and the same command tries only these again"
    )
    assert isinstance(caught.value.__cause__, ValueError)
    assert [i for i, count in enumerate(ledger.counts(40)) if count < 0] == [3, 17]
    run = run_blocks(PLAN, Trial(marks), ledger=ledger, workers=two)
    assert (run.done, run.skipped, run.count) == (2, 38, 7800)
    assert trial.tried() == {**dict.fromkeys(range(40), 1), 3: 4, 5: 3, 17: 4}


def test_what_every_block_would_meet_ends_the_run_at_once(two: Executor, marks: Path) -> None:
    trial = Trial(marks, fatal={0: ALWAYS}, seconds=0.05)
    with pytest.raises(OutputError, match="the disk is full"):
        run_blocks(PLAN, trial, workers=two)
    assert trial.tried()[0] == 1
    # Beside it, what was under way: two blocks for each of four lanes, and what was done meanwhile.
    assert len(trial.tried()) <= 20


def test_a_run_in_which_everything_fails_is_given_up(two: Executor, marks: Path) -> None:
    trial = Trial(marks, raising=dict.fromkeys(range(40), ALWAYS))
    with pytest.raises(BlocksFailedError, match=r"^the first 16 of 40 blocks failed and none succ"):
        run_blocks(PLAN, trial, workers=two)
    assert len(trial.tried()) < 40


def test_a_worker_that_is_killed_is_replaced_and_its_blocks_are_done(
    two: Executor, tmp_path: Path, marks: Path
) -> None:
    ledger = Ledger(tmp_path / "ledger")
    # The last ones wait, so that however long its start takes, the new worker finds some.
    trial = Trial(marks, seconds=0.02, waiting=tuple(range(20, 60)))

    def kill_one() -> None:
        wait_until(lambda: len(trial.processes()) == 2, "both workers compute")
        os.kill(min(trial.processes()), signal.SIGKILL)
        wait_until(lambda: len(trial.processes()) == 3, "the new worker got the operation as well")
        (marks / "go").touch()

    killer = threading.Thread(target=kill_one)
    killer.start()
    run = run_blocks(line_of_blocks(60), trial, ledger=ledger, workers=two)
    killer.join()
    assert (run.done, run.count) == (60, 17700)  # 10 * (0 + ... + 59)
    assert list(ledger.counts(60)) == [10 * i for i in range(60)]
    assert sum(trial.tried().values()) <= 62  # two lanes were at work in the one that died


@contextlib.contextmanager
def _no_process_starts() -> Iterator[None]:
    """Let every worker that is started die at once."""
    python = multiprocessing.spawn.get_executable()
    multiprocessing.spawn.set_executable("/bin/false")
    try:
        yield
    finally:
        multiprocessing.spawn.set_executable(python)


def test_workers_that_die_while_they_start_are_started_again(two: Executor, marks: Path) -> None:
    # Left to itself, Dask gives up a worker that is not there some seconds after its death.
    assert dask.config.get("distributed.deploy.lost-worker-timeout") == "1000 days"
    trial = Trial(marks, seconds=0.02)

    def kill_both_and_let_none_follow_for_a_while() -> None:
        wait_until(lambda: len(trial.processes()) == 2, "both workers compute")
        with _no_process_starts():
            for process in trial.processes():
                os.kill(process, signal.SIGKILL)
            time.sleep(1.0)

    killer = threading.Thread(target=kill_both_and_let_none_follow_for_a_while)
    killer.start()
    run = run_blocks(line_of_blocks(60), trial, workers=two)
    killer.join()
    assert (run.done, run.count) == (60, 17700)
    assert len(trial.processes()) >= 3


def test_a_run_whose_workers_do_not_come_back_says_so(
    marks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_dask, "_GONE_SECONDS", 1)
    monkeypatch.setattr(on_dask, "_ASK_EVERY_SECONDS", 0.1)
    trial, over = Trial(marks, seconds=0.05), threading.Event()

    def kill_both() -> None:
        wait_until(lambda: len(trial.processes()) == 2, "both workers compute")
        with _no_process_starts():
            for process in trial.processes():
                os.kill(process, signal.SIGKILL)
            over.wait(60)

    killer = threading.Thread(target=kill_both)
    killer.start()
    try:
        with pytest.raises(BlocksFailedError) as caught:
            run_blocks(line_of_blocks(1000), trial, workers=Workers(processes=2))
    finally:
        over.set()
        killer.join()
    assert str(caught.value) == (
        "all 2 worker processes died and none has started within 1 s; the likely cause is too "
        "little memory: close other programs or choose fewer workers; finished blocks are kept, "
        "and the same command goes on from there"
    )


@pytest.mark.slow
def test_a_block_that_kills_its_worker_takes_no_other_with_it(
    two: Executor, tmp_path: Path, marks: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger(tmp_path / "ledger")
    trial = Trial(marks, killing={6: ALWAYS}, seconds=0.02)
    with caplog.at_level(logging.WARNING), pytest.raises(BlocksFailedError) as caught:
        run_blocks(PLAN, trial, ledger=ledger, workers=two)
    assert str(caught.value) == (
        "1 of 40 blocks failed: 6 (z[6:7] y[0:1] x[0:1]; WorkerDiedError: its worker process was "
        "killed 3 times while it was computed; the likely cause is too little memory: choose "
        "smaller blocks (--block-voxels) or fewer workers); all others of this run are finished, "
        "and the same command tries only these again"
    )
    assert isinstance(caught.value.__cause__, WorkerDiedError)
    assert trial.tried()[6] == 6  # three times in company, three times alone
    assert [i for i, count in enumerate(ledger.counts(40)) if count < 0] == [6]
    assert "block 6: trying it once more, alone" in caplog.text
    run = run_blocks(PLAN, Trial(marks), ledger=ledger, workers=two)
    assert (run.done, run.skipped, run.count) == (1, 39, 7800)


@pytest.mark.slow
def test_a_run_whose_every_block_kills_its_worker_ends_soon(two: Executor, marks: Path) -> None:
    # As where memory is too small for any block: nobody waits for 1000 blocks to die six times.
    trial = Trial(marks, killing=dict.fromkeys(range(1000), ALWAYS))
    with pytest.raises(BlocksFailedError, match=r"the first 4 of 1000 blocks failed .*too little "):
        run_blocks(line_of_blocks(1000), trial, workers=two)
    assert len(trial.tried()) <= 20


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_workers_start_with_our_settings_of_malloc(two: Executor, tmp_path: Path) -> None:
    """Malloc reads them once, when a process starts; Dask's own would give all memory back."""
    run_blocks(line_of_blocks(8), StartEnvironment(tmp_path), workers=two)
    told = [file.read_text("utf-8").splitlines() for file in tmp_path.glob("*.environ")]
    assert 1 <= len(told) <= 2
    for lines in told:
        found = dict(line.partition("=")[::2] for line in lines)
        assert found["MALLOC_ARENA_MAX"] == "1"
        assert found["MALLOC_MMAP_MAX_"] == "0"
        assert found["MALLOC_TRIM_THRESHOLD_"] == "2147483647"
        assert found["OMP_WAIT_POLICY"] == "PASSIVE"
        assert found["OMP_NUM_THREADS"] == "1"


def test_our_own_environment_stays_as_it_was(marks: Path) -> None:
    before = dict(os.environ)
    with open_executor(Workers(processes=2)) as executor:
        run_blocks(line_of_blocks(2), Trial(marks), workers=executor)
    assert dict(os.environ) == before
