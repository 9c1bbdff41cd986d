"""One run at a time into one output."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from vpbsd.errors import OutputError

__all__ = ["BusyError", "only_run"]


class BusyError(OutputError):
    """Another live process is writing the output."""


@contextmanager
def only_run(file: Path, what: str, *, wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold a lock that the operating system lets go of when the process dies, however it dies.

    Parameters
    ----------
    file
        The lock; it may be left behind, it is the lock on it that counts.
    what
        What nobody else may touch meanwhile, for the message.
    wait_seconds
        How long to wait for the other one; negative: for ever.

    Raises
    ------
    BusyError
        If another process holds it; the message says which.
    OutputError
        If the folder of the lock cannot be written; one that is not there is made.
    """
    lock = FileLock(file, timeout=wait_seconds)
    holder = file.with_suffix(".holder")
    try:
        lock.acquire()
    except Timeout as error:
        raise BusyError(
            f"another run is writing {what}{_who(holder)}; wait for it, or stop it and run this "
            "command again"
        ) from error
    except OSError as error:
        raise OutputError(f"cannot lock '{file}': {error.strerror}; check the folder") from error
    try:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        note = {"process": os.getpid(), "host": socket.gethostname(), "since": now}
        # Only a help for whoever is refused: a full disk must not stop a run that may free it.
        with contextlib.suppress(OSError):
            holder.write_text(json.dumps(note), encoding="utf-8")
        yield
    finally:
        with contextlib.suppress(OSError):
            holder.unlink(missing_ok=True)
        lock.release()


def _who(holder: Path) -> str:
    try:
        note = json.loads(holder.read_text(encoding="utf-8"))
        return f" (process {note['process']} on {note['host']} since {note['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
