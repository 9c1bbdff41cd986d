"""SIGTERM, as sent by a batch system at the end of a job's time, stops a run in good order."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Stopped", "stop_on_sigterm"]


class Stopped(KeyboardInterrupt):
    """The run was asked to stop; what is finished is noted, and the same command goes on."""


@contextmanager
def stop_on_sigterm() -> Iterator[None]:
    """Raise :class:`Stopped` on SIGTERM and SIGINT; does nothing outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        # A second one, from somebody who does not want to wait, finds Python's own handlers.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise Stopped("stopped")

    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
