"""What about this machine is missing, slow or not as tested, and what to do about it."""

from __future__ import annotations

import os
import platform
import re
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

import psutil
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vpbsd.machine import (
    available_memory_bytes,
    choose_device,
    choose_precision,
    describe_machine,
    free_bytes,
    prepare_process,
    usable_cores,
)
from vpbsd.provenance import library_versions

__all__ = ["TESTED", "Check", "diagnose", "render"]

Status = Literal["ok", "warn", "fail"]

TESTED = {
    "torch": "2.13.0",
    "lightning-fabric": "2.6.6",
    "vector-quantize-pytorch": "1.32.0",
    "numpy": "2.4.6",
    "scikit-image": "0.26.0",
    "zarr": "3.1.6",
    "tifffile": "2026.3.3",
    "h5py": "3.16.0",
    "nibabel": "5.4.2",
    "safetensors": "0.8.0",
}
"""Versions that were tested together; the whole list stands in ``constraints.txt``."""

_TESTED_PYTHON = "3.11"
_GIB = 2**30
_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@dataclass(frozen=True, slots=True)
class Check:
    """One finding.

    Attributes
    ----------
    name
        What was looked at.
    status
        ``ok``; ``warn``: it works, but slowly or untested; ``fail``: something will not work.
    finding
        What was found.
    remedy
        What to do; empty where all is well.
    """

    name: str
    status: Status
    finding: str
    remedy: str = ""


def diagnose(folder: Path | None = None) -> list[Check]:
    """Look at versions, devices, speed, memory and disk; takes about a second.

    Parameters
    ----------
    folder
        Where outputs are going to be; the working directory by default.
    """
    setup = prepare_process()
    place = folder or Path.cwd()
    return [
        _python(),
        *_libraries(library_versions(list(TESTED))),
        *_requirements(_declared_requirements()),
        _device(),
        _bf16("avx512_bf16 or amx_bf16", _speed_ratio),
        _threads(setup.threads, usable_cores(), passive=setup.passive_waiting),
        _malloc(tuned=setup.malloc_tuned, libc=platform.libc_ver()[0]),
        _memory(int(psutil.virtual_memory().total), available_memory_bytes()),
        _disk("folder of outputs", place),
        _disk("temporary folder", Path(tempfile.gettempdir())),
    ]


def render(checks: Iterable[Check], console: Console) -> None:
    """Print findings as a table, each remedy below what it mends."""
    table = Table(box=None, pad_edge=False)
    for column in ("", "check", "finding"):
        table.add_column(column, overflow="fold")
    for check in checks:
        status = f"[{_STYLES[check.status]}]{check.status}[/]"
        table.add_row(status, escape(check.name), escape(check.finding))
        if check.remedy:
            table.add_row("", "", f"[bold]→ {escape(check.remedy)}[/]")
    console.print(table)


def _python() -> Check:
    version = platform.python_version()
    if version.startswith(f"{_TESTED_PYTHON}."):
        return Check("python", "ok", version)
    return Check(
        "python",
        "warn",
        f"{version}; tested with {_TESTED_PYTHON}",
        f"if something fails, make the environment with Python {_TESTED_PYTHON}",
    )


def _libraries(installed: dict[str, str]) -> list[Check]:
    """Compare versions with the tested ones; local suffixes such as ``+cpu`` do not count."""
    checks = []
    for name, version in installed.items():
        if version.split("+")[0] == TESTED[name]:
            checks.append(Check(name, "ok", version))
        elif version == "missing":
            checks.append(Check(name, "fail", "not installed", f"pip install {name}"))
        else:
            remedy = "if something fails, install with -c constraints.txt"
            checks.append(Check(name, "warn", f"{version}; tested with {TESTED[name]}", remedy))
    return checks


def _declared_requirements() -> list[str]:
    try:
        return metadata.requires("vpbsd") or []
    except metadata.PackageNotFoundError:
        return []


def _requirements(declared: Iterable[str]) -> list[Check]:
    """Find declared dependencies that are not installed, by extra (``""`` = always needed)."""
    missing: dict[str, list[str]] = {}
    for line in declared:
        name = re.split(r"[\s;<>=!~\[(]", line, maxsplit=1)[0]
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", line)
        if library_versions([name])[name] == "missing":
            missing.setdefault(extra.group(1) if extra else "", []).append(name)
    checks = []
    for group, names in sorted(missing.items()):
        listed = ", ".join(names)
        if group == "":
            checks.append(Check("dependencies", "fail", f"missing: {listed}", "pip install vpbsd"))
        elif group != "dev":
            remedy = f"pip install 'vpbsd[{group}]', if you need it"
            checks.append(Check(f"extra [{group}]", "warn", f"missing: {listed}", remedy))
    return checks


def _device() -> Check:
    found = describe_machine()
    if choose_device() == "cuda":
        return Check("device", "ok", f"GPU: {', '.join(found['gpus'])}")
    return Check("device", "ok", f"no GPU; {found['cores']} core(s) of {found['cpu']}")


def _bf16(needed: str, measure: Callable[[], float]) -> Check:
    """Check that bf16 is there and pays; ``measure`` returns its speed relative to fp32."""
    if choose_precision("auto", choose_device()) == "fp32":
        return Check(
            "bf16",
            "warn",
            f"no native bf16 ({needed}): nets run in fp32, at about half of the speed",
            "a newer processor or a GPU is the only remedy",
        )
    ratio = measure()
    if ratio >= 1.2:
        return Check("bf16", "ok", f"{ratio:.1f} times as fast as fp32")
    return Check(
        "bf16",
        "warn",
        f"only {ratio:.1f} times as fast as fp32; busy cores can feign this",
        "run this again on an idle machine; if it stays so, use machine.precision fp32",
    )


def _speed_ratio(seconds: float = 0.15) -> float:
    import torch

    device = choose_device()
    rates = []
    for dtype in (torch.float32, torch.bfloat16):
        matrix = torch.ones(512, 512, dtype=dtype, device=device)
        matrix @ matrix
        count, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            product = matrix @ matrix
            # Reading a value waits until a GPU has done its work.
            float(product[0, 0])
            count += 1
        rates.append(count / (time.perf_counter() - start))
    return rates[1] / rates[0]


def _threads(threads: int, cores: int, *, passive: bool) -> Check:
    finding = f"{threads} for {cores} usable core(s)"
    if threads > cores:
        return Check(
            "threads",
            "warn",
            f"{finding}: they wait for each other",
            f"set OMP_NUM_THREADS={cores}, or unset it",
        )
    if not passive and threads > 1:
        return Check(
            "threads",
            "warn",
            f"{finding}, spinning while they wait: another busy process slows them severalfold",
            f"set OMP_WAIT_POLICY=PASSIVE (now '{os.environ.get('OMP_WAIT_POLICY', '')}')",
        )
    return Check("threads", "ok", finding)


def _malloc(*, tuned: bool, libc: str) -> Check:
    if tuned:
        return Check("malloc", "ok", "freed memory is kept for the next block")
    return Check(
        "malloc",
        "warn",
        f"the C library ({libc or 'unknown'}) cannot be told to keep freed memory",
        "on Linux, Python linked with glibc runs nets up to twice as fast",
    )


def _memory(total: int, free: int) -> Check:
    finding = f"{free / _GIB:.1f} of {total / _GIB:.1f} GiB free"
    if free >= 4 * _GIB:
        return Check("memory", "ok", finding)
    return Check(
        "memory",
        "fail" if free < _GIB else "warn",
        f"{finding}; training needs about 4 GiB, segmenting 2 GiB",
        "close other programs; for segmenting, choose smaller blocks (--block-voxels)",
    )


def _disk(name: str, folder: Path) -> Check:
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return Check(
            name, "fail", f"{folder} cannot be written: {error.strerror}", "choose another folder"
        )
    free = free_bytes(folder)
    finding = f"{folder}: {free / 1e9:.1f} GB free"
    if free >= 10e9:
        return Check(name, "ok", finding)
    return Check(name, "fail" if free < 1e9 else "warn", finding, "make room, or use another disk")
