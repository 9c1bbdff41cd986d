"""What a running command shows on stderr: log lines, and a bar per training stage.

Without a terminal there are no bars; a line about every tenth of a stage takes their place.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

__all__ = ["TrainingProgress", "clock", "log_to"]

logger = logging.getLogger(__name__)

_LINES_PER_STAGE = 10


class _ConsoleHandler(logging.Handler):
    """Writes through rich, so that a line does not tear a progress bar apart."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def log_to(console: Console, *, quiet: bool = False) -> Iterator[None]:
    """Show what vpbsd logs on ``console``; warnings only when ``quiet``."""
    root, handler = logging.getLogger("vpbsd"), _ConsoleHandler(console)
    before = root.level
    # It tells every run which precision we told it to use.
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    # Under torchrun every rank runs the same command; the first speaks for all.
    silent = quiet or os.environ.get("RANK", "0") != "0"
    root.addHandler(handler)
    root.setLevel(logging.WARNING if silent else logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(before)


class TrainingProgress:
    """A bar per stage with step, loss and time left; use it as a context.

    Parameters
    ----------
    console
        Where to draw; bars need a terminal there.
    quiet
        Show nothing.
    """

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._bars = console.is_terminal and not quiet
        self._progress = Progress(
            TextColumn("{task.description:<9}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.4f}"),
            TimeRemainingColumn(),
            console=console,
            disable=not self._bars,
        )
        self._stage, self._task = "", TaskID(0)
        self._first, self._began = 0, 0.0

    def __enter__(self) -> TrainingProgress:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, stage: str, step: int, steps: int, losses: Mapping[str, float]) -> None:
        """Show that ``step`` of ``steps`` of ``stage`` is done."""
        if stage != self._stage or step <= self._first:
            self._stage, self._first, self._began = stage, step, time.monotonic()
            if self._bars:
                self._task = self._progress.add_task(self._stage, total=steps, loss=0.0)
        if self._bars:
            self._progress.update(self._task, completed=step, loss=losses["loss"])
        elif not self._quiet and _is_due(step, steps):
            left = self._seconds_left(step, steps)
            logger.info(
                "%s %d/%d, loss %.4f%s",
                self._stage,
                step,
                steps,
                losses["loss"],
                f", {clock(left)} left" if step < steps and left is not None else "",
            )

    def _seconds_left(self, step: int, steps: int) -> float | None:
        done = step - self._first
        return (time.monotonic() - self._began) / done * (steps - step) if done else None


def _is_due(step: int, steps: int) -> bool:
    """Whether ``step`` is the first one past another tenth of ``steps``."""
    return step * _LINES_PER_STAGE // steps > (step - 1) * _LINES_PER_STAGE // steps


def clock(seconds: float) -> str:
    """Return a time as ``H:MM:SS``, without hours where there are none."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
