"""Progress of a run in voxels, on stderr, where a terminal shows it."""

from __future__ import annotations

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

    Parameters
    ----------
    title
        Shown in front.
    total_voxels
        At which the bar is full.
    show
        Off: nothing is shown. Neither is it where the console is no terminal.
    console
        By default one on stderr, so that stdout stays free for results.
    """
    target = console or Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        _Rate(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=target, disable=not (show and target.is_terminal)) as bar:
        task = bar.add_task(title, total=total_voxels)
        yield lambda voxels: bar.advance(task, voxels)
