"""Which runtime is the fastest here: measured on a real block, not guessed."""

from __future__ import annotations

import importlib.util
import logging
import time
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from vpbsd.geometry import Box
from vpbsd.machine import Device, choose_precision
from vpbsd.models import Student
from vpbsd.segment.runtimes.base import RuntimeName, RuntimeSpec
from vpbsd.segment.runtimes.make import make_runtime

__all__ = ["Candidate", "Choice", "choose_runtime"]

logger = logging.getLogger(__name__)

# A first run that takes longer than this many times the best so far, and the time to build a
# graph, need not be repeated.
_HOPELESS = 2.0
_BUILD_SECONDS = 2.0
# Compiling costs minutes and a worse error message: it has to pay.
_COMPILED_GAIN = 1.1
# Torch gives the same mask for any cut also in bf16, and holds what it was planned to hold: another
# library has to pay for giving that up.
_OPENVINO_GAIN = 1.15


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to evaluate the net, and how fast it was.

    Attributes
    ----------
    spec
        The way.
    mvoxels_per_second
        Millions of voxels of the result a second.
    """

    spec: RuntimeSpec
    mvoxels_per_second: float

    def __str__(self) -> str:
        compiled = " compiled" if self.spec.compiled else ""
        return (
            f"{self.spec.name} {self.spec.precision}{compiled} "
            f"{self.mvoxels_per_second:.3g} Mvoxel/s"
        )


@dataclass(frozen=True, slots=True)
class Choice:
    """The runtime that was chosen.

    Attributes
    ----------
    spec
        What to make it from.
    candidates
        All that were measured, the fastest first.
    sentence
        What was picked, and why.
    """

    spec: RuntimeSpec
    candidates: tuple[Candidate, ...]
    sentence: str


def choose_runtime(
    net: nn.Module,
    sample_block: NDArray[np.float32],
    crop: Box | None = None,
    *,
    precision: Literal["auto", "bf16", "fp32"] = "auto",
    runtime: Literal["auto", "torch", "openvino"] = "auto",
    device: Device = "cpu",
    threads: int = 0,
) -> Choice:
    """Measure the runtimes that are installed on a block and return the fastest.

    Each is warmed up once, and the better of two more runs counts. Int8 is not among them: it
    changes the result, and is for the user to ask for.

    Parameters
    ----------
    net
        What is to be evaluated.
    sample_block
        Normalised intensities (c, z, y, x), float32, with halo.
    crop
        The part of it that is wanted.
    precision
        ``auto`` is bf16 where the device multiplies it natively, else fp32: emulated, bf16 is
        slower and not better.
    runtime
        ``auto`` is all that are installed and can evaluate the net.
    device
        CPU or CUDA; on CUDA torch is tried with and without ``torch.compile``.
    threads
        That one block is computed with; 0 = as torch is set.

    Raises
    ------
    ConfigError
        If the runtime that is asked for cannot evaluate the net there.
    MissingExtraError
        If OpenVINO is asked for and not installed.
    """
    chosen = choose_precision(precision, device)
    names: list[RuntimeName] = ["torch", "openvino"] if runtime == "auto" else [runtime]
    if runtime == "auto" and not _openvino_can(net, device):
        names.remove("openvino")
    specs = [RuntimeSpec(name, chosen, device, threads) for name in names]
    if device == "cuda":
        specs += [replace(spec, compiled=True) for spec in specs]
    best = float("inf")
    measured: list[Candidate] = []
    voxels = sample_block[0].size if crop is None else crop.size_voxels
    for spec in specs:
        seconds = _seconds(net, spec, sample_block, crop, best)
        best = min(best, seconds)
        measured.append(Candidate(spec, voxels / seconds / 1e6))
        logger.debug("measured: %s", measured[-1])
    winner = max(measured, key=_worth)
    table = sorted(measured, key=lambda c: -c.mvoxels_per_second)
    return Choice(winner.spec, tuple(table), _sentence(winner, table))


def _worth(candidate: Candidate) -> float:
    gain = _COMPILED_GAIN if candidate.spec.compiled else 1.0
    if candidate.spec.name == "openvino":
        gain *= _OPENVINO_GAIN
    return candidate.mvoxels_per_second / gain


def _openvino_can(net: nn.Module, device: Device) -> bool:
    installed = importlib.util.find_spec("openvino") is not None
    return installed and device == "cpu" and isinstance(net, Student)


def _seconds(
    net: nn.Module,
    spec: RuntimeSpec,
    block: NDArray[np.float32],
    crop: Box | None,
    best: float,
) -> float:
    made = make_runtime(net, spec)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        made.logits(block, crop)
        times.append(max(time.perf_counter() - start, 1e-9))
        slow = times[0] > _HOPELESS * best + _BUILD_SECONDS
        if len(times) == 1 and slow and not spec.compiled:
            return times[0]
    return min(times[1:])


def _sentence(winner: Candidate, table: list[Candidate]) -> str:
    others = [candidate for candidate in table if candidate != winner]
    if not others:
        return f"{winner}, the only one that can evaluate this net here"
    beside = ", ".join(str(candidate) for candidate in others)
    if others[0].mvoxels_per_second > winner.mvoxels_per_second:
        return f"{winner}, because the gain of {beside} is too small to change for"
    return f"{winner}, the fastest on a block of this volume; {beside}"
