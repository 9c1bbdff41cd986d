"""SIGTERM, as sent by a batch system at the end of a job's time, stops a run in good order."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["Stopped", "dask_setup", "stop_on_sigterm"]


class Stopped(KeyboardInterrupt):
    """The run was asked to stop; what is finished is noted, and the same command goes on."""


@contextmanager
def stop_on_sigterm() -> Iterator[None]:
    """Raise :class:`Stopped` on SIGTERM and SIGINT.

    Does nothing outside the main thread, nor where somebody else handles a signal already: what
    stops in good order there (training, which segments to validate) knows better when.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        # A second one, from somebody who does not want to wait, finds Python's own handlers.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise Stopped("stopped; the same command goes on from there")

    pythons = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    free = [number for number, usual in pythons.items() if signal.getsignal(number) == usual]
    before = {number: signal.signal(number, stop) for number in free}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def dask_setup(worker: Any) -> None:
    """Leave Ctrl-C, which a terminal sends to all, to the process that hands out the blocks.

    Dask calls this in a worker process that preloads this module.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
