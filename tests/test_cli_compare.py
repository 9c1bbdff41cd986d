"""The verb ``compare``: what it asks for, how it shows progress, how it fails."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from vpbsd import cli
from vpbsd.cli import compare
from vpbsd.cli.compare import ComparisonProgress, TimeLeft
from vpbsd.cli.progress import log_to
from vpbsd.compare.runner.pool import Outcome
from vpbsd.compare.runner.run import Compared

NAMES = ["teacher d/teacher/seed_0", "train d/vpbsd/seed_0", "evaluate d/vpbsd/seed_0"]


class Clock:
    """A time that tests set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(compare.time, "monotonic", found)
    return found


# ------------------------------------------------------------------------------------------- usage


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["smoke"], "name a recipe and a folder (vpbsd compare RECIPE -o OUT)"),
        (["-o", "out"], "name a recipe and a folder"),
        (["none", "-o", "out"], "no recipe file 'none' and none of that name ships"),
        (["smoke", "-o", "out", "--workers", "0"], "at least one worker is needed"),
        (["smoke", "--tables", "results"], "--tables makes tables of results that are there"),
        (["--tables", "nowhere"], "nowhere"),
    ],
    ids=str,
)
def test_wrong_use_is_one_sentence_and_exit_code_2(
    words: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["compare", *words]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("vpbsd compare: ")
    assert sentence in said
    assert not list(tmp_path.iterdir())


def test_jobs_that_failed_are_named_and_the_exit_code_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = {f"train d/m{i}/seed_0": "the loss became nan" for i in range(7)}
    done = Compared(tmp_path / "results.jsonl", 3, 2, failed, {"evaluate d/m0/seed_0": "needs"})
    monkeypatch.setattr(compare, "run_comparison", lambda *args, **options: done)
    assert cli.main(["compare", "smoke", "-o", str(tmp_path), "--quiet"]) == 1
    said = capsys.readouterr().err
    assert "7 of the jobs failed, 1 that need them were not begun; 5 are done" in said
    assert "train d/m4/seed_0: the loss became nan; and 2 more" in said
    assert "m5" not in said


# ---------------------------------------------------------------------------------------- progress


def test_time_left_knows_that_kinds_of_jobs_take_different_times(clock: Clock) -> None:
    left = TimeLeft(workers=2)
    left.plan([*NAMES, "train d/cps/seed_0", "evaluate d/cps/seed_0"])
    assert left.total == 5
    assert left.seconds() is None
    left.start(NAMES[0])
    clock.now = 100.0
    left.end(NAMES[0])
    # Nothing is known of trainings and evaluations yet: four as long as the teacher, on two.
    assert left.seconds() == 200.0
    left.start(NAMES[1])
    clock.now = 400.0
    left.end(NAMES[1])
    left.start(NAMES[2])
    clock.now = 410.0
    left.end(NAMES[2])
    # One training of 300 s and one evaluation of 10 s are left.
    assert left.seconds() == 155.0
    left.end("train d/cps/seed_0")  # never begun: it was blocked
    left.end("evaluate d/cps/seed_0")
    assert left.seconds() == 0.0


def shown(*, terminal: bool, quiet: bool = False) -> str:
    """Return what is shown of three jobs, the last of which fails."""
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=120)
    with (
        log_to(console, quiet=quiet),
        ComparisonProgress(console, 1, quiet=quiet) as progress,
    ):
        progress.planned(NAMES)
        for name in NAMES:
            progress.started(name)
            progress.told(name, "distill 3/9")
            progress._progress.refresh()
            state: Any = "failed" if name == NAMES[-1] else "done"
            progress.ended(name, Outcome(state))
    return stream.getvalue()


def test_terminal_shows_jobs_done_running_and_time_left() -> None:
    text = shown(terminal=True)
    for part in ("jobs", "0/3", "1/3", "train d/vpbsd/seed_0", "distill 3/9", "about 0:00 left"):
        assert part in text


def test_log_file_gets_a_line_for_every_job_that_ends() -> None:
    lines = shown(terminal=False).splitlines()
    assert lines == [
        "1/3 teacher d/teacher/seed_0: done, about 0:00 left",
        "2/3 train d/vpbsd/seed_0: done, about 0:00 left",
        "3/3 evaluate d/vpbsd/seed_0: failed, about 0:00 left",
    ]
    assert shown(terminal=False, quiet=True) == ""


def test_job_that_is_tried_again_is_shown_once() -> None:
    progress = ComparisonProgress(Console(file=io.StringIO(), force_terminal=True), 1)
    progress.planned(NAMES[:1])
    progress.started(NAMES[0])
    progress.started(NAMES[0])
    assert len(progress._progress.tasks) == 2  # all jobs, and the one
    progress.ended(NAMES[0], Outcome("died"))
    assert len(progress._progress.tasks) == 1
