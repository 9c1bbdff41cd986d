"""Peak memory of a command with all the processes that it starts, as Linux counts it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

__all__ = ["Watched", "high_water_bytes", "watch", "watch_segmentation"]


@dataclass(frozen=True, slots=True)
class Watched:
    """A command that has ended well.

    Attributes
    ----------
    output
        What it wrote to stdout.
    seconds
        Wall time from start to end, interpreter and imports included.
    peaks_bytes
        Largest resident memory of each process, the command's own first, largest next.
    together_bytes
        Largest resident memory of all processes at one moment, as far as looks at intervals see
        it; memory that processes share counts once for each.
    """

    output: str
    seconds: float
    peaks_bytes: tuple[int, ...]
    together_bytes: int

    @property
    def peak_bytes(self) -> int:
        """Sum of the peaks: an upper bound, since processes need not peak at the same time."""
        return sum(self.peaks_bytes)


def watch(command: Sequence[str], *, interval_s: float = 0.05) -> Watched:
    """Run a command and follow it and its descendants until it ends.

    Linux keeps the high-water mark of each process (``VmHWM``), so what happens between two
    looks is not missed, only what a process does in its last ``interval_s``.

    Raises
    ------
    RuntimeError
        If the command fails; with the end of what it wrote to stderr.
    """
    peaks: dict[tuple[int, float], int] = {}
    together = 0
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        # Files, not pipes: a pipe that nobody reads would stop the command when it is full.
        with subprocess.Popen(command, stdout=output, stderr=errors) as process:
            root = psutil.Process(process.pid)
            while process.poll() is None:
                together = max(together, _look(root, peaks))
                time.sleep(interval_s)
        seconds = time.perf_counter() - start
        if process.returncode:
            errors.seek(0)
            end = errors.read().decode(errors="replace")[-2000:]
            raise RuntimeError(f"{list(command)} ended with {process.returncode}: {end}")
        output.seek(0)
        text = output.read().decode()
    own = [peak for (pid, _), peak in peaks.items() if pid == root.pid]
    others = sorted((p for (pid, _), p in peaks.items() if pid != root.pid), reverse=True)
    return Watched(text, seconds, (*own, *others), together)


def watch_segmentation(source: Path, model: Path, workers: int, what: str) -> tuple[Watched, Any]:
    """Run ``segment_once.py`` and return what was seen and what it told."""
    script = Path(__file__).with_name("segment_once.py")
    command = [sys.executable, str(script), str(source), str(model), str(workers), what]
    watched = watch(command)
    return watched, json.loads(watched.output)


def _look(root: psutil.Process, peaks: dict[tuple[int, float], int]) -> int:
    """Note the high-water marks so far; returns the resident memory of now, all together."""
    now = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in (root, *root.children(recursive=True)):
            # Start time as well, because the number of a dead process is given out again.
            key = (process.pid, process.create_time())
            peaks[key] = max(peaks.get(key, 0), high_water_bytes(process.pid))
            now += process.memory_info().rss
    return now


def high_water_bytes(pid: int | str = "self") -> int:
    """Return the largest resident memory of a process so far; 0 if it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text("ascii")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    # A process that is ending has a status without memory.
    lines = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(lines[0].split()[1]) * 1024 if lines else 0
