"""What the block engine itself costs, with an operation that does nothing.

Ten thousand blocks go through :func:`vpbsd.blockwise.run_blocks` with a ledger, in one process and
by two Dask workers that have been started before. A ledger of a million blocks is filled and taken
up again in a process of its own. On ext4 a file is made many times more slowly in the first minute
after many others were removed; so nothing is removed before.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import harness
import processes

BLOCK_VOXELS = 64
# What a file takes besides its blocks: 256 bytes on ext4, 512 on XFS.
ENTRY_BYTES = 512


class Nothing:
    """An operation without work."""

    def read(self, block: Any) -> None:
        return None

    def compute(self, block: Any, data: None) -> None:
        return None

    def write(self, block: Any, result: None) -> int:
        return block.index % 7


def plan_of(edge_blocks: tuple[int, int, int]) -> Any:
    from vpbsd.blockwise import plan_blocks

    return plan_blocks([n * BLOCK_VOXELS for n in edge_blocks], BLOCK_VOXELS, 16, 8)


def seconds_of_nothing(folder: Path, counts: tuple[int, int, int], workers: int) -> float:
    """Run a plan with its ledger, by workers that are started already."""
    from vpbsd.blockwise import Ledger, Workers, run_blocks
    from vpbsd.blockwise.execute import open_executor

    plan, ledger = plan_of(counts), Ledger(folder)
    with open_executor(Workers(processes=workers)) as executor:
        run_blocks(plan_of((1, 2, 2)), Nothing(), workers=executor)
        run = run_blocks(plan, Nothing(), ledger=ledger, workers=executor)
    done = ledger.counts(len(plan))
    if int(done.min()) < 0:
        raise RuntimeError(f"{int((done < 0).sum())} blocks of {len(plan)} are not in the ledger")
    return float(run.seconds)


def measure(arguments: argparse.Namespace) -> Iterator[harness.Row]:
    counts = (2, 5, 10) if arguments.quick else (10, 25, 40)
    blocks = counts[0] * counts[1] * counts[2]
    for name, workers in (("engine_serial_ms", 1), ("engine_dask_ms", 2)):
        folder = arguments.work / f"ledger_of_{blocks}_{workers}_workers"
        seconds = seconds_of_nothing(folder, counts, workers)
        yield harness.Row(
            name,
            1000 * seconds / blocks,
            {
                "blocks": blocks,
                "workers": workers,
                "seconds": round(seconds, 3),
                "load": harness.load(),
            },
        )
    yield from million(arguments)


def million(arguments: argparse.Namespace) -> Iterator[harness.Row]:
    edge = 10 if arguments.quick else 100
    folder = arguments.work / f"ledger_of_{edge**3}"
    watched = processes.watch([sys.executable, __file__, "--child", str(folder), str(edge)])
    told = json.loads(watched.output)
    details = {**told, "load": harness.load()}
    yield harness.Row("ledger_million_s", sum(told["seconds"].values()), details)
    yield harness.Row("ledger_million_memory_gb", watched.peak_bytes / 1e9, details)
    yield harness.Row("ledger_million_disk_gb", allocated_bytes(folder) / 1e9, details)


def fill_and_scan(folder: Path, edge: int) -> dict[str, Any]:
    """Record every block of a plan, then take the run up again and find that nothing is missing."""
    from vpbsd.blockwise import Ledger, run_blocks

    start = time.perf_counter()
    plan, ledger = plan_of((edge, edge, edge)), Ledger(folder)
    for block in plan:
        ledger.record(block.index, block.write.size_voxels)
    recorded = time.perf_counter()
    again = run_blocks(plan_of((edge, edge, edge)), Nothing(), ledger=Ledger(folder))
    scanned = time.perf_counter()
    if again.done or again.skipped != edge**3 or again.count != edge**3 * BLOCK_VOXELS**3:
        raise RuntimeError(f"the ledger did not tell what was recorded: {again}")
    return {
        "blocks": edge**3,
        "seconds": {
            "plan_and_record": round(recorded - start, 2),
            "take_up_again": round(scanned - recorded, 2),
        },
    }


def allocated_bytes(folder: Path) -> int:
    """Disk that a folder takes: blocks of its files and folders, and the entry of each."""
    total = 0
    for place, _, files in os.walk(folder):
        for path in (Path(place), *(Path(place) / name for name in files)):
            total += path.lstat().st_blocks * 512 + ENTRY_BYTES
    return total


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        told = fill_and_scan(Path(sys.argv[2]), int(sys.argv[3]))
        sys.stdout.write(json.dumps(told))
    else:
        harness.run(measure, __doc__, threads=2)
