"""SIGTERM, as sent by a batch system at the end of a job's time, stops a run in good order.

A signal may come between any two steps of the main thread. Where a finished block is being told
about, a stop in between would lose sight of it, so it is held there and raised at the next place
that allows it::

    with stop_on_sigterm():          # from here on, SIGTERM and SIGINT raise Stopped
        with stops_held():           # but not while books are kept
            with stops_allowed():    # only where nothing is lost: waiting for the next block
                wait(…)
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

__all__ = ["Stopped", "dask_setup", "stop_on_sigterm", "stops_allowed", "stops_held"]


class Stopped(KeyboardInterrupt):
    """The run was asked to stop; what is finished is noted, and the same command goes on."""


@dataclass(slots=True)
class _Door:
    """Whether a stop may be raised now, and whether one waits; one a process, as signals are."""

    held: bool = False
    waiting: bool = False

    def knock(self) -> None:
        if self.held:
            self.waiting = True
        else:
            self.open()

    def open(self) -> None:
        self.waiting = False
        raise Stopped("stopped; the same command goes on from there")


_door = _Door()


@contextmanager
def stop_on_sigterm() -> Iterator[None]:
    """Raise :class:`Stopped` on SIGTERM and SIGINT.

    Does nothing outside the main thread, nor where somebody else handles a signal already: what
    stops in good order there (training, which segments to validate) knows better when.
    """
    if not _in_main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        # A second one, from somebody who does not want to wait, finds Python's own handlers.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _door.knock()

    pythons = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    free = [number for number, usual in pythons.items() if signal.getsignal(number) == usual]
    before = {number: signal.signal(number, stop) for number in free}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if before:
            # The run ended in an error before the stop was let through; the next run is another.
            _door.waiting = False


@contextmanager
def stops_held() -> Iterator[None]:
    """Put off a stop until :func:`stops_allowed`, or the end of this block, in the main thread."""
    with _holding(True):
        yield
    if _door.waiting and _in_main_thread():
        _door.open()


@contextmanager
def stops_allowed() -> Iterator[None]:
    """Let a stop through, one that waits at once; where none is held, nothing changes."""
    with _holding(False):
        if _door.waiting and _in_main_thread():
            _door.open()
        yield


@contextmanager
def _holding(held: bool) -> Iterator[None]:
    if not _in_main_thread():
        yield
        return
    before, _door.held = _door.held, held
    try:
        yield
    finally:
        _door.held = before


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def dask_setup(worker: Any) -> None:
    """Leave Ctrl-C, which a terminal sends to all, to the process that hands out the blocks.

    Dask calls this in a worker process that preloads this module.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
