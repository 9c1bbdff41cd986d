"""What a job leaves in its folder beside its results: what it was, and whether it is done."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from vpbsd.compare.runner.jobs import Job
from vpbsd.errors import CheckpointError
from vpbsd.provenance import write_json_atomic
from vpbsd.stages.checkpoint import differences

__all__ = ["begin", "finish", "is_done", "read_facts", "refuse_changed"]


def begin(job: Job) -> None:
    """Note what a job is, before its first step; of a job that was begun before, nothing changes.

    Raises
    ------
    OutputError
        If the folder cannot be written.
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    if not _path(job).exists():
        _write(job, "begun", {})


def finish(job: Job, **facts: Any) -> None:
    """Note that a job is done, and what others need to know of it.

    Raises
    ------
    OutputError
        If the folder cannot be written.
    """
    _write(job, "done", facts)


def is_done(job: Job) -> bool:
    """Whether the job was done before, with these very settings and data."""
    found = _read(_path(job))
    return found is not None and found["state"] == "done" and found["identity"] == job.identity


def read_facts(folder: Path, kind: str) -> dict[str, Any]:
    """Return what a finished job of a folder noted.

    Raises
    ------
    CheckpointError
        If that job is not done.
    """
    found = _read(folder / f"job_{kind}.json")
    if found is None or found["state"] != "done":
        raise CheckpointError(
            f"{folder} holds no finished {kind} job: run the same comparison again, which does it"
        )
    facts: dict[str, Any] = found["facts"]
    return facts


def refuse_changed(jobs: Sequence[Job]) -> None:
    """Raise if a folder was begun with other settings or data than a job has now.

    Raises
    ------
    CheckpointError
        Naming the first folder, what changed, and how many more there are.
    """
    changed = []
    for job in jobs:
        found = _read(_path(job))
        if found is not None and found["identity"] != job.identity:
            changed.append((job, differences(found["identity"], dict(job.identity))))
    if not changed:
        return
    job, what = changed[0]
    more = f" (and {len(changed) - 1} more jobs)" if len(changed) > 1 else ""
    raise CheckpointError(
        f"{job.folder}{more} was begun with other settings or data ({'; '.join(what[:4])}): give "
        "the settings it was begun with, remove the folder, or name another one for the comparison"
    )


def _path(job: Job) -> Path:
    return job.folder / f"job_{job.kind}.json"


def _write(job: Job, state: Literal["begun", "done"], facts: dict[str, Any]) -> None:
    content = {"job": job.name, "state": state, "identity": dict(job.identity), "facts": facts}
    write_json_atomic(_path(job), content)


def _read(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found
