"""The machine a run computes on: threads, memory, precision, devices, free disk.

Nothing is touched at import; torch is imported inside functions.
"""

from __future__ import annotations

import logging
import os
import resource
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil

from vpbsd.errors import ConfigError
from vpbsd.malloc import tune_malloc
from vpbsd.resources import (
    available_memory_bytes,
    cpu_flags,
    describe_host,
    free_bytes,
    usable_cores,
)

__all__ = [
    "Device",
    "Precision",
    "ProcessSetup",
    "RuntimePrecision",
    "available_memory_bytes",
    "choose_device",
    "choose_precision",
    "cpu_flags",
    "describe_machine",
    "free_bytes",
    "peak_memory_bytes",
    "prepare_process",
    "resident_bytes",
    "usable_cores",
]

logger = logging.getLogger(__name__)

Precision = Literal["bf16", "fp32"]
RuntimePrecision = Literal["bf16", "fp32", "int8"]
"""In which a net is evaluated; training knows no int8."""
Device = Literal["cpu", "cuda"]

_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})


@dataclass(frozen=True, slots=True)
class ProcessSetup:
    """What :func:`prepare_process` achieved.

    Attributes
    ----------
    threads
        Threads that torch computes with.
    passive_waiting
        Idle OpenMP threads sleep instead of spinning.
    malloc_tuned
        Freed memory stays with the process for the next block.
    """

    threads: int
    passive_waiting: bool
    malloc_tuned: bool


def prepare_process(threads: int = 0) -> ProcessSetup:
    """Set up this process for long tensor work; call it before anything imports torch.

    * Idle OpenMP threads wait passively: spinning ones slow a net about sevenfold as soon as
      another process wants one of the cores.
    * glibc's malloc keeps large blocks instead of returning them to the system: each forward pass
      would otherwise fault its pages in again, which costs up to half of the speed.
    * Torch computes with ``threads`` threads; 0 = one per usable core.

    Settings that the user made in the environment are left alone.

    Raises
    ------
    ConfigError
        If ``threads`` is negative.
    """
    if threads < 0:
        raise ConfigError(f"threads must be 0 (one per usable core) or more, got {threads}")
    if "torch" not in sys.modules:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    elif "OMP_WAIT_POLICY" not in os.environ:
        logger.debug("torch is loaded already: OpenMP threads keep spinning while they wait")
    tuned = tune_malloc()
    count = threads or _default_threads()

    import torch

    torch.set_num_threads(count)
    return ProcessSetup(
        threads=count,
        passive_waiting=os.environ.get("OMP_WAIT_POLICY", "").upper() == "PASSIVE",
        malloc_tuned=tuned,
    )


def _default_threads() -> int:
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdecimal() and int(asked) > 0 else usable_cores()


def choose_device(setting: Literal["auto", "cpu", "cuda"] = "auto") -> Device:
    """Return the device to compute on; ``auto`` is the GPU where there is one.

    Raises
    ------
    ConfigError
        If a GPU is asked for and torch sees none.
    """
    if setting == "cpu":
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if setting == "cuda":
        built = "was built without CUDA" if torch.version.cuda is None else "sees no GPU"
        raise ConfigError(
            f"accelerator cuda was asked for, but torch {torch.__version__} {built}; "
            "install a CUDA build of torch and its driver, or use the accelerator cpu"
        )
    return "cpu"


def choose_precision(
    setting: Literal["auto", "bf16", "fp32"] = "auto", device: Device = "cpu"
) -> Precision:
    """Return the precision to compute in.

    ``auto`` is bf16 where the device multiplies it natively, which is about twice as fast, and
    fp32 elsewhere, where bf16 would be emulated and slower.
    """
    if setting != "auto":
        return setting
    if device == "cuda":
        import torch

        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if _BF16_FLAGS & cpu_flags() else "fp32"


def peak_memory_bytes() -> int:
    """Most memory in bytes that this process has held at a time since it started."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            # `getrusage` would also count what the parent held when it started this process.
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def resident_bytes() -> int:
    """Memory in bytes that this process holds now."""
    return int(psutil.Process().memory_info().rss)


def describe_machine() -> dict[str, Any]:
    """Describe the host as :func:`describe_host` does, its GPUs and torch, for provenance."""
    import torch

    return {
        **describe_host(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "torch": torch.__version__,
        "torch_threads": torch.get_num_threads(),
    }
