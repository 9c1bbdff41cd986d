"""Operations that misbehave as they are told, for tests of the engine.

A module of its own, so that worker processes can import it.
"""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vpbsd.blockwise import Block, Plan, Writers, plan_blocks
from vpbsd.errors import OutputError

ALWAYS = 1_000_000


def line_of_blocks(count: int) -> Plan:
    """A plan of ``count`` blocks of one voxel."""
    return plan_blocks((count, 1, 1), 1)


def tasks_held() -> int:
    """Return how many tasks this process, a worker of Dask, keeps."""
    from vpbsd.blockwise import on_dask

    return len(on_dask._TASKS)


@dataclass(frozen=True)
class Trial:
    """Leaves a mark in ``folder`` at each try, then misbehaves, and returns ten times the index.

    ``raising``, ``killing`` and ``fatal`` say of a block how many of its tries go wrong, and
    ``seconds`` how long every try takes. Blocks of ``waiting`` take until the file ``go`` is there.
    """

    folder: Path
    raising: Mapping[int, int] = field(default_factory=dict)
    killing: Mapping[int, int] = field(default_factory=dict)
    fatal: Mapping[int, int] = field(default_factory=dict)
    waiting: tuple[int, ...] = ()
    seconds: float = 0.0

    def read(self, block: Block) -> None:
        """Nothing."""

    def compute(self, block: Block, data: None) -> None:
        index = block.index
        tries = len(self.tries(index)) + 1
        (self.folder / f"{index}-{os.getpid()}-{uuid.uuid4().hex}").touch()
        if tries <= self.killing.get(index, 0):
            os.kill(os.getpid(), signal.SIGKILL)
        if tries <= self.fatal.get(index, 0):
            raise OutputError("the disk is full")
        if tries <= self.raising.get(index, 0):
            raise ValueError(f"try {tries} of {index}")
        time.sleep(self.seconds)
        while index in self.waiting and not (self.folder / "go").exists():
            time.sleep(0.02)

    def write(self, block: Block, result: None) -> int:
        return 10 * block.index

    def tries(self, index: int) -> list[Path]:
        """Return the marks of a block."""
        return list(self.folder.glob(f"{index}-*"))

    def tried(self) -> dict[int, int]:
        """Return how often each block that was tried at all was tried."""
        counts: dict[int, int] = {}
        for mark in self.folder.glob("*-*"):
            index = int(mark.name.split("-")[0])
            counts[index] = counts.get(index, 0) + 1
        return counts

    def processes(self) -> set[int]:
        """Return the processes that tried something."""
        return {int(mark.name.split("-")[1]) for mark in self.folder.glob("*-*")}


@dataclass(frozen=True)
class Fill:
    """Writes a pattern into all outputs; counts the foreground of the one called ``mask``.

    With ``seconds`` every block takes that long; from the block ``stuck`` on, for ever.
    """

    writers: Writers
    seconds: float = 0.0
    stuck: int = ALWAYS

    def read(self, block: Block) -> NDArray[np.uint8]:
        z, y, x = np.meshgrid(
            *(np.arange(a, b) for a, b in zip(block.read.start, block.read.stop, strict=True)),
            indexing="ij",
        )
        return ((z * z + 3 * y * x) % 7).astype(np.uint8)

    def compute(self, block: Block, data: NDArray[np.uint8]) -> NDArray[np.uint8]:
        time.sleep(self.seconds)
        while block.index >= self.stuck:
            time.sleep(0.05)
        return data[block.crop.slices]

    def write(self, block: Block, result: NDArray[np.uint8]) -> int:
        mask = (result > 3).astype(np.uint8)
        for name, writer in self.writers.items():
            writer.write(block.write, mask if name == "mask" else result)
        return int(mask.sum())


@dataclass(frozen=True)
class StartEnvironment:
    """Copies what stood in the environment of its process when that started."""

    folder: Path

    def read(self, block: Block) -> None:
        """Nothing."""

    def compute(self, block: Block, data: None) -> None:
        there = Path("/proc/self/environ").read_text("utf-8").replace("\0", "\n")
        (self.folder / f"{os.getpid()}.environ").write_text(there, "utf-8")

    def write(self, block: Block, result: None) -> int:
        return 0
