"""Jobs on processes, several at a time, each after those that it needs.

Every job has a process of its own, started afresh: the memory it takes at most is its own, and a
process that is killed takes one job with it, which is known by name and tried once more.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, Literal, Protocol, TypeVar, cast

from vpbsd.errors import VpbsdError, WorkerDiedError
from vpbsd.malloc import malloc_environment

__all__ = ["Act", "Outcome", "Tell", "Watch", "run_tasks"]

logger = logging.getLogger(__name__)

State = Literal["done", "failed", "died", "stopped", "blocked"]
Tell = Callable[[str], None]
"""Tells the process that hands out the tasks how far one is."""

_POLL_SECONDS = 0.5
_TRIES = 2
_END_SECONDS = 10.0


class Task(Protocol):
    """What is known of a task here; it is sent to the process that does it."""

    @property
    def name(self) -> str:
        """Unique."""
        ...

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the tasks that must be done before."""
        ...


T = TypeVar("T", bound=Task)
Act = Callable[[T, Tell], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a task.

    Attributes
    ----------
    state
        ``died``: its process was killed, twice; ``blocked``: a task that it needs is not done.
    sentence
        Why it is not done.
    trace
        Where it failed.
    seconds
        That it took.
    """

    state: State
    sentence: str = ""
    trace: str = ""
    seconds: float = 0.0


class Watch(Protocol):
    """Whoever wants to know how it goes."""

    def planned(self, names: Sequence[str]) -> None:
        """Hear what there is to do."""

    def started(self, name: str) -> None:
        """Hear that a task was handed to a process."""

    def told(self, name: str, news: str) -> None:
        """Hear from a task how far it is."""

    def ended(self, name: str, outcome: Outcome) -> None:
        """Hear that a task is done, or will not be."""


def run_tasks(
    tasks: Sequence[T], act: Act[T], workers: int, watch: Watch, *, threads: int = 1
) -> dict[str, Outcome]:
    """Do every task in a process of its own; one that fails stops those that need it alone.

    Parameters
    ----------
    tasks
        In the order in which they are preferred. What they need and is not among them counts as
        done.
    act
        Does a task; a function that another process can import.
    workers
        How many at a time.
    watch
        Told about all of it.
    threads
        That each computes with.

    Returns
    -------
    dict
        What became of every task, by name.

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C or SIGTERM, once every process has saved what it can; at once after a second.
    """
    # Loads torch, which the processes that tasks are sent to may not need.
    from vpbsd.stages.interrupt import stop_on_signal

    watch.planned([task.name for task in tasks])
    crew = _Crew(_Queue(tasks), act, watch, threads)
    with stop_on_signal() as stop:
        try:
            while crew.fill(0 if stop.requested else workers):
                crew.listen()
                if stop.requested:
                    crew.stop()
        finally:
            crew.kill()
    if stop.requested:
        done = sum(o.state == "done" for o in crew.queue.outcomes.values())
        raise KeyboardInterrupt(
            f"stopped with {done} of {len(tasks)} jobs done; the same command goes on from there"
        )
    return crew.queue.outcomes


class _Queue(Generic[T]):
    """What waits, what is done, and what never will be."""

    def __init__(self, tasks: Sequence[T]) -> None:
        self._waiting = list(tasks)
        self.outcomes: dict[str, Outcome] = {}
        self._open = {task.name for task in tasks}

    def next(self) -> T | None:
        """Take the first task that needs nothing any more."""
        for task in self._waiting:
            if not self._open & set(task.needs):
                self._waiting.remove(task)
                return task
        return None

    def again(self, task: T) -> None:
        """Put a task back, first in line."""
        self._waiting.insert(0, task)

    def settle(self, name: str, outcome: Outcome) -> dict[str, Outcome]:
        """Note what became of a task; returns that and what it means for those behind it."""
        settled = {name: outcome}
        if outcome.state == "done":
            self._open.discard(name)
        elif outcome.state != "stopped":
            reason = f"it needs '{name}', which failed: {outcome.sentence}"
            settled |= {task: Outcome("blocked", reason) for task in self._blocked_by(name)}
        self.outcomes |= settled
        return settled

    def _blocked_by(self, name: str) -> list[str]:
        """Take out all that will never be possible, directly or through others."""
        blocked = [task.name for task in self._waiting if name in task.needs]
        self._waiting = [task for task in self._waiting if task.name not in blocked]
        return blocked + [further for other in blocked for further in self._blocked_by(other)]


@dataclass
class _Worker(Generic[T]):
    """A process and the task it does."""

    task: T
    process: Any
    connection: Connection
    outcome: Outcome | None = None
    began: float = field(default_factory=time.monotonic)


class _Crew(Generic[T]):
    """The processes under way."""

    def __init__(self, queue: _Queue[T], act: Act[T], watch: Watch, threads: int) -> None:
        self.queue, self._act, self._watch, self._threads = queue, act, watch, threads
        self._workers: dict[Connection, _Worker[T]] = {}
        self._tries: dict[str, int] = {}
        self._stopping = False

    def fill(self, workers: int) -> bool:
        """Start tasks while there is room; returns whether any is under way."""
        while len(self._workers) < workers and (task := self.queue.next()) is not None:
            self._start(task)
        return bool(self._workers)

    def listen(self) -> None:
        """Wait a moment for what the processes say, and for those that end."""
        for ready in wait(list(self._workers), timeout=_POLL_SECONDS):
            worker = self._workers[cast(Connection, ready)]
            try:
                news = worker.connection.recv()
            except (EOFError, OSError):
                self._ended(worker)
                continue
            if isinstance(news, Outcome):
                worker.outcome = news
            else:
                self._watch.told(worker.task.name, str(news))

    def stop(self) -> None:
        """Ask every process, once, to save what it has and end."""
        if not self._stopping:
            self._stopping = True
            for worker in self._workers.values():
                worker.process.terminate()

    def kill(self) -> None:
        """End what is still under way."""
        for worker in self._workers.values():
            worker.process.kill()
            worker.process.join(_END_SECONDS)
            worker.connection.close()
        self._workers.clear()

    def _start(self, task: T) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        # A daemon, so that none outlives a comparison that breaks down.
        process = context.Process(
            target=_work, args=(theirs, self._act, task), name=task.name, daemon=True
        )
        with _environment(self._threads), _without_interrupts():
            process.start()
        theirs.close()
        self._tries[task.name] = self._tries.get(task.name, 0) + 1
        self._workers[ours] = _Worker(task, process, ours)
        self._watch.started(task.name)

    def _ended(self, worker: _Worker[T]) -> None:
        del self._workers[worker.connection]
        worker.connection.close()
        worker.process.join()
        outcome = worker.outcome
        if outcome is None or (outcome.state == "stopped" and not self._stopping):
            outcome = self._without_a_word(worker)
        if outcome is None:
            self.queue.again(worker.task)
            return
        seconds = time.monotonic() - worker.began
        outcome = Outcome(outcome.state, outcome.sentence, outcome.trace, seconds)
        for name, settled in self.queue.settle(worker.task.name, outcome).items():
            self._watch.ended(name, settled)

    def _without_a_word(self, worker: _Worker[T]) -> Outcome | None:
        """Return what to make of a process that ended without an outcome; None = try again."""
        name = worker.task.name
        if self._stopping:
            return Outcome("stopped")
        died = WorkerDiedError(_how_it_died(worker))
        if self._tries[name] < _TRIES:
            logger.warning("%s: %s; trying it once more", name, died)
            return None
        return Outcome("died", f"{_TRIES} times {died}")


def _how_it_died(worker: _Worker[T]) -> str:
    """Say how a process ended that should have gone on; one that was stopped could say so."""
    if worker.outcome is not None:
        return "its process was asked from outside to stop"
    code = worker.process.exitcode or 0
    if code == -signal.SIGKILL:
        return (
            "its process was killed (SIGKILL), most often for lack of memory: use fewer --workers"
        )
    if code < 0:
        return f"its process was ended by a signal ({signal.strsignal(-code)})"
    return f"its process ended without a result (exit code {code})"


def _work(connection: Connection, act: Act[T], task: T) -> None:
    """Do one task and say what became of it."""

    def tell(news: str) -> None:
        try:
            connection.send(news)
        except OSError as error:
            raise KeyboardInterrupt("the process that handed out this task is gone") from error

    try:
        act(task, tell)
    except VpbsdError as error:
        connection.send(_failed(error, str(error)))
    except KeyboardInterrupt as stopped:
        connection.send(Outcome("stopped", str(stopped)))
    except Exception as error:
        connection.send(_failed(error, f"unexpected {type(error).__name__}: {error}"))
        raise SystemExit(1) from error
    else:
        connection.send(Outcome("done"))


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Start a process that Ctrl-C does not reach.

    A terminal sends it to all processes of a command; what to do about it is decided in one place.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _failed(error: Exception, sentence: str) -> Outcome:
    return Outcome("failed", sentence, "".join(traceback.format_exception(error)))


@contextmanager
def _environment(threads: int) -> Iterator[None]:
    """Set what must stand in the environment of a process before it imports anything."""
    wanted = {"OMP_WAIT_POLICY": "PASSIVE", **malloc_environment()}
    wanted |= {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
