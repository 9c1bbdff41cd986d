"""A job in the process that was started for it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from vpbsd.blockwise.lock import only_run
from vpbsd.compare.runner.evaluation import evaluate_method
from vpbsd.compare.runner.jobs import Job
from vpbsd.compare.runner.pool import Tell
from vpbsd.compare.runner.training import time_steps, train_method, train_teacher
from vpbsd.machine import prepare_process

__all__ = ["work"]

_LOG = "log.txt"
_TELL_EVERY_SECONDS = 1.0
# A process whose comparison was killed ends with its next step; its successor waits for that.
_WAIT_SECONDS = 120.0


def work(job: Job, tell: Tell) -> None:
    """Do a job in its folder; what it has to say goes to ``log.txt`` there.

    Raises
    ------
    VpbsdError
        If it cannot be done; see there.
    StopRequested
        After SIGTERM, once the step is finished and saved.
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    lock = job.folder / ".lock"
    with only_run(lock, f"'{job.folder}'", wait_seconds=_WAIT_SECONDS), _logging(job):
        # Threads as the environment says, which was set before torch was loaded.
        prepare_process()
        on_step = _Steps(tell)
        if job.kind == "teacher":
            train_teacher(job, on_step)
        elif job.kind == "timing":
            time_steps(job, on_step)
        elif job.kind == "train":
            train_method(job, on_step)
        else:
            evaluate_method(job, tell)


class _Steps:
    """Tells about training, not more often than anyone looks."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._last = 0.0

    def __call__(self, stage: str, step: int, steps: int, losses: Mapping[str, float]) -> None:
        now = time.monotonic()
        if now - self._last >= _TELL_EVERY_SECONDS:
            self._last = now
            self._tell(f"{stage} {step}/{steps}")


@contextmanager
def _logging(job: Job) -> Iterator[None]:
    root = logging.getLogger("vpbsd")
    handler = logging.FileHandler(job.folder / _LOG, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    before = root.level, root.propagate
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    # Nothing of it on the terminal, where the progress of all jobs is shown.
    root.propagate = False
    # It tells every run which precision we told it to use.
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    try:
        root.info("%s", job.name)
        yield
    except KeyboardInterrupt as stopped:
        root.info("%s", stopped)
        raise
    finally:
        root.setLevel(before[0])
        root.propagate = before[1]
        root.removeHandler(handler)
        handler.close()
