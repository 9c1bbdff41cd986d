"""The executor for everything parallel: Dask, with its own memory of nothing beside the ledger.

A worker gets the task once, as a plugin, and then only numbers of blocks. Few blocks are under way
at a time: when a worker dies, Dask counts a death against every block that was queued there.

A block whose worker dies again and again is given up by Dask as ``KilledWorker``. Its neighbour on
that worker may be innocent, so such blocks get one more chance at the end, each alone; earlier if
nothing else has come of the run yet, so that one whose every block is deadly ends soon.
"""

from __future__ import annotations

import logging
import math
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import Any

from distributed import Client, Future, KilledWorker, Worker, WorkerPlugin, as_completed
from distributed.client import ClosedClientError

from vpbsd.blockwise.clusters import DEATHS_FORGIVEN
from vpbsd.blockwise.interrupt import stops_allowed
from vpbsd.blockwise.task import BlockDone, BlockFailed, Event, Events, Task, attempt
from vpbsd.blockwise.workers import Workers
from vpbsd.errors import BlocksFailedError, WorkerDiedError

__all__ = ["run_dask"]

logger = logging.getLogger(__name__)

_WINDOW_PER_LANE = 2
_ASK_EVERY_SECONDS = 2.0
_POLL_SECONDS = 0.005
_GONE_SECONDS = 120
_EARLY_SUSPECTS = 4
# What the client raises while it notices that the scheduler is gone.
_LOST = (OSError, ClosedClientError, CancelledError)
_TASKS: dict[str, Task] = {}


class _HoldTask(WorkerPlugin):
    """Leave the task with every worker, also with those that start later."""

    def __init__(self, name: str, task: Task) -> None:
        self.name = name
        self._task = task

    def setup(self, worker: Worker) -> None:
        _TASKS[self.name] = self._task

    def teardown(self, worker: Worker) -> None:
        _TASKS.pop(self.name, None)


def _do(name: str, index: int, retries: int) -> BlockDone:
    return attempt(_TASKS[name], index, retries)


def run_dask(client: Client, task: Task, indices: Sequence[int], workers: Workers) -> Events:
    """Do the blocks on the workers of ``client``.

    Yields
    ------
    BlockDone or BlockFailed
        One for every index, in any order.

    Raises
    ------
    BlocksFailedError
        If the scheduler goes away.
    """
    plugin = _HoldTask(f"vpbsd-{uuid.uuid4().hex[:12]}", task)
    finished = False
    try:
        with stops_allowed():
            client.register_plugin(plugin)
        yield from _Submission(client, plugin.name, workers).events(indices)
        finished = True
    except _LOST as error:
        raise _scheduler_gone(workers) from error
    finally:
        # After a failure workers of our own end with the run, and may be ending now.
        if client.status == "running" and (finished or workers.scheduler is not None):
            with suppress(*_LOST):
                client.unregister_worker_plugin(plugin.name)


class _Submission:
    """Hands out blocks, a window of them at a time, and takes back what became of them."""

    def __init__(self, client: Client, name: str, workers: Workers) -> None:
        self._client = client
        self._name = name
        self._workers = workers
        self._crew = _Crew(client, workers)
        self._under_way: dict[Any, int] = {}
        # With their results, which else were asked for one by one, at some milliseconds each.
        self._completed = as_completed(loop=client.loop, with_results=True, raise_errors=False)

    def events(self, indices: Sequence[int]) -> Events:
        waiting = iter(indices)
        suspects: list[int] = []
        succeeded = False
        while True:
            early = not succeeded and len(suspects) >= _EARLY_SUSPECTS
            if not early:
                self._fill(waiting)
            if not self._under_way:
                if not suspects:
                    return
                event = self._alone(suspects.pop(0))
            else:
                event = self._next()
                if isinstance(event, BlockFailed) and isinstance(event.error, WorkerDiedError):
                    logger.warning("block %d: its worker died several times", event.index)
                    suspects.append(event.index)
                    continue
            succeeded = succeeded or isinstance(event, BlockDone)
            yield event

    def _fill(self, waiting: Iterator[int]) -> None:
        self._crew.look()
        while len(self._under_way) < self._crew.window:
            index = next(waiting, None)
            if index is None:
                return
            self._submit(index, f"{self._name}-{index}")

    def _alone(self, index: int) -> Event:
        logger.warning("block %d: trying it once more, alone", index)
        self._submit(index, f"{self._name}-{index}-alone")
        return self._next()

    def _submit(self, index: int, key: str) -> None:
        retries = self._workers.retries
        future = self._client.submit(_do, self._name, index, retries, key=key, pure=False)
        self._under_way[future.key] = index
        self._completed.add(future)

    def _next(self) -> Event:
        with stops_allowed():
            while not self._completed.has_ready():
                self._crew.look()
                time.sleep(_POLL_SECONDS)
        future, result = next(self._completed)
        return _event(future, result, self._under_way.pop(future.key), self._workers)


class _Crew:
    """The workers as they come and go.

    Attributes
    ----------
    window
        How many blocks may be under way: a few a lane.
    """

    def __init__(self, client: Client, workers: Workers) -> None:
        self.window = _WINDOW_PER_LANE * workers.lanes
        self._least = self.window
        self._client = client
        self._processes = 0 if workers.scheduler or workers.slurm_jobs else workers.processes
        self._asked = -math.inf
        self._seen = time.monotonic()

    def look(self) -> None:
        """Ask the scheduler who is there, every few seconds.

        Raises
        ------
        BlocksFailedError
            If local workers do not come back.
        """
        now = time.monotonic()
        if now - self._asked < _ASK_EVERY_SECONDS:
            return
        self._asked = now
        known: dict[str, Any] = self._client.scheduler_info(n_workers=-1)["workers"]
        lanes = sum(int(worker["nthreads"]) for worker in known.values())
        self.window = max(_WINDOW_PER_LANE * lanes, self._least)
        if known:
            self._seen = now
        elif self._processes and now - self._seen > _GONE_SECONDS:
            raise BlocksFailedError(
                f"all {self._processes} worker processes died and none has started within "
                f"{_GONE_SECONDS} s; the likely cause is too little memory: close other programs "
                "or choose fewer workers; finished blocks are kept, and the same command goes on "
                "from there"
            )


def _event(future: Future[Any], result: Any, index: int, workers: Workers) -> Event:
    if isinstance(result, BlockDone):
        return result
    if future.status != "error":
        raise _scheduler_gone(workers)
    _, error, _ = result  # as sys.exc_info() gives it
    if isinstance(error, KilledWorker):
        died = WorkerDiedError(
            f"its worker process was killed {DEATHS_FORGIVEN + 1} times while it was computed; the "
            "likely cause is too little memory: choose smaller blocks (--block-voxels) or fewer "
            "workers"
        )
        died.__cause__ = error
        return BlockFailed(index, died, DEATHS_FORGIVEN + 1)
    return BlockFailed(index, error, 1 + workers.retries)


def _scheduler_gone(workers: Workers) -> BlocksFailedError:
    return BlocksFailedError(
        f"the Dask scheduler of {workers} is gone; finished blocks are kept, and the same command "
        "goes on from there"
    )
