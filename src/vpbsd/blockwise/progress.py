"""Progress of a run in voxels, on stderr, where a terminal shows it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

__all__ = ["voxel_progress"]

logger = logging.getLogger(__name__)


class _Rate(ProgressColumn):
    """Million voxels per second."""

    def render(self, task: Task) -> Text:
        """Return the rate, or a dash before there is one."""
        speed = task.finished_speed or task.speed
        return Text("– Mvoxel/s" if speed is None else f"{speed / 1e6:.2f} Mvoxel/s")


@contextmanager
def voxel_progress(
    title: str, total_voxels: int, *, show: bool = True, console: Console | None = None
) -> Iterator[Callable[[int], None]]:
    """Show a bar with rate and time left; yields what is called with the voxels just done.

    Where the console is no terminal (the log file of a batch job), a line about every tenth takes
    the place of the bar.

    Parameters
    ----------
    title
        Shown in front.
    total_voxels
        At which the bar is full.
    show
        Off: nothing is shown.
    console
        By default one on stderr, so that stdout stays free for results.
    """
    target = console or Console(stderr=True)
    if not show:
        yield lambda voxels: None
        return
    if not target.is_terminal:
        yield _Lines(title, total_voxels).advance
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        _Rate(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=target) as bar:
        task = bar.add_task(title, total=total_voxels)
        yield lambda voxels: bar.advance(task, voxels)


class _Lines:
    """A log line about every tenth of the way."""

    def __init__(self, title: str, total_voxels: int) -> None:
        self._title = title
        self._total = max(total_voxels, 1)
        self._done = 0
        self._tenths = 0
        self._start = time.monotonic()

    def advance(self, voxels: int) -> None:
        """Count voxels, and tell if another tenth is full."""
        self._done += voxels
        tenths = 10 * self._done // self._total
        if tenths == self._tenths:
            return
        self._tenths = tenths
        rate = self._done / max(time.monotonic() - self._start, 1e-9)
        logger.info(
            "%s: %.0f %% at %.2f Mvoxel/s, %.0f s left",
            self._title,
            100 * self._done / self._total,
            rate / 1e6,
            (self._total - self._done) / rate,
        )
