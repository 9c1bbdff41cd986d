"""One block as a task: read, compute, write, then note it in the ledger.

The three steps of an operation each hold a lock of the process. With two lanes (threads) to a
process, the next block is thus read and the last one written while one is computed, and never are
two computed at once: memory holds one block's computation, whatever the number of lanes.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Protocol

from vpbsd.blockwise.ledger import Ledger
from vpbsd.blockwise.plan import Block, Plan

__all__ = [
    "BlockDone",
    "BlockFailed",
    "Event",
    "Events",
    "Function",
    "Operation",
    "Task",
    "attempt",
    "is_fatal",
]


class Operation(Protocol):
    """What is done to every block. It can be pickled, and opens files when it first needs them."""

    def read(self, block: Block) -> Any:
        """Return what :meth:`compute` needs."""
        ...

    def compute(self, block: Block, data: Any) -> Any:
        """Return the result; the only step that may take much memory or many threads."""
        ...

    def write(self, block: Block, result: Any) -> int:
        """Store the result for good; returns a number of at least 0 to be summed up."""
        ...


@dataclass(frozen=True, slots=True)
class Function:
    """An operation that is one function of a block, for results that stay in memory."""

    function: Callable[[Block], int | None]

    def read(self, block: Block) -> None:
        """Nothing."""

    def compute(self, block: Block, data: None) -> int | None:
        """Call the function."""
        return self.function(block)

    def write(self, block: Block, result: int | None) -> int:
        """Hand on what the function returned."""
        return result or 0


@dataclass(frozen=True, slots=True)
class BlockDone:
    """A finished block, the number it left behind, and where the time (seconds) went."""

    index: int
    count: int
    read_seconds: float
    compute_seconds: float
    write_seconds: float
    worker: str


@dataclass(frozen=True, slots=True)
class BlockFailed:
    """A block that was given up, and the last error."""

    index: int
    error: BaseException
    attempts: int


Event = BlockDone | BlockFailed

Events = Generator[Event, None, None]


class _Lanes:
    """Locks of this process; they are not carried to another one."""

    read = threading.Lock()
    compute = threading.Lock()
    write = threading.Lock()


@dataclass(frozen=True, slots=True)
class Task:
    """Everything a worker needs; called with the index of a block."""

    plan: Plan
    operation: Operation
    ledger: Ledger | None = None

    def __call__(self, index: int) -> BlockDone:
        """Do one block; raises whatever its operation raises."""
        block = self.plan[index]
        with _Lanes.read:
            start = time.perf_counter()
            data = self.operation.read(block)
            read = time.perf_counter() - start
        with _Lanes.compute:
            start = time.perf_counter()
            result = self.operation.compute(block, data)
            del data
            compute = time.perf_counter() - start
        with _Lanes.write:
            start = time.perf_counter()
            count = self.operation.write(block, result)
            if self.ledger is not None:
                self.ledger.record(index, count)
            write = time.perf_counter() - start
        return BlockDone(
            index, count, read, compute, write, f"{socket.gethostname()}:{os.getpid()}"
        )


def attempt(task: Task, index: int, retries: int) -> BlockDone:
    """Call ``task`` until it succeeds, at most ``1 + retries`` times; raises the last error."""
    for _ in range(retries):
        try:
            return task(index)
        except Exception as error:
            if is_fatal(error):
                raise
            continue
    return task(index)


def is_fatal(error: BaseException) -> bool:
    """Whether the next block would meet the same error: a disk that is full, a missing library."""
    from vpbsd.errors import ConfigError, MissingExtraError, OutputError

    return isinstance(error, (OutputError, ConfigError, MissingExtraError))
