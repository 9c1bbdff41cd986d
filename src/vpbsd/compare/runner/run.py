"""A whole comparison: data, teachers, methods, results; what is done stays done.

::

    OUT/compare.yaml          the effective comparison
    OUT/data/                 simulated volumes
    OUT/DATASET/...           runs, see :mod:`vpbsd.compare.runner.jobs`
    OUT/results.jsonl         one line for each method, seed, data set and volume
    OUT/tables/               made from it
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vpbsd.blockwise.lock import only_run
from vpbsd.compare.results.lines import ResultLine, append_result, read_results
from vpbsd.compare.runner.datasets import open_dataset
from vpbsd.compare.runner.evaluation import RESULTS, failed_lines
from vpbsd.compare.runner.jobs import Job, plan_jobs
from vpbsd.compare.runner.pool import Outcome, Watch, run_tasks
from vpbsd.compare.runner.records import is_done, refuse_changed
from vpbsd.compare.runner.work import work
from vpbsd.config import CompareConfig, save_config
from vpbsd.errors import ConfigError, OutputError

__all__ = ["Compared", "run_comparison"]

logger = logging.getLogger(__name__)

_MARKER = "compare.yaml"
_ERROR_LOG = "error.log"


@dataclass(frozen=True)
class Compared:
    """What a comparison did.

    Attributes
    ----------
    results
        File of result lines.
    done, earlier
        Jobs done now, and by earlier runs.
    failed, blocked
        Jobs that failed, and those that need one of them, each with the reason.
    evaluated
        Evaluations that are done, earlier ones included.
    """

    results: Path
    done: int
    earlier: int
    failed: Mapping[str, str]
    blocked: Mapping[str, str]
    evaluated: tuple[Job, ...] = ()


def run_comparison(
    config: CompareConfig, out: Path, *, workers: int = 1, watch: Watch | None = None
) -> Compared:
    """Do every job of a comparison that is not done yet.

    Parameters
    ----------
    config
        Methods, seeds, data sets and budget.
    out
        A new folder, or that of an earlier run of this comparison, which goes on.
    workers
        Processes at a time, with one thread each.
    watch
        Told how it goes.

    Raises
    ------
    ConfigError, DataError, MissingExtraError
        If the comparison cannot be done; before anything is trained.
    CheckpointError
        If a folder was begun with other settings or data.
    OutputError
        If the folder holds something else, or another run is filling it.
    KeyboardInterrupt
        After Ctrl-C or SIGTERM, once every process has saved what it can.
    """
    if workers < 1:
        raise ConfigError(f"at least one worker is needed, got --workers {workers}")
    _claim(out, config)
    with only_run(out / ".lock", f"'{out}'"):
        datasets = [open_dataset(dataset, out) for dataset in config.datasets]
        jobs = plan_jobs(config, datasets, out)
        refuse_changed(jobs)
        save_config(config, out / _MARKER)
        todo = [job for job in jobs if not is_done(job)]
        _require_environments(todo)
        earlier = len(jobs) - len(todo)
        logger.info("%d jobs, %d of them done earlier", len(jobs), earlier)
        keeper = _Keeper(out / RESULTS, jobs, watch)
        keeper.take_over([job for job in jobs if job not in todo])
        outcomes = run_tasks(todo, work, workers, keeper)
    undone = {name: outcome for name, outcome in outcomes.items() if outcome.state != "done"}
    own = {name: o.sentence for name, o in undone.items() if o.state != "blocked"}
    blocked = {name: o.sentence for name, o in undone.items() if o.state == "blocked"}
    evaluated = tuple(j for j in jobs if j.kind == "evaluate" and j.name not in undone)
    return Compared(out / RESULTS, len(todo) - len(undone), earlier, own, blocked, evaluated)


class _Keeper:
    """Takes result lines into the one file of all, and passes the news on."""

    def __init__(self, results: Path, jobs: Sequence[Job], watch: Watch | None) -> None:
        self._results, self._watch = results, watch
        self._jobs = {job.name: job for job in jobs}

    def take_over(self, done: Sequence[Job]) -> None:
        """Make sure that the lines of jobs that were done earlier are there."""
        known = {}
        if self._results.exists():
            known = {line.key: line for line in read_results(self._results)}
        for job in done:
            for line in _lines(job):
                if known.get(line.key) != line:
                    append_result(self._results, line)

    def planned(self, names: Sequence[str]) -> None:
        """Pass on."""
        if self._watch is not None:
            self._watch.planned(names)

    def started(self, name: str) -> None:
        """Pass on."""
        if self._watch is not None:
            self._watch.started(name)

    def told(self, name: str, news: str) -> None:
        """Pass on."""
        if self._watch is not None:
            self._watch.told(name, news)

    def ended(self, name: str, outcome: Outcome) -> None:
        """Keep results, or why there are none."""
        job = self._jobs[name]
        if outcome.state == "done":
            for line in _lines(job):
                append_result(self._results, line)
        elif outcome.state != "stopped":
            self._note_failure(job, outcome)
        if self._watch is not None:
            self._watch.ended(name, outcome)

    def _note_failure(self, job: Job, outcome: Outcome) -> None:
        logger.error("%s: %s", job.name, outcome.sentence)
        if outcome.trace:
            job.folder.mkdir(parents=True, exist_ok=True)
            (job.folder / _ERROR_LOG).write_text(outcome.trace, "utf-8")
        if job.kind == "evaluate":
            for line in failed_lines(job, outcome.sentence):
                append_result(self._results, line)


def _require_environments(jobs: Sequence[Job]) -> None:
    """Refuse to begin where a method's own environment is missing, before hours are spent."""
    external = {job.method.key: job.method for job in jobs if job.method.how == "external"}
    for method in external.values():
        method.load().require()


def _lines(job: Job) -> list[ResultLine]:
    """Return the result lines of a job that is done; only evaluations have any."""
    return read_results(job.folder / RESULTS) if job.kind == "evaluate" else []


def _claim(out: Path, config: CompareConfig) -> None:
    """Make ``out`` the folder of a comparison, or refuse it."""
    marker = out / _MARKER
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not marker.exists())):
        raise OutputError(f"'{out}' exists and holds no comparison; name another folder with -o")
    if not marker.exists():
        out.mkdir(parents=True, exist_ok=True)
        save_config(config, marker)
