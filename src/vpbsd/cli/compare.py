"""The verb ``compare``: a comparison to its end, and tables from results that are there."""

from __future__ import annotations

import argparse
import logging
import time
from collections import Counter
from collections.abc import Sequence
from statistics import fmean

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from vpbsd.cli.pictures import write_pictures
from vpbsd.cli.progress import clock, log_to
from vpbsd.cli.tables_and_figures import write_comparison
from vpbsd.compare.runner.pool import Outcome
from vpbsd.compare.runner.run import Compared, run_comparison
from vpbsd.config import find_recipe, load_comparison
from vpbsd.errors import ConfigError, JobsFailedError

__all__ = ["ComparisonProgress", "compare", "tables"]

logger = logging.getLogger(__name__)

_NAMED_FAILURES = 5


def compare(options: argparse.Namespace, console: Console) -> list[tuple[str, str]]:
    """Run a comparison and make its tables; returns what to tell.

    Raises
    ------
    ConfigError
        If no recipe or folder is named.
    JobsFailedError
        If jobs failed, after everything else is done.
    """
    if options.recipe is None or options.out is None:
        raise ConfigError(
            "name a recipe and a folder (vpbsd compare RECIPE -o OUT), or results that tables are "
            "made of (--tables DIR)"
        )
    config = load_comparison(find_recipe(options.recipe, "compare"))
    with (
        log_to(console, quiet=options.quiet),
        ComparisonProgress(console, options.workers, quiet=options.quiet) as watch,
    ):
        done = run_comparison(config, options.out, workers=options.workers, watch=watch)
    written = []
    if done.results.exists():
        written = write_comparison(done.results, options.out / "tables")
        written += write_pictures(done.evaluated, options.out / "pictures")
    _refuse_failures(done)
    return [
        ("results", str(done.results)),
        ("jobs", f"{done.done} done, {done.earlier} done earlier"),
        *(("wrote", str(path)) for path in written),
    ]


def tables(options: argparse.Namespace) -> list[tuple[str, str]]:
    """Make tables of result lines, without training anything; returns what to tell.

    Raises
    ------
    ConfigError
        If a recipe is named as well.
    DataError
        If there are no results.
    """
    if options.recipe is not None:
        raise ConfigError("--tables makes tables of results that are there: leave out the recipe")
    out = options.tables / "tables" if options.out is None else options.out
    return [("wrote", str(path)) for path in write_comparison(options.tables, out)]


def _refuse_failures(done: Compared) -> None:
    if not done.failed:
        return
    named = [f"{name}: {why}" for name, why in done.failed.items()][:_NAMED_FAILURES]
    more = len(done.failed) - len(named)
    named += [f"and {more} more"] if more else []
    behind = f", {len(done.blocked)} that need them were not begun" if done.blocked else ""
    raise JobsFailedError(
        f"{len(done.failed)} of the jobs failed{behind}; {done.done + done.earlier} are done, and "
        f"the same command tries the others again. {'; '.join(named)}"
    )


class ComparisonProgress:
    """Jobs done, running and time left, and how far each running one is; use it as a context.

    Parameters
    ----------
    console
        Where to draw; bars need a terminal there, else every job that ends is a line of the log.
    workers
        Jobs at a time.
    quiet
        Show nothing.
    """

    def __init__(self, console: Console, workers: int, *, quiet: bool = False) -> None:
        self._bars = console.is_terminal and not quiet
        self._left = TimeLeft(workers)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[news]}"),
            console=console,
            disable=not self._bars,
        )
        self._all = TaskID(0)
        self._running: dict[str, TaskID] = {}
        self._done = 0

    def __enter__(self) -> ComparisonProgress:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def planned(self, names: Sequence[str]) -> None:
        """Show how many jobs there are."""
        self._left.plan(names)
        self._all = self._progress.add_task("jobs", total=len(names), news="")

    def started(self, name: str) -> None:
        """Show a job that runs; started again, it is where it was."""
        self._left.start(name)
        if name not in self._running:
            self._running[name] = self._progress.add_task(name, total=None, news="")

    def told(self, name: str, news: str) -> None:
        """Show how far a job is."""
        self._progress.update(self._running[name], news=news)

    def ended(self, name: str, outcome: Outcome) -> None:
        """Count a job, whatever became of it."""
        self._done += 1
        self._left.end(name)
        if name in self._running:
            self._progress.remove_task(self._running.pop(name))
        left = self._left.seconds()
        news = "" if left is None else f"about {clock(left)} left"
        self._progress.update(self._all, completed=self._done, news=news)
        if not self._bars:
            what = f"{self._done}/{self._left.total} {name}: {outcome.state}"
            logger.info("%s", ", ".join(part for part in (what, news) if part))


class TimeLeft:
    """From what jobs of each kind took so far: evaluations are short, trainings are not.

    Parameters
    ----------
    workers
        Jobs at a time.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._waiting: Counter[str] = Counter()
        self._began: dict[str, float] = {}
        self._took: dict[str, list[float]] = {}
        self.total = 0

    def plan(self, names: Sequence[str]) -> None:
        """Note what there is to do."""
        self._waiting.update(_kind(name) for name in names)
        self.total = len(names)

    def start(self, name: str) -> None:
        """Note when a job began."""
        self._began[name] = time.monotonic()

    def end(self, name: str) -> None:
        """Note how long a job took."""
        self._waiting[_kind(name)] -= 1
        if name in self._began:
            took = time.monotonic() - self._began.pop(name)
            self._took.setdefault(_kind(name), []).append(took)

    def seconds(self) -> float | None:
        """Return the time until all is done; None before any job has ended."""
        if not self._took:
            return None
        usual = fmean(seconds for kind in self._took.values() for seconds in kind)
        work = sum(
            count * (fmean(self._took[kind]) if kind in self._took else usual)
            for kind, count in self._waiting.items()
        )
        return work / self._workers


def _kind(name: str) -> str:
    return name.partition(" ")[0]
