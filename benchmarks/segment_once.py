"""One segmentation in a process of its own, so that its memory can be watched.

    python benchmarks/segment_once.py SOURCE MODEL WORKERS estimate|run

Writes one JSON object to stdout. Not a benchmark by itself.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import subjects

from vpbsd.machine import prepare_process


def main(source: str, folder: str, workers: str, what: str) -> dict[str, Any]:
    prepare_process(1)
    from vpbsd.models import load_model
    from vpbsd.segment import estimate_segmentation

    chosen = subjects.options(int(workers), precision="bf16")
    segmentation = subjects.prepare(Path(source), load_model(folder), chosen)
    if what == "estimate":
        estimate = estimate_segmentation(segmentation)
        return {"bytes": estimate.total_bytes, "seconds": estimate.seconds}
    run = subjects.run(segmentation)
    return {"voxels": run.voxels, "seconds": run.seconds, **run.report.to_dict()}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(*sys.argv[1:])))
