"""Processes that tests start, wait for, and kill."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import psutil
import pytest

HERE = Path(__file__).resolve().parent


class StartPython(Protocol):
    """Starts a Python process that is killed, with all its children, at the end of the test."""

    def __call__(self, *arguments: str, **environment: str) -> subprocess.Popen[str]: ...


class StartDriver(Protocol):
    """Starts ``driver.py`` with a job that JSON can hold."""

    def __call__(self, **job: Any) -> subprocess.Popen[str]: ...


def start_python(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Start a Python process that finds the modules of this folder."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(HERE), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A group of its own, so that a test can signal all of it and not pytest.
        start_new_session=True,
    )


def end(process: subprocess.Popen[str]) -> None:
    """Kill a process and all its children."""
    for one in [*family(process.pid), process]:
        one.kill()
    process.communicate()


def result(process: subprocess.Popen[str], seconds: float = 60.0) -> tuple[int, str]:
    """Wait for the end of a driver; its exit code and the last line of stdout."""
    out, _ = process.communicate(timeout=seconds)
    return process.returncode, (out.splitlines() or [""])[-1]


def wait_until(holds: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    """Return once ``holds()``; fail after ``seconds``."""
    last = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > last:
            pytest.fail(f"waited {seconds:g} s in vain until {what}")
        time.sleep(0.02)


def family(pid: int) -> list[psutil.Process]:
    """Return the children of a process, and theirs."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Return those that still run; one that nobody has waited for yet does not."""
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def slurm_processes(folder: Path) -> list[psutil.Process]:
    """Return all processes of all jobs of the pretended SLURM that still run."""
    groups = {int(file.read_text()) for file in folder.glob("*/pid")}
    return alive([p for p in psutil.process_iter() if _group(p.pid) in groups])


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None
