"""Jobs on processes: order, failures that stay alone, killed processes, signals."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from pool_tasks import Trial, act

from vpbsd.compare.runner import pool
from vpbsd.compare.runner.pool import Outcome, run_tasks


def environment() -> dict[str, str]:
    """Return the environment without what torch notes in it when parts of it are first loaded."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("TORCH", "PYTORCH"))}


class Notes:
    """Notes what it hears; sends a signal to this process when a task says something."""

    def __init__(self, interrupt: signal.Signals | None = None) -> None:
        self.heard: list[tuple[str, str]] = []
        self.news: list[str] = []
        self.planned_names: list[str] = []
        self._interrupt = interrupt

    def planned(self, names: Sequence[str]) -> None:
        self.planned_names = list(names)

    def started(self, name: str) -> None:
        self.heard.append(("started", name))

    def told(self, name: str, news: str) -> None:
        self.news.append(f"{name}: {news}")
        if self._interrupt is not None:
            os.kill(os.getpid(), self._interrupt)

    def ended(self, name: str, outcome: Outcome) -> None:
        self.heard.append((outcome.state, name))

    def order(self, state: str) -> list[str]:
        return [name for what, name in self.heard if what == state]


def test_tasks_run_after_those_that_they_need_each_in_a_process_of_its_own(tmp_path: Path) -> None:
    tasks = [
        Trial("student", tmp_path, needs=("teacher", "data that were there before")),
        Trial("teacher", tmp_path),
        Trial("scores", tmp_path, needs=("student",)),
    ]
    notes, before = Notes(), environment()
    outcomes = run_tasks(tasks, act, 2, notes)
    assert notes.planned_names == ["student", "teacher", "scores"]
    assert notes.order("started") == notes.order("done") == ["teacher", "student", "scores"]
    assert {o.state for o in outcomes.values()} == {"done"}
    assert all(o.seconds > 0 for o in outcomes.values())
    assert notes.news[0].startswith("teacher: succeed in ")
    pids = {line.rpartition(" ")[2] for line in notes.news}
    assert len(pids) == 3
    assert str(os.getpid()) not in pids
    # One thread, and memory that is kept, before anything is imported there; here as before.
    assert (tmp_path / "student.try0").read_text("utf-8") == "1 PASSIVE 1"
    assert environment() == before


def test_failure_stops_only_what_needs_it(tmp_path: Path) -> None:
    tasks = [
        Trial("wrong", tmp_path, deed="refuse"),
        Trial("behind", tmp_path, needs=("wrong",)),
        Trial("far behind", tmp_path, needs=("behind",)),
        Trial("bug", tmp_path, deed="crash"),
        Trial("fine", tmp_path),
    ]
    notes = Notes()
    outcomes = run_tasks(tasks, act, 2, notes)
    assert {name: o.state for name, o in outcomes.items()} == {
        "wrong": "failed",
        "behind": "blocked",
        "far behind": "blocked",
        "bug": "failed",
        "fine": "done",
    }
    assert outcomes["wrong"].sentence == "the setting is wrong: change it"
    assert outcomes["bug"].sentence == "unexpected ZeroDivisionError: seven by nothing"
    assert "in act" in outcomes["bug"].trace
    assert outcomes["far behind"].sentence == (
        "it needs 'wrong', which failed: the setting is wrong: change it"
    )
    assert set(notes.order("started")) == {"wrong", "bug", "fine"}
    # Two at a time, and not more.
    assert [what for what, _ in notes.heard[:2]] == ["started", "started"]
    assert notes.heard[2][0] != "started"


def test_killed_process_is_reported_and_its_task_tried_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(pool.logger, "warning", lambda text, *given: warnings.append(text % given))
    once, always = Trial("once", tmp_path, deed="die once"), Trial("twice", tmp_path, deed="die")
    outcomes = run_tasks([always, once], act, 1, Notes())
    assert (once.tries, always.tries) == (2, 2)
    assert [outcomes[name].state for name in ("once", "twice")] == ["done", "died"]
    assert outcomes["twice"].sentence == (
        "2 times its process was killed (SIGKILL), most often for lack of memory: "
        "use fewer --workers"
    )
    assert [warning.endswith("trying it once more") for warning in warnings] == [True, True]


@pytest.mark.parametrize(
    ("deed", "sentence"),
    [
        ("be terminated", "2 times its process was ended by a signal (Terminated)"),
        ("be asked to stop", "2 times its process was asked from outside to stop"),
        ("leave", "2 times its process ended without a result (exit code 7)"),
    ],
)
def test_only_a_killed_process_is_said_to_lack_memory(
    deed: str, sentence: str, tmp_path: Path
) -> None:
    outcomes = run_tasks([Trial("task", tmp_path, deed=deed)], act, 1, Notes())
    assert (outcomes["task"].state, outcomes["task"].sentence) == ("died", sentence)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_lets_every_process_save_and_starts_no_other(
    number: signal.Signals, tmp_path: Path
) -> None:
    notes = Notes(interrupt=number)
    tasks = [Trial("long", tmp_path, deed="wait"), Trial("next", tmp_path)]
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt, match="stopped with 0 of 2 jobs done; the same command"):
        run_tasks(tasks, act, 1, notes)
    assert time.monotonic() - began < 30
    assert notes.heard == [("started", "long"), ("stopped", "long")]


class Impatient(Notes):
    """Sends a second signal a second after the first."""

    def told(self, name: str, news: str) -> None:
        super().told(name, news)
        threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()


def test_second_signal_ends_what_does_not_stop(tmp_path: Path) -> None:
    notes = Impatient(interrupt=signal.SIGINT)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_tasks([Trial("stubborn", tmp_path, deed="ignore")], act, 1, notes)
    assert time.monotonic() - began < 30
    assert notes.heard == [("started", "stubborn")]
    assert not (tmp_path / "stubborn.done").exists()
