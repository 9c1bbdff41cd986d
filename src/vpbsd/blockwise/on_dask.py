"""The executor for everything parallel: Dask, with its own memory of nothing beside the ledger.

A worker gets the task once, as a plugin, and then only numbers of blocks. Few blocks are under way
at a time: when a worker dies, Dask counts a death against every block that was queued there.

A block whose worker dies again and again is given up by Dask as ``KilledWorker``. Its neighbour on
that worker may be innocent, so such blocks get one more chance at the end, each alone.
"""

from __future__ import annotations

import logging
import math
import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from distributed import Client, Future, KilledWorker, Worker, WorkerPlugin, as_completed

from vpbsd.blockwise.clusters import DEATHS_FORGIVEN
from vpbsd.blockwise.task import BlockDone, BlockFailed, Event, Task, attempt
from vpbsd.blockwise.workers import Workers
from vpbsd.errors import BlocksFailedError, WorkerDiedError

__all__ = ["run_dask"]

logger = logging.getLogger(__name__)

_WINDOW_PER_LANE = 2
_ASK_EVERY_SECONDS = 2.0
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


def run_dask(
    client: Client, task: Task, indices: Sequence[int], workers: Workers
) -> Iterator[Event]:
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
    client.register_plugin(plugin)
    try:
        yield from _windowed(client, plugin.name, indices, workers)
    finally:
        if client.status == "running":
            client.unregister_worker_plugin(plugin.name)


def _windowed(
    client: Client, name: str, indices: Sequence[int], workers: Workers
) -> Iterator[Event]:
    suspects: list[int] = []
    waiting = iter(indices)
    window = _Window(client, workers)
    under_way: dict[Any, int] = {}
    completed = as_completed(loop=client.loop)

    def submit(index: int) -> None:
        future = client.submit(_do, name, index, workers.retries, key=f"{name}-{index}", pure=False)
        under_way[future.key] = index
        completed.add(future)

    def fill() -> None:
        while len(under_way) < window.size:
            index = next(waiting, None)
            if index is None:
                return
            submit(index)

    fill()
    for future in completed:
        index = under_way.pop(future.key)
        event = _event(future, index, workers)
        future.release()
        if isinstance(event, BlockFailed) and isinstance(event.error, WorkerDiedError):
            suspects.append(index)
        else:
            yield event
        fill()
    for index in sorted(suspects):
        logger.warning("block %d: its worker died several times; trying it once more, alone", index)
        future = client.submit(
            _do, name, index, workers.retries, key=f"{name}-{index}-alone", pure=False
        )
        event = _event(future, index, workers)
        future.release()
        yield event


class _Window:
    """How many blocks may be under way: a few a lane, whatever joins or leaves the cluster."""

    def __init__(self, client: Client, workers: Workers) -> None:
        self._client = client
        self._least = workers.lanes
        self._size = 0
        self._asked = -math.inf

    @property
    def size(self) -> int:
        now = time.monotonic()
        if now - self._asked > _ASK_EVERY_SECONDS:
            known: dict[str, Any] = self._client.scheduler_info(n_workers=-1)["workers"]
            lanes = sum(int(worker["nthreads"]) for worker in known.values())
            self._size = _WINDOW_PER_LANE * max(lanes, self._least)
            self._asked = now
        return self._size


def _event(future: Future[Any], index: int, workers: Workers) -> Event:
    error = future.exception()  # waits for the block
    if future.status == "finished":
        done: BlockDone = future.result()
        return done
    if future.status in ("cancelled", "lost") or error is None:
        raise BlocksFailedError(
            f"the Dask scheduler of {workers} is gone; finished blocks are kept, and the same "
            "command goes on from there"
        )
    if isinstance(error, KilledWorker):
        died = WorkerDiedError(
            f"its worker process was killed {DEATHS_FORGIVEN + 1} times while it was computed; the "
            "likely cause is too little memory: choose smaller blocks (--block-voxels) or fewer "
            "workers"
        )
        died.__cause__ = error
        return BlockFailed(index, died, DEATHS_FORGIVEN + 1)
    return BlockFailed(index, error, 1 + workers.retries)
