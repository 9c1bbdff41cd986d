"""Peak memory of all processes of a run, for a volume and one eight times as large.

The `fast` student, bf16, two workers, everything else by default. Each run is a process of its own
with its workers; the projection comes from a third one, as ``vpbsd segment --dry-run`` makes it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import harness
import subjects
from processes import watch_segmentation

TILES = ((2, 4, 4), (4, 8, 8))


def measure(arguments: argparse.Namespace) -> Iterator[harness.Row]:
    tiles = ((1, 1, 1), (2, 2, 2)) if arguments.quick else TILES
    workers = 1 if arguments.quick else 2
    model = subjects.model_folder(arguments, "fast")
    runs = []
    for one in tiles:
        source = subjects.volume(arguments, one)
        _, projected = watch_segmentation(source, model, workers, "estimate")
        watched, told = watch_segmentation(source, model, workers, "run")
        runs.append(
            {
                "voxels": told["voxels"],
                "workers": workers,
                "seconds": round(told["seconds"], 1),
                "peak_gb": round(watched.peak_bytes / 1e9, 3),
                "projected_gb": round(projected["bytes"] / 1e9, 3),
                "peaks_of_processes_gb": [round(p / 1e9, 3) for p in watched.peaks_bytes],
            }
        )
    yield from rows(*runs)


def rows(small: dict[str, Any], large: dict[str, Any]) -> Iterator[harness.Row]:
    details = {"small": small, "large": large, "load": harness.load()}
    yield harness.Row("memory_growth", large["peak_gb"] / small["peak_gb"], details)
    yield harness.Row("memory_peak_gb", large["peak_gb"], details)
    least = min(run["projected_gb"] / run["peak_gb"] for run in (small, large))
    yield harness.Row("memory_projection", least, details)


if __name__ == "__main__":
    harness.run(measure, __doc__, threads=2)
