"""Tasks for the pool that worker processes can import."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from vpbsd.compare.runner.pool import Tell
from vpbsd.errors import ConfigError


@dataclass(frozen=True)
class Trial:
    """A task that leaves a mark in a folder and then does as it is told."""

    name: str
    folder: Path
    needs: tuple[str, ...] = ()
    deed: str = "succeed"

    @property
    def tries(self) -> int:
        """How often the task was begun."""
        return len(list(self.folder.glob(f"{self.name}.try*")))


def act(task: Trial, tell: Tell) -> None:
    """Do the deed."""
    (task.folder / f"{task.name}.try{task.tries}").write_text(environment(), "utf-8")
    if task.deed == "ignore":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    tell(f"{task.deed} in {os.getpid()}")
    if task.deed == "refuse":
        raise ConfigError("the setting is wrong: change it")
    if task.deed == "crash":
        raise ZeroDivisionError("seven by nothing")
    if task.deed == "die" or (task.deed == "die once" and task.tries == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    if task.deed == "be terminated":
        os.kill(os.getpid(), signal.SIGTERM)
    if task.deed == "be asked to stop":
        signal.signal(signal.SIGTERM, _stop)
        os.kill(os.getpid(), signal.SIGTERM)
    if task.deed == "leave":
        os._exit(7)
    if task.deed == "wait":
        signal.signal(signal.SIGTERM, _stop)
        time.sleep(60)
    if task.deed == "ignore":
        time.sleep(60)
    (task.folder / f"{task.name}.done").touch()


def environment() -> str:
    """Return what the process found when it began."""
    names = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "MALLOC_ARENA_MAX")
    return " ".join(os.environ.get(name, "-") for name in names)


def _stop(number: int, frame: object) -> None:
    raise KeyboardInterrupt("saved")
