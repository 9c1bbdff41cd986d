"""Run an operation on every block of a plan, wherever the work is done.

::

    run_blocks ──► executor(task, indices) ──► events: BlockDone, BlockFailed ──► log, progress

An executor is a function that yields one event for every block, in any order. All share one
meaning: a block is tried again a bounded number of times; one that fails for good does not stop
the others; at the end the run raises and names it; and the ledger holds what is finished, so that
the same call later does only what is missing. Errors that the next block would meet as well (a
full disk) end the run at once.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from vpbsd.blockwise.interrupt import Stopped, stop_on_sigterm, stops_allowed, stops_held
from vpbsd.blockwise.ledger import MISSING, Ledger
from vpbsd.blockwise.plan import Block, Plan
from vpbsd.blockwise.task import (
    BlockDone,
    BlockFailed,
    Event,
    Events,
    Operation,
    Task,
    attempt,
    is_fatal,
)
from vpbsd.blockwise.workers import Part, Workers
from vpbsd.errors import BlocksFailedError, OutputError, UserError, WorkerDiedError

__all__ = [
    "Executor",
    "OnDone",
    "Run",
    "failures_in_kind",
    "open_executor",
    "run_blocks",
    "run_serial",
]

logger = logging.getLogger(__name__)

OnDone = Callable[[Block, BlockDone], None]
"""Told about every block that succeeded, for the progress bar."""

Executor = Callable[[Task, Sequence[int]], Events]
"""Does blocks of a task and yields an event for each; when closed, it takes no new ones."""

_GIVE_UP_AFTER = 16
# Each of these took several workers with it, and half a minute.
_GIVE_UP_AFTER_DEATHS = 4
_NAMED = 5


@contextmanager
def failures_in_kind() -> Iterator[None]:
    """Where the data are at fault, not the run, say so in the kind of error as well.

    Raises
    ------
    UserError
        Of the kind that the last block failed with, in place of a `BlocksFailedError`.
    """
    try:
        yield
    except BlocksFailedError as error:
        if isinstance(error.__cause__, UserError):
            raise type(error.__cause__)(str(error)) from error
        raise


@dataclass(slots=True)
class Run:
    """What a run did.

    Attributes
    ----------
    done, skipped
        Blocks finished now, and blocks that were finished before.
    missing
        Blocks of the plan that other parts have still to do.
    count
        Sum of what all finished blocks of the plan left behind, earlier runs included.
    elsewhere
        Another part has completed the whole and cleared the ledger; ``count`` is not known.
    seconds
        Wall time.
    read_seconds, compute_seconds, write_seconds
        Summed over the blocks done now and over all workers.
    failed
        Blocks that were given up; empty in what :func:`run_blocks` returns.
    """

    done: int = 0
    skipped: int = 0
    missing: int = 0
    count: int = 0
    seconds: float = 0.0
    read_seconds: float = 0.0
    compute_seconds: float = 0.0
    write_seconds: float = 0.0
    elsewhere: bool = False
    failed: list[BlockFailed] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether every block of the plan is finished."""
        return self.missing == 0 and not self.failed

    @property
    def io_share(self) -> float:
        """Reading and writing over the sum of all three steps, of the blocks done now."""
        io = self.read_seconds + self.write_seconds
        return io / max(io + self.compute_seconds, 1e-12)


def run_blocks(
    plan: Plan,
    operation: Operation,
    *,
    ledger: Ledger | None = None,
    workers: Workers | Executor | None = None,
    part: Part | None = None,
    on_done: OnDone | None = None,
    log: Path | None = None,
) -> Run:
    """Run ``operation`` on the blocks of ``plan`` that are not finished yet.

    Parameters
    ----------
    plan
        The blocks.
    operation
        What to do with each; must survive pickling unless the work is done in this process.
    ledger
        What is finished already, and where to note what gets finished; without one, all is done.
    workers
        Where the work is done, or an executor that is open; by default in this process.
    part
        Do only this share of the blocks.
    on_done
        Told about every block that succeeds.
    log
        A file that gets one JSON line a block: when, which, where, how long, or the error.

    Raises
    ------
    BlocksFailedError
        After the last block, naming the failed ones and the first error (its ``__cause__``).
    UserError
        Whatever would meet every block: a full disk, a missing library.
    Stopped
        On SIGTERM; blocks that were being computed in this process are finished first.
    """
    start, counts = time.monotonic(), _counts(plan, ledger)
    mine = range(len(plan)) if part is None else part.of(len(plan))
    todo = [i for i in mine if counts[i] == MISSING]
    run = Run(skipped=len(mine) - len(todo))
    with (
        _executor_of(workers) as execute,
        _Log(log) as lines,
        _in_good_order(run, len(mine)),
        stops_held(),
        closing(execute(Task(plan, operation, ledger), todo)) as events,
    ):
        for done in _successes(events, plan, run, lines):
            counts[done.index] = done.count
            if on_done is not None:
                on_done(plan[done.index], done)
    # Other parts went on meanwhile; whoever looks last sees all of them.
    alone = part is None or ledger is None
    _sum_up(run, counts if alone else _counts(plan, ledger))
    run.seconds = time.monotonic() - start
    if run.failed:
        raise _failure(plan, run, resumable=ledger is not None) from run.failed[0].error
    return run


def _counts(plan: Plan, ledger: Ledger | None) -> NDArray[np.int64]:
    total = len(plan)
    return np.full(total, MISSING, np.int64) if ledger is None else ledger.counts(total)


def _sum_up(run: Run, counts: NDArray[np.int64]) -> None:
    run.count = int(counts[counts != MISSING].sum())
    run.missing = int(np.count_nonzero(counts == MISSING)) - len(run.failed)


@contextmanager
def _in_good_order(run: Run, blocks: int) -> Iterator[None]:
    """Let SIGTERM and SIGINT end the run, and say how far it came."""
    with stop_on_sigterm():
        try:
            yield
        except Stopped:
            raise Stopped(
                f"stopped with {run.done + run.skipped} of {blocks} blocks finished; "
                "the same command goes on from there"
            ) from None


def _successes(events: Iterator[Event], plan: Plan, run: Run, lines: _Log) -> Iterator[BlockDone]:
    """Note every event in the log and the run; yield those of blocks that succeeded."""
    for event in events:
        lines.add(plan, event)
        if isinstance(event, BlockFailed):
            _note_failure(run, plan, event)
        else:
            _add(run, event)
            yield event


@contextmanager
def open_executor(workers: Workers) -> Iterator[Executor]:
    """Yield an executor whose workers are started at its first call and live until the end."""
    if workers.in_process:
        yield partial(run_serial, lanes=workers.lanes, retries=workers.retries)
        return
    with ExitStack() as stack:
        client: Any = None

        def on_dask(task: Task, indices: Sequence[int]) -> Events:
            nonlocal client
            if not indices:
                return
            from vpbsd.blockwise.clusters import connect
            from vpbsd.blockwise.on_dask import run_dask

            if client is None:
                with stops_allowed():
                    client = stack.enter_context(connect(workers))
            yield from run_dask(client, task, indices, workers)

        yield on_dask


@contextmanager
def _executor_of(workers: Workers | Executor | None) -> Iterator[Executor]:
    if workers is not None and not isinstance(workers, Workers):
        yield workers
        return
    with open_executor(workers or Workers()) as executor:
        yield executor


def run_serial(task: Task, indices: Sequence[int], *, lanes: int = 2, retries: int = 2) -> Events:
    """Do the blocks in this process, one computed at a time; the simplest executor."""
    waiting = iter(indices)
    running: dict[Future[BlockDone], int] = {}
    pool = ThreadPoolExecutor(max_workers=lanes, thread_name_prefix="lane")
    try:
        while True:
            while len(running) < lanes and (index := next(waiting, None)) is not None:
                running[pool.submit(attempt, task, index, retries)] = index
            if not running:
                return
            with stops_allowed():
                finished = wait(running, return_when=FIRST_COMPLETED).done
            for future in finished:
                yield _outcome(future, running.pop(future), retries)
    except Stopped:
        # What is being computed is finished and told; seconds of work are not thrown away.
        pool.shutdown(wait=True, cancel_futures=True)
        for future, index in running.items():
            if not future.cancelled():
                yield _outcome(future, index, retries)
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _outcome(future: Future[BlockDone], index: int, retries: int) -> Event:
    error = future.exception()
    return future.result() if error is None else BlockFailed(index, error, 1 + retries)


def _add(run: Run, event: BlockDone) -> None:
    run.done += 1
    run.read_seconds += event.read_seconds
    run.compute_seconds += event.compute_seconds
    run.write_seconds += event.write_seconds


def _note_failure(run: Run, plan: Plan, event: BlockFailed) -> None:
    if is_fatal(event.error) or not isinstance(event.error, Exception):
        raise event.error
    logger.warning("block %d (%s) failed: %s", event.index, plan[event.index].write, event.error)
    run.failed.append(event)
    if _hopeless(run):
        # Not one has succeeded: whatever is wrong is not the block.
        raise _failure(plan, run, resumable=False) from run.failed[0].error


def _hopeless(run: Run) -> bool:
    if run.done + run.skipped:
        return False
    deadly = all(isinstance(event.error, WorkerDiedError) for event in run.failed)
    return len(run.failed) >= (_GIVE_UP_AFTER_DEATHS if deadly else _GIVE_UP_AFTER)


def _failure(plan: Plan, run: Run, *, resumable: bool) -> BlocksFailedError:
    failed = sorted(run.failed, key=lambda event: event.index)
    named = "; ".join(
        f"{event.index} ({plan[event.index].write}; {type(event.error).__name__}: {event.error})"
        for event in failed[:_NAMED]
    )
    more = f" and {len(failed) - _NAMED} more" if len(failed) > _NAMED else ""
    if _hopeless(run):
        return BlocksFailedError(
            f"the first {len(failed)} of {len(plan)} blocks failed and none succeeded, so the run "
            f"stopped: {named}{more}"
        )
    again = ", and the same command tries only these again" if resumable else ""
    return BlocksFailedError(
        f"{len(failed)} of {len(plan)} blocks failed: {named}{more}; all others of this run are "
        f"finished{again}"
    )


class _Log:
    """One JSON line a block, appended; lines of earlier runs stay."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: TextIO | None = None

    def __enter__(self) -> _Log:
        if self._path is not None:
            with self._writing():
                self._file = self._path.open("a", encoding="utf-8", buffering=1)
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            # Of a line that did not fit on the disk, closing would complain once more.
            with suppress(OSError):
                self._file.close()

    def add(self, plan: Plan, event: Event) -> None:
        if self._file is None:
            return
        block = plan[event.index]
        line: dict[str, object] = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "block": event.index,
            "start": list(block.write.start),
            "stop": list(block.write.stop),
        }
        if isinstance(event, BlockDone):
            line |= {
                "status": "done",
                "count": event.count,
                "read_seconds": round(event.read_seconds, 6),
                "compute_seconds": round(event.compute_seconds, 6),
                "write_seconds": round(event.write_seconds, 6),
                "worker": event.worker,
            }
        else:
            line |= {
                "status": "failed",
                "attempts": event.attempts,
                "error": f"{type(event.error).__name__}: {event.error}",
            }
        with self._writing():
            self._file.write(json.dumps(line) + "\n")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(
                f"cannot write the log '{self._path}': {error.strerror}; make room or check the "
                "permissions, then run the same command again"
            ) from error
