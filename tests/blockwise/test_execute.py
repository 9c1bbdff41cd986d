"""The meaning that all executors share, on the one that works in this process."""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from block_operations import ALWAYS, Trial, line_of_blocks
from block_processes import StartDriver, result, wait_until

from vpbsd.blockwise import (
    Block,
    BlockDone,
    Function,
    Ledger,
    Part,
    Stopped,
    Workers,
    run_blocks,
)
from vpbsd.errors import (
    BlocksFailedError,
    ConfigError,
    IntensityError,
    MissingExtraError,
    OutputError,
)

PLAN = line_of_blocks(40)


def _lines(log: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]


def test_every_block_is_done_once_and_reported_with_its_result(marks: Path) -> None:
    told: dict[int, int] = {}

    def on_done(block: Block, done: BlockDone) -> None:
        assert block == PLAN[done.index]
        told[done.index] = done.count

    operation = Trial(marks)
    run = run_blocks(PLAN, operation, on_done=on_done)
    assert (run.done, run.skipped, run.missing, run.complete) == (40, 0, 0, True)
    assert run.count == 7800  # 10 * (0 + ... + 39)
    assert told == {i: 10 * i for i in range(40)}
    assert operation.tried() == dict.fromkeys(range(40), 1)


def test_a_function_is_an_operation() -> None:
    total = np.zeros(40)

    def fill(block: Block) -> int:
        total[block.write.slices[0]] += 1
        return 2

    assert run_blocks(PLAN, Function(fill)).count == 80
    assert (total == 1).all()


def test_only_what_the_ledger_lacks_is_done_and_sums_hold_all(tmp_path: Path, marks: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    for index in range(30):
        ledger.record(index, 10 * index)
    run = run_blocks(PLAN, Trial(marks), ledger=ledger)
    assert (run.done, run.skipped, run.count) == (10, 30, 7800)
    assert sorted(Trial(marks).tried()) == list(range(30, 40))
    again = run_blocks(PLAN, Trial(marks), ledger=ledger)
    assert (again.done, again.skipped, again.count) == (0, 40, 7800)


def test_bad_blocks_do_not_end_the_run_but_are_named_at_its_end(
    tmp_path: Path, marks: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger(tmp_path / "ledger")
    bad = Trial(marks, raising={3: ALWAYS, 17: ALWAYS})
    with caplog.at_level(logging.WARNING), pytest.raises(BlocksFailedError) as caught:
        run_blocks(PLAN, bad, ledger=ledger)
    assert str(caught.value) == (
        "2 of 40 blocks failed: 3 (z[3:4] y[0:1] x[0:1]; ValueError: try 3 of 3); "
        "17 (z[17:18] y[0:1] x[0:1]; ValueError: try 3 of 17); all others of this run are "
        "finished, and the same command tries only these again"
    )
    assert isinstance(caught.value.__cause__, ValueError)
    assert [r.getMessage() for r in caplog.records] == [
        "block 3 (z[3:4] y[0:1] x[0:1]) failed: try 3 of 3",
        "block 17 (z[17:18] y[0:1] x[0:1]) failed: try 3 of 17",
    ]
    missing = [i for i, count in enumerate(ledger.counts(40)) if count < 0]
    assert missing == [3, 17]

    run = run_blocks(PLAN, Trial(marks), ledger=ledger)
    assert (run.done, run.skipped, run.count) == (2, 38, 7800)
    once = {**dict.fromkeys(range(40), 1), 3: 4, 17: 4}
    assert Trial(marks).tried() == once


def test_without_a_ledger_nothing_is_promised_of_a_second_run() -> None:
    def fail_at_5(block: Block) -> None:
        if block.index == 5:
            raise IntensityError("NaN in 5")

    with pytest.raises(BlocksFailedError, match=r"all others of this run are finished$") as caught:
        run_blocks(PLAN, Function(fail_at_5))
    assert isinstance(caught.value.__cause__, IntensityError)


def test_many_bad_blocks_are_counted_and_the_first_five_named(marks: Path) -> None:
    bad = {2 * i + 1: ALWAYS for i in range(20)}
    with pytest.raises(BlocksFailedError, match=r"^20 of 40 blocks failed: 1 .* and 15 more; all"):
        run_blocks(PLAN, Trial(marks, raising=bad), workers=Workers(retries=0))


def test_a_block_that_raises_twice_succeeds_the_third_time(marks: Path) -> None:
    run = run_blocks(PLAN, Trial(marks, raising={7: 2}))
    assert run.done == 40
    assert Trial(marks).tried()[7] == 3


def test_a_run_in_which_everything_fails_is_given_up(marks: Path) -> None:
    bad = dict.fromkeys(range(40), ALWAYS)
    with pytest.raises(BlocksFailedError) as caught:
        run_blocks(PLAN, Trial(marks, raising=bad), workers=Workers(retries=1))
    message = str(caught.value)
    assert message.startswith("the first 16 of 40 blocks failed and none succeeded, so the run ")
    assert message.endswith(" and 11 more")
    tried = Trial(marks).tried()
    assert set(range(16)) <= set(tried) <= set(range(18))  # two lanes were at work
    assert tried[0] == 2


@pytest.mark.parametrize(
    "error",
    [
        OutputError("disk full"),
        ConfigError("no"),
        MissingExtraError("pip"),
        KeyboardInterrupt(),
        SystemExit(3),
    ],
)
def test_what_every_block_would_meet_ends_the_run_at_once(error: BaseException) -> None:
    tried = []

    def fail(block: Block) -> None:
        tried.append(block.index)
        raise error

    with pytest.raises(type(error)) as caught:
        run_blocks(PLAN, Function(fail))
    assert caught.value is error
    assert tried.count(0) == 1  # nor is it tried again
    assert len(tried) <= 2


def test_parts_do_their_share_and_the_last_one_sees_all(tmp_path: Path, marks: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    first = run_blocks(PLAN, Trial(marks), ledger=ledger, part=Part(1, 3))
    assert (first.done, first.skipped, first.missing, first.complete) == (13, 0, 27, False)
    third = run_blocks(PLAN, Trial(marks), ledger=ledger, part=Part(3, 3))
    assert (third.done, third.missing) == (14, 13)
    assert third.count == 10 * (sum(range(13)) + sum(range(26, 40)))
    second = run_blocks(PLAN, Trial(marks), ledger=ledger, part=Part(2, 3))
    assert (second.done, second.missing, second.count) == (13, 0, 7800)
    assert second.complete
    assert Trial(marks).tried() == dict.fromkeys(range(40), 1)


# -------------------------------------------------------------------------------------------- lanes


class _Steps:
    """Notes when each step begins and ends."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, int, float, float]] = []

    def _step(self, name: str, block: Block, seconds: float) -> None:
        start = time.monotonic()
        time.sleep(seconds)
        self.spans.append((name, block.index, start, time.monotonic()))

    def read(self, block: Block) -> int:
        self._step("read", block, 0.03)
        return block.index

    def compute(self, block: Block, data: int) -> int:
        assert data == block.index
        self._step("compute", block, 0.05)
        return data

    def write(self, block: Block, result: int) -> int:
        assert result == block.index
        self._step("write", block, 0.03)
        return 0

    def of(self, name: str) -> list[tuple[int, float, float]]:
        return sorted((s[1:] for s in self.spans if s[0] == name), key=lambda span: span[1])


def test_the_next_block_is_read_while_one_is_computed_and_never_two_are() -> None:
    steps = _Steps()
    run = run_blocks(line_of_blocks(8), steps)
    for name in ("read", "compute", "write"):
        ends = [end for _, _, end in steps.of(name)]
        starts = [start for _, start, _ in steps.of(name)]
        assert all(a <= b for a, b in zip(ends, starts[1:], strict=False)), f"two at once: {name}"
    computed = steps.of("compute")
    overlapping = sum(
        any(a < end and start < b for _, a, b in computed if _ != index)
        for index, start, end in steps.of("read")
    )
    assert overlapping >= 6, "of 8 reads, all but the first may overlap a computation"
    assert run.read_seconds >= 0.24
    assert run.compute_seconds >= 0.40
    assert run.write_seconds >= 0.24
    io = run.read_seconds + run.write_seconds
    assert run.io_share == pytest.approx(io / (io + run.compute_seconds))
    assert run.seconds < io + run.compute_seconds


def test_one_lane_does_one_thing_at_a_time() -> None:
    steps = _Steps()
    run_blocks(line_of_blocks(3), steps, workers=Workers(lanes=1))
    assert [(name, index) for name, index, _, _ in steps.spans] == [
        (name, index) for index in range(3) for name in ("read", "compute", "write")
    ]


# ---------------------------------------------------------------------------------------------- log


def test_the_log_has_a_line_for_every_block(tmp_path: Path, marks: Path) -> None:
    log, ledger = tmp_path / "log.jsonl", Ledger(tmp_path / "ledger")
    with pytest.raises(BlocksFailedError):
        run_blocks(PLAN, Trial(marks, raising={9: ALWAYS}), ledger=ledger, log=log)
    lines = _lines(log)
    assert sorted(line["block"] for line in lines) == list(range(40))  # type: ignore[type-var]
    (bad,) = (line for line in lines if line["status"] == "failed")
    assert {k: bad[k] for k in ("block", "start", "stop", "attempts", "error")} == {
        "block": 9,
        "start": [9, 0, 0],
        "stop": [10, 1, 1],
        "attempts": 3,
        "error": "ValueError: try 3 of 9",
    }
    good = next(line for line in lines if line["block"] == 12)
    assert (good["status"], good["count"]) == ("done", 120)
    assert str(good["worker"]).endswith(f":{os.getpid()}")
    assert {"time", "read_seconds", "compute_seconds", "write_seconds"} < set(good)
    # A later run goes on in the same file.
    run_blocks(PLAN, Trial(marks), ledger=ledger, log=log)
    assert [(line["block"], line["status"]) for line in _lines(log)[40:]] == [(9, "done")]


def test_a_full_disk_under_the_log_is_an_error_of_the_output(marks: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot write the log '/dev/full': No space left"):
        run_blocks(PLAN, Trial(marks), log=Path("/dev/full"))
    with pytest.raises(OutputError, match=r"cannot write the log '.*nowhere.*': No such file"):
        run_blocks(PLAN, Trial(marks), log=marks / "nowhere" / "log")


# ------------------------------------------------------------------------------------------ signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_told_to_stop_finishes_its_blocks_and_goes_on_later(
    tmp_path: Path, start_driver: StartDriver, number: signal.Signals
) -> None:
    (tmp_path / "marks").mkdir()
    trial, ledger = Trial(tmp_path / "marks"), Ledger(tmp_path / "ledger")
    driver = start_driver(kind="blocks", folder=tmp_path, blocks=100, seconds=0.1)
    wait_until(lambda: (ledger.counts(100) >= 0).sum() >= 3, "three blocks are finished")
    driver.send_signal(number)
    code, last = result(driver)
    assert code == 130
    finished = int((ledger.counts(100) >= 0).sum())
    assert last == (
        f"Stopped: stopped with {finished} of 100 blocks finished; the same command goes on from "
        "there"
    )
    assert 3 <= finished < 100
    # What was being computed was finished, and nothing more begun; all of it is in the log.
    assert sum(trial.tried().values()) == finished
    assert len(_lines(tmp_path / "log.jsonl")) == finished

    code, last = result(start_driver(kind="blocks", folder=tmp_path, blocks=100))
    assert (code, last) == (0, f"done {100 - finished} skipped {finished} count 49500")
    assert trial.tried() == dict.fromkeys(range(100), 1)
    assert sorted(line["block"] for line in _lines(tmp_path / "log.jsonl")) == list(range(100))  # type: ignore[type-var]


@pytest.mark.parametrize("lanes", [1, 2, 3])
def test_a_stop_between_two_blocks_loses_sight_of_none(
    tmp_path: Path, marks: Path, lanes: int
) -> None:
    """The signal comes while a finished block is told about, and others are being computed."""
    ledger, told = Ledger(tmp_path / "ledger"), []

    def stop_after_the_third(block: Block, _: BlockDone) -> None:
        told.append(block.index)
        if len(told) == 3:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Stopped) as stopped:
        run_blocks(
            PLAN,
            Trial(marks, seconds=0.02),
            ledger=ledger,
            workers=Workers(lanes=lanes),
            on_done=stop_after_the_third,
            log=tmp_path / "log.jsonl",
        )
    finished = np.flatnonzero(ledger.counts(len(PLAN)) >= 0).tolist()
    assert 3 <= len(finished) <= 3 + lanes
    assert str(stopped.value) == (
        f"stopped with {len(finished)} of {len(PLAN)} blocks finished; the same command goes on "
        "from there"
    )
    assert sorted(told) == finished
    assert sorted(line["block"] for line in _lines(tmp_path / "log.jsonl")) == finished  # type: ignore[type-var]


def test_a_second_sigterm_kills(tmp_path: Path, start_driver: StartDriver) -> None:
    (tmp_path / "marks").mkdir()
    trial = Trial(tmp_path / "marks")
    driver = start_driver(kind="blocks", folder=tmp_path, blocks=8, waiting=[0, 1])
    wait_until(lambda: bool(trial.tried()), "the first block is under way")
    driver.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert driver.poll() is None  # it waits for the block, which takes for ever
    driver.send_signal(signal.SIGTERM)
    assert driver.wait(10) == -signal.SIGTERM


def test_a_run_in_another_thread_leaves_signals_alone(marks: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def look(block: Block) -> None:
        seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=run_blocks, args=(line_of_blocks(1), Function(look)))
    thread.start()
    thread.join()
    assert seen == [before]
    run_blocks(line_of_blocks(1), Function(look))
    assert seen[1] != before
    assert signal.getsignal(signal.SIGTERM) == before
    assert issubclass(Stopped, KeyboardInterrupt)


def test_kill_9_of_the_run_loses_at_most_what_was_under_way(
    tmp_path: Path, start_driver: StartDriver
) -> None:
    (tmp_path / "marks").mkdir()
    trial, ledger = Trial(tmp_path / "marks"), Ledger(tmp_path / "ledger")
    driver = start_driver(kind="blocks", folder=tmp_path, blocks=100, seconds=0.1)
    wait_until(lambda: (ledger.counts(100) >= 0).sum() >= 5, "five blocks are finished")
    driver.kill()
    driver.wait()
    finished = int((ledger.counts(100) >= 0).sum())
    code, last = result(start_driver(kind="blocks", folder=tmp_path, blocks=100))
    assert (code, last) == (0, f"done {100 - finished} skipped {finished} count 49500")
    tried = trial.tried()
    assert sorted(tried) == list(range(100))
    assert sum(tried.values()) <= 102
