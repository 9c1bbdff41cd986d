"""How much faster two workers are than one, wall time, with everything that starting them costs.

One gigavoxel with the ``fast`` student, one thread and one core a worker, the same blocks: two
workers, one, two again, so that a drift of the machine meets both.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from statistics import mean

import harness
import subjects


def measure(arguments: argparse.Namespace) -> Iterator[harness.Row]:
    source = subjects.volume(arguments, (2, 2, 2) if arguments.quick else (4, 4, 4))
    model = subjects.model(arguments, "fast")
    # Two workers share the memory that one has, so left alone they would get smaller blocks and
    # compute more of them twice: that is a matter of memory, not of workers.
    plan = subjects.prepare(source, model, subjects.options(2, precision="bf16")).plan
    runs: dict[int, list[subjects.Run]] = {1: [], 2: []}
    for workers in (2, 1) if arguments.quick else (2, 1, 2):
        harness.confine(workers)
        chosen = subjects.options(workers, precision="bf16", block_voxels=plan.block)
        runs[workers].append(subjects.segment(source, model, chosen))
    seconds = {workers: [run.seconds for run in done] for workers, done in runs.items()}
    yield harness.Row(
        "two_workers_over_one",
        mean(seconds[1]) / mean(seconds[2]),
        {
            "seconds": {str(w): [round(s, 2) for s in values] for w, values in seconds.items()},
            "seconds_of_blocks": {
                str(w): [round(run.report.seconds, 2) for run in done] for w, done in runs.items()
            },
            "shape_zyx": list(runs[1][0].report.shape_zyx),
            "block_voxels": list(plan.block),
            "load": harness.load(),
        },
    )


if __name__ == "__main__":
    harness.run(measure, __doc__, threads=2)
