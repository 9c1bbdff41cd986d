"""A small job of two outputs with pyramids, and ways to be killed in the midst of it."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from block_operations import Fill

from vpbsd.blockwise import (
    Ledger,
    Output,
    OutputJob,
    Run,
    WorkFolder,
    fill_outputs,
    plan_blocks,
    work_path,
)
from vpbsd.geometry import VoxelSize
from vpbsd.volumes import OmeZarrWriter, OutputLayout, durable

SHAPE = (24, 64, 520)
BLOCK = (16, 64, 64)
BLOCKS = 18  # 2 * 1 * 9
FINGERPRINT = {"input": "abc", "threshold": 0.5, "block": list(BLOCK)}


def make_job(folder: Path, **changes: Any) -> OutputJob:
    """Fill ``prob.ome.zarr`` and ``mask.ome.zarr`` in ``folder``, of levels 0, 1 and 2."""
    about = changes.pop("attributes", {"made": "by hand"})

    def output(name: str, kind: Any) -> Output:
        layout = OutputLayout(
            shape=SHAPE,
            dtype="uint8",
            voxel_size_um=VoxelSize.of((2.0, 2.0, 2.0)),
            kind=kind,
            shard=BLOCK,
            chunk=(8, 16, 32),
        )
        return Output(folder / f"{name}.ome.zarr", layout, about)

    outputs = {"prob": output("prob", "probability"), "mask": output("mask", "mask")}
    out = outputs["mask"].path
    given = {
        "plan": plan_blocks(SHAPE, BLOCK, 2),
        "outputs": outputs,
        "fingerprint": FINGERPRINT,
        "work": WorkFolder(work_path(out), out),
        **changes,
    }
    return OutputJob(**given)


def fill(
    folder: Path,
    *,
    seconds: float = 0.0,
    stuck: int | None = None,
    die: str | None = None,
    **changes: Any,
) -> Run:
    """Do the job; see ``die_at`` for ``die``."""
    if die is not None:
        die_at(die)
    job = make_job(folder, **changes)
    options: Mapping[str, Any] = {} if stuck is None else {"stuck": stuck}
    return fill_outputs(job, lambda writers: Fill(writers, seconds, **options))


_OWNERS = {
    "begin": WorkFolder,
    "create": OmeZarrWriter,
    "write": OmeZarrWriter,
    "sync": durable,
    "record": Ledger,
    "write_coarse": OmeZarrWriter,
    "finish": OmeZarrWriter,
    "rename": Path,
    "close": WorkFolder,
    "rmtree": shutil,
}


def die_at(place: str) -> None:
    """Let this process kill itself: ``METHOD N`` is right before the n-th call of a method."""
    method, number = place.split()
    owner: Any = _OWNERS[method]
    original = getattr(owner, method)
    lock, calls = threading.Lock(), [0]

    def counted(*arguments: Any, **options: Any) -> Any:
        with lock:
            calls[0] += 1
            if calls[0] == int(number):
                os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **options)

    setattr(owner, method, counted)


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder by its relative name."""
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}
