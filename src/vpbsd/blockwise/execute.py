"""Run an operation on every block of a plan.

An executor is a function ``(plan, operation, on_done) -> Run``; :func:`run_serial` is the simplest
one. All executors share one meaning: a block that fails does not end the run, a run with a failed
block raises and names it, and errors that the next block would meet as well end the run at once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from vpbsd.blockwise.plan import Block, Plan
from vpbsd.errors import BlocksFailedError, DataError

__all__ = ["Executor", "OnDone", "Operation", "Run", "run_serial"]

logger = logging.getLogger(__name__)

Operation = Callable[[Block], Any]
"""Computes one block and stores its result; what it returns is small and handed to ``OnDone``."""

OnDone = Callable[[Block, Any], None]
"""Told about every block that succeeded: progress, ledger, sums."""

# What a single bad block raises: an unreadable chunk, NaN in the data, a failed allocation. Errors
# of other kinds (a disk that is full, a mistake in the program) would meet every block.
_OF_ONE_BLOCK = (DataError, MemoryError, RuntimeError, ValueError)
_GIVE_UP_AFTER = 16
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Run:
    """What an executor did: blocks done and wall time in seconds."""

    done: int
    seconds: float


class Executor(Protocol):
    """The signature that every executor has."""

    def __call__(self, plan: Plan, operation: Operation, on_done: OnDone, /) -> Run:
        """Run ``operation`` on all blocks of ``plan``."""
        ...


def run_serial(plan: Plan, operation: Operation, on_done: OnDone) -> Run:
    """Run the blocks one after the other in this process.

    Returns
    -------
    Run
        Only if every block succeeded.

    Raises
    ------
    BlocksFailedError
        After the last block, naming the failed ones and the first error (its ``__cause__``); or
        after 16 failures in a row, when going on makes no sense.
    """
    start = time.monotonic()
    failed: list[tuple[Block, Exception]] = []
    in_a_row = 0
    for block in plan:
        try:
            result = operation(block)
        except _OF_ONE_BLOCK as error:
            logger.warning("block %d (%s) failed: %s", block.index, block.write, error)
            failed.append((block, error))
            in_a_row += 1
            if in_a_row == _GIVE_UP_AFTER:
                break
            continue
        in_a_row = 0
        on_done(block, result)
    if failed:
        raise _failure(plan, failed, stopped=in_a_row == _GIVE_UP_AFTER) from failed[0][1]
    return Run(done=len(plan), seconds=time.monotonic() - start)


def _failure(
    plan: Plan, failed: list[tuple[Block, Exception]], *, stopped: bool
) -> BlocksFailedError:
    named = "; ".join(f"{block.index} ({block.write})" for block, _ in failed[:_NAMED])
    more = f" and {len(failed) - _NAMED} more" if len(failed) > _NAMED else ""
    given_up = f", and the run stopped after {_GIVE_UP_AFTER} failures in a row" if stopped else ""
    first = failed[0][1]
    return BlocksFailedError(
        f"{len(failed)} of {len(plan)} blocks failed: {named}{more}{given_up}; "
        f"the first error was {type(first).__name__}: {first}"
    )
