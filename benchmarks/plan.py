"""What the plan said a run would take, against what it took.

One gigavoxel, `fast` student, bf16, two workers. The prediction is made in a process of its own
before the run, from a few blocks, as ``vpbsd segment --dry-run`` makes it; the run is timed from
after its preparation to the finished pyramid, the start of its workers included.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import harness
import subjects
from processes import watch_segmentation


def measure(arguments: argparse.Namespace) -> Iterator[harness.Row]:
    source = subjects.volume(arguments, (2, 2, 2) if arguments.quick else (4, 4, 4))
    workers = 1 if arguments.quick else 2
    model = subjects.model_folder(arguments, "fast")
    _, planned = watch_segmentation(source, model, workers, "estimate")
    watched, told = watch_segmentation(source, model, workers, "run")
    yield harness.Row(
        "planned_time_error",
        abs(planned["seconds"] / told["seconds"] - 1),
        {
            "voxels": told["voxels"],
            "planned_seconds": round(planned["seconds"], 2),
            "measured_seconds": round(told["seconds"], 2),
            "planned_gb": round(planned["bytes"] / 1e9, 3),
            "measured_gb": round(watched.peak_bytes / 1e9, 3),
            "workers": workers,
            "load": harness.load(),
        },
    )


if __name__ == "__main__":
    harness.run(measure, __doc__, threads=2)
