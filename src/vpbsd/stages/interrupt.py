"""Ctrl-C and SIGTERM finish the step and save it; a second one stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Stop", "StopRequested", "stop_on_signal"]


class StopRequested(KeyboardInterrupt):
    """The user or the scheduler asked to stop; everything up to the last step is saved."""

    def __init__(self, stage: str, step: int, steps: int) -> None:
        super().__init__(
            f"stopped {stage} at step {step} of {steps}; the same command goes on from there"
        )


class Stop:
    """Whether a stop was asked for."""

    requested = False


@contextmanager
def stop_on_signal() -> Iterator[Stop]:
    """Turn the first SIGINT or SIGTERM into ``Stop.requested``; leave the second to Python."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stop.requested:
            raise KeyboardInterrupt
        stop.requested = True

    previous = {s: signal.signal(s, on_signal) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
