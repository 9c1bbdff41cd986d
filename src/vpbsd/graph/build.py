"""A vessel mask on disk to a folder with its graph, in memory bounded by one block a worker.

::

    blocks ──► fragments ──► stitched ──► cleaned ──► measured ──► OUT/
       └────────── OUT.work: what is finished, until OUT is complete ──────┘
"""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from vpbsd.blockwise import Block, BlockDone, Run, failures_in_kind, run_blocks
from vpbsd.blockwise.execute import open_executor
from vpbsd.blockwise.interrupt import stop_on_sigterm
from vpbsd.blockwise.progress import voxel_progress
from vpbsd.blockwise.work import fingerprint_digest
from vpbsd.errors import OutputError
from vpbsd.graph.cleaning.clean import clean
from vpbsd.graph.fragments.complete import Skeleton, complete_skeleton
from vpbsd.graph.fragments.stitch import stitch
from vpbsd.graph.job import SUMMARY, GraphJob, noted_digest, prepare_graph
from vpbsd.graph.options import GraphOptions, GraphReport
from vpbsd.graph.output import log_name, write_output
from vpbsd.graph.pages import Pages
from vpbsd.provenance import provenance
from vpbsd.resources import describe_host
from vpbsd.volumes import Location, Volume, open_volume

__all__ = ["build_graph", "run_graph"]

logger = logging.getLogger(__name__)

_LARGEST_SHARE = 0.5


def build_graph(
    mask: Location | Volume, out: Path | str, options: GraphOptions | None = None
) -> GraphReport:
    """Make the graph of a vessel mask and write it, with its measures, to a folder.

    The folder appears under its name only when it is complete. Until then ``OUT.work`` holds what
    is finished, and the same call goes on from there.

    Parameters
    ----------
    mask
        A file, folder or URL in any format that is read, or an open volume; voxels above 0 are
        vessel.
    out
        Folder to make.
    options
        Defaults if not given.

    Raises
    ------
    OutputError
        If the output exists, is being made by another run, was begun with other settings, or will
        not fit on the disk.
    VoxelSizeUnknownError
        If neither the file nor the caller gives the voxel size.
    DataError
        If the volume is no mask, holds nothing but vessel, or a part of it cannot be read.
    ConfigError
        If a block takes more memory than is allowed.
    BlocksFailedError
        If blocks failed for other reasons.
    VpbsdError
        If blocks go on to disagree on the skeleton between them.
    """
    options = options or GraphOptions()
    with ExitStack() as stack:
        if not isinstance(mask, Volume):
            mask = stack.enter_context(open_volume(mask))
        return run_graph(prepare_graph(mask, Path(out), options))


def run_graph(job: GraphJob) -> GraphReport:
    """Run what was prepared; see :func:`build_graph`."""
    start = time.monotonic()
    with stop_on_sigterm(), job.work.claimed(job.options.part), failures_in_kind():
        with job.work.setup():
            if _finished(job):
                return _report(job, Run(), start, elsewhere=True)
            about = _about(job)
            noted = job.work.begin(
                job.fingerprint,
                {"graph": about},
                overwrite=job.options.overwrite,
                part=job.options.part,
            )["graph"]
        with open_executor(job.workers) as executor:
            run = _run_blocks(job, executor)
        if not run.complete:
            return _left_to_others(job, run, start)
        with job.work.finishing() as mine:
            if not mine:
                return _report(job, run, start, elsewhere=True)
            # Workers keep the memory of a block; new ones are only started if blocks are redone.
            with open_executor(job.workers) as executor:
                skeleton = complete_skeleton(job, executor)
            report = _finish(skeleton, _report(job, run, start), noted)
    seconds = time.monotonic() - start
    voxels = job.plan.shape[0] * job.plan.shape[1] * job.plan.shape[2]
    done = voxels * run.done / len(job.plan)
    return replace(report, seconds=seconds, voxels_per_second=done / max(seconds, 1e-9))


def _run_blocks(job: GraphJob, executor: Any) -> Run:
    voxels = job.plan.shape[0] * job.plan.shape[1] * job.plan.shape[2]
    # A run that is taken up again shows what is left of it.
    total = voxels * job.todo_blocks // len(job.plan)
    with voxel_progress("skeleton", total, show=job.options.progress) as advance:

        def done(block: Block, _: BlockDone) -> None:
            advance(block.write.size_voxels)

        return run_blocks(
            job.plan,
            job.operation,
            ledger=job.work.ledger,
            workers=executor,
            part=job.options.part,
            on_done=done,
            log=job.work.log(job.options.part),
        )


# ------------------------------------------------------------------------------- what is finished


def _finished(job: GraphJob) -> bool:
    """Whether the graph is complete already, by other parts or by a run killed at its very end.

    Raises
    ------
    OutputError
        If the output is of another run.
    """
    if job.options.overwrite or not (job.out / SUMMARY).exists():
        return False
    ours = noted_digest(job.out) == fingerprint_digest(job.fingerprint)
    if ours and job.work.begun:
        job.work.close(log_name(job.out))
        return True
    if ours and job.options.part is not None:
        return True
    raise OutputError(
        f"'{job.out}' exists already; pass --overwrite to replace it, or choose another name"
    )


def _left_to_others(job: GraphJob, run: Run, start: float) -> GraphReport:
    with job.work.setup():
        # Another part may have been faster than our look at the ledger, and have cleared it.
        return _report(job, run, start, elsewhere=not job.work.begun)


def _report(job: GraphJob, run: Run, start: float, *, elsewhere: bool = False) -> GraphReport:
    return GraphReport(
        out=job.out,
        shape_zyx=job.plan.shape,
        blocks=run.done,
        resumed_blocks=run.skipped,
        missing_blocks=0 if elsewhere else run.missing,
        elsewhere=elsewhere,
        seconds=time.monotonic() - start,
    )


# --------------------------------------------------------------------------------------- finishing


def _finish(skeleton: Skeleton, report: GraphReport, about: dict[str, Any]) -> GraphReport:
    """Stitch, clean, measure, write, and move the folder to its name."""
    job = skeleton.job
    pages = Pages(job.work.path / "pages")
    graph = stitch(skeleton.fragments, job.plan.shape, job.voxel_size, pages)
    graph, steps = clean(graph, job.options.clean)
    report = replace(
        report,
        redone_blocks=skeleton.redone,
        widened_blocks=skeleton.widened,
        nodes=graph.nodes,
        edges=graph.edges,
        vessel_voxels=skeleton.vessel_voxels,
        cavities=skeleton.cavities,
        cavity_voxels=skeleton.cavity_voxels,
        largest_radius_um=skeleton.largest_radius_um,
        warnings=_warnings(skeleton),
    )
    for warning in report.warnings:
        logger.warning(warning)
    filled = {
        "step": "cavities",
        "settings": {"most_voxels": job.options.cavity_voxels},
        "cavities_filled": skeleton.cavities,
        "voxels_filled": skeleton.cavity_voxels,
    }
    summary = {
        "voxel_size_um": list(job.voxel_size.zyx_um),
        "shape_voxels": list(job.plan.shape),
        "cleaning": [filled, *(step.as_json() for step in steps)],
        "warnings": list(report.warnings),
        "skeleton": _figures(report),
        **about,
    }
    return replace(report, measures=write_output(job, graph, summary))


def _figures(report: GraphReport) -> dict[str, Any]:
    return {
        "vessel_voxels": report.vessel_voxels,
        "largest_radius_um": report.largest_radius_um,
        "blocks_redone": report.redone_blocks,
        "blocks_widened": report.widened_blocks,
    }


def _warnings(skeleton: Skeleton) -> tuple[str, ...]:
    source = skeleton.job.volume.source
    if not skeleton.vessel_voxels:
        return (
            f"'{source}' holds no vessel, and its graph no node: is it the right file, and are "
            "vessels above 0 in it?",
        )
    shape = skeleton.job.plan.shape
    share = skeleton.vessel_voxels / (shape[0] * shape[1] * shape[2])
    if share > _LARGEST_SHARE:
        return (
            f"{100 * share:.0f} % of '{source}' is vessel, far more than of any tissue: is the "
            "mask inverted, is it that of the tissue, or an image that is no mask?",
        )
    return ()


def _about(job: GraphJob) -> dict[str, Any]:
    source, fingerprint = job.volume.source, job.fingerprint_of_volume
    return {
        "job": fingerprint_digest(job.fingerprint),
        "options": {
            **job.options.settings(),
            "block_voxels": list(job.plan.block),
            "halo_voxels": list(job.plan.halo),
        },
        "provenance": provenance(
            job.options.command, {source: fingerprint}, machine=describe_host()
        ),
    }
