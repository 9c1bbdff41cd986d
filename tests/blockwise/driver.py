"""A run in a process of its own, to be killed by tests: ``python driver.py JOB``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from block_operations import Trial, line_of_blocks
from block_outputs import fill

from vpbsd.blockwise import Ledger, Part, Stopped, Workers, run_blocks
from vpbsd.errors import VpbsdError


def main(job: dict[str, Any]) -> int:
    """Do the job; the last line of stdout tells how it ended."""
    try:
        run = _fill(job) if job["kind"] == "fill" else _blocks(job)
    except (VpbsdError, Stopped) as error:
        sys.stdout.write(f"{type(error).__name__}: {error}\n")
        return 130 if isinstance(error, Stopped) else 1
    sys.stdout.write(f"done {run.done} skipped {run.skipped} count {run.count}\n")
    return 0


def _blocks(job: dict[str, Any]) -> Any:
    folder = Path(job["folder"])
    return run_blocks(
        line_of_blocks(job["blocks"]),
        Trial(
            folder / "marks",
            seconds=job.get("seconds", 0.0),
            waiting=tuple(job.get("waiting", ())),
        ),
        ledger=Ledger(folder / "ledger"),
        workers=Workers(
            processes=job.get("processes", 1),
            lanes=job.get("lanes", 2),
            scheduler=job.get("scheduler"),
        ),
        log=folder / "log.jsonl",
    )


def _fill(job: dict[str, Any]) -> Any:
    part = job.get("part")
    return fill(
        Path(job["folder"]),
        workers=Workers(processes=job.get("processes", 1)),
        part=None if part is None else Part.parse(part),
        seconds=job.get("seconds", 0.0),
        overwrite=job.get("overwrite", False),
        die=job.get("die"),
    )


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
