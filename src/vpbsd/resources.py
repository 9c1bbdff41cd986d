"""What this machine has, and what of it is free; light, so that any room may ask."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path
from typing import Any

import psutil

__all__ = [
    "available_memory_bytes",
    "cpu_flags",
    "describe_host",
    "free_bytes",
    "usable_cores",
]

_NOTED_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")


def free_bytes(path: Path) -> int:
    """Free space in bytes for the user where ``path`` lies or would lie."""
    place = path.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    return shutil.disk_usage(place).free


def available_memory_bytes() -> int:
    """Memory in bytes that can be taken without swapping."""
    return int(psutil.virtual_memory().available)


def usable_cores() -> int:
    """Cores that this process may use: affinity and container quota taken into account."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = _cgroup_cores(Path("/sys/fs/cgroup/cpu.max"))
    return cores if quota is None else max(1, min(cores, round(quota)))


def _cgroup_cores(file: Path) -> float | None:
    """Return the cores a container may use; ``cpu.max`` holds ``QUOTA|max PERIOD`` in µs."""
    try:
        quota, period = file.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else float(quota) / float(period)


def cpu_flags() -> frozenset[str]:
    """Instruction-set flags of the processor as Linux names them; empty elsewhere."""
    for line in _cpuinfo().splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _cpu_name() -> str:
    for line in _cpuinfo().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()


def describe_host() -> dict[str, Any]:
    """Describe processor, memory and interpreter as JSON-able values, without loading torch."""
    flags = cpu_flags()
    return {
        "system": f"{platform.system()} {platform.release()}",
        "cpu": _cpu_name(),
        "cores": usable_cores(),
        "cpu_flags": [flag for flag in _NOTED_FLAGS if flag in flags],
        "memory_bytes": int(psutil.virtual_memory().total),
        "python": platform.python_version(),
    }
