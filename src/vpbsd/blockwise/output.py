"""Fill OME-Zarr volumes block by block, pyramids included, in a way that survives any kill.

::

    level 0    operation on every block ──► writers[name].write(block.write, …)
    level 1 …  every shard from the level below
    finish     metadata, then the move to the outputs' names

Each level has a ledger, so a run goes on where it was killed, at any of these steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vpbsd.blockwise.execute import Executor, OnDone, Run, open_executor, run_blocks
from vpbsd.blockwise.interrupt import stop_on_sigterm
from vpbsd.blockwise.plan import Block, Plan, plan_blocks
from vpbsd.blockwise.task import Operation
from vpbsd.blockwise.work import WorkFolder, fingerprint_digest
from vpbsd.blockwise.workers import Part, Workers
from vpbsd.errors import OutputError, VolumeFormatError
from vpbsd.volumes import Location, OmeZarrWriter, OutputLayout, exists, is_url, read_attributes

__all__ = ["Output", "OutputJob", "Writers", "fill_outputs"]

Writers = Mapping[str, OmeZarrWriter]
"""The outputs that are still being written, by name; passed to the operation."""

# A coarse level of few shards is done before workers have started.
_WORTH_WORKERS = 16


@dataclass(frozen=True, slots=True)
class Output:
    """One volume to fill: where, what it looks like, and what to note in it."""

    path: Location
    layout: OutputLayout
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputJob:
    """What to compute, into what, by whom.

    Attributes
    ----------
    plan
        Its blocks are whole shards of every output.
    outputs
        By name. The last one is finished last: where that is, everything is.
    fingerprint
        What the result depends on, as values that JSON can hold: a run is only taken up again by
        one with the same.
    work
        Folder for ledger, log and unfinished outputs.
    workers, part
        Where the work is done, and which share of it.
    overwrite
        Replace outputs that exist, once the new ones are complete.
    """

    plan: Plan
    outputs: Mapping[str, Output]
    fingerprint: Mapping[str, Any]
    work: WorkFolder
    workers: Workers = field(default_factory=Workers)
    part: Part | None = None
    overwrite: bool = False


def fill_outputs(
    job: OutputJob,
    operation: Callable[[Writers], Operation],
    on_done: OnDone | None = None,
) -> Run:
    """Compute all blocks of a job that are missing, build the pyramids, and finish the outputs.

    Parameters
    ----------
    job
        What to compute.
    operation
        Makes the operation from the writers of the outputs.
    on_done
        Told about every block of level 0.

    Returns
    -------
    Run
        Of level 0. Where other parts have blocks left, ``missing`` counts them, and the outputs
        are not there yet: the part that comes last finishes them. A part that finds that done
        returns with ``elsewhere``.

    Raises
    ------
    OutputError
        If an output exists, another run writes it, another job was begun there, or the disk is
        full.
    BlocksFailedError
        If blocks failed; everything else is finished, and the same call tries them again.
    """
    with stop_on_sigterm(), job.work.claimed(job.part):
        with job.work.setup():
            if _finished_elsewhere(job):
                return _elsewhere(job)
            writers = _begin(job)
        with open_executor(job.workers) as executor:
            run = run_blocks(
                job.plan,
                operation(writers),
                ledger=job.work.ledger,
                workers=executor,
                part=job.part,
                on_done=on_done,
                log=job.work.log(job.part),
            )
            if run.complete:
                _finish(job, writers, executor)
                return run
        with job.work.setup():
            # Another part may have been faster than our look at the ledger, and have cleared it.
            return run if job.work.begun else replace(run, missing=0, elsewhere=True)


def _finish(job: OutputJob, writers: Writers, executor: Executor) -> None:
    """Build what is missing of the pyramids and move the outputs, unless another part does so."""
    with job.work.finishing() as mine:
        if not mine:
            return
        for name, writer in writers.items():
            _build_pyramid(job, name, writer, executor)
        # A part that starts now finds either everything here or everything there.
        with job.work.setup():
            for writer in writers.values():
                writer.finish()
            job.work.close(_log_name(job))


def _finished_elsewhere(job: OutputJob) -> bool:
    """Whether other parts have completed the outputs; refuses outputs of anything else."""
    there = {name: o for name, o in job.outputs.items() if exists(o.path)}
    if job.overwrite or not there:
        return False
    for name, output in there.items():
        if not _is_ours(job, name, output):
            raise _exists(output)
    if job.work.begun:
        return False
    if job.part is None or len(there) < len(job.outputs):
        raise _exists(next(iter(there.values())))
    return True


def _is_ours(job: OutputJob, name: str, output: Output) -> bool:
    """Whether an output was made, or is being made, by a run of the same fingerprint."""
    if is_url(output.path) and _started(job, name).exists():
        return True  # it grows under its own name
    try:
        noted = read_attributes(output.path).get("job")
    except VolumeFormatError:
        return False
    return bool(noted == fingerprint_digest(job.fingerprint))


def _exists(output: Output) -> OutputError:
    return OutputError(
        f"'{output.path}' exists already; pass --overwrite to replace it, or choose another name"
    )


def _elsewhere(job: OutputJob) -> Run:
    total = len(job.plan)
    return Run(skipped=total if job.part is None else len(job.part.of(total)), elsewhere=True)


def _started(job: OutputJob, name: str) -> Path:
    """Return the mark of an output that was created; from then on, it is attached to."""
    return job.work.path / f"{name}.started"


def _begin(job: OutputJob) -> dict[str, OmeZarrWriter]:
    digest = fingerprint_digest(job.fingerprint)
    now = {name: {**output.attributes, "job": digest} for name, output in job.outputs.items()}
    noted = job.work.begin(job.fingerprint, now, overwrite=job.overwrite, part=job.part)
    writers = {}
    for name, output in job.outputs.items():
        partial = job.work.partial(name)
        started = _started(job, name).exists()
        if started and not is_url(output.path) and not partial.exists() and exists(output.path):
            continue  # moved to its name by a run that was killed before it could finish all
        make = OmeZarrWriter.attach if started else OmeZarrWriter.create
        writers[name] = make(
            output.path,
            output.layout,
            attributes=noted[name],
            overwrite=job.overwrite,
            partial=partial,
        )
        _started(job, name).touch()
    return writers


def _build_pyramid(job: OutputJob, name: str, writer: OmeZarrWriter, executor: Executor) -> None:
    for level in range(1, len(writer.factors)):
        plan = plan_blocks(writer.level_shape(level), writer.level_shard(level))
        run_blocks(
            plan,
            _CoarseShard(writer, level),
            ledger=job.work.pyramid_ledger(name, level),
            workers=executor if len(plan) >= _WORTH_WORKERS else None,
        )


@dataclass(frozen=True, slots=True)
class _CoarseShard:
    """Make one shard of a coarse level from the level below."""

    writer: OmeZarrWriter
    level: int

    def read(self, block: Block) -> None:
        """Nothing: shards are made in small pieces."""

    def compute(self, block: Block, data: None) -> None:
        """Nothing."""

    def write(self, block: Block, result: None) -> int:
        """Read, shrink and write the pieces of the shard."""
        self.writer.write_coarse(self.level, block.write)
        return 0


def _log_name(job: OutputJob) -> Path | None:
    last = list(job.outputs.values())[-1].path
    if is_url(last):
        return Path(f"{job.work.path.name.removesuffix('.work')}.log.jsonl")
    return Path(f"{str(job.work.path).removesuffix('.work')}.log.jsonl")
