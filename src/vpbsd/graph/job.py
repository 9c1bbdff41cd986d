"""Everything about a graph that is known before its first block."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vpbsd.blockwise import (
    MISSING,
    Plan,
    Workers,
    WorkFolder,
    choose_block,
    plan_blocks,
    work_path,
)
from vpbsd.blockwise.ledger import changes, require_same_job
from vpbsd.errors import ConfigError, DataError, OutputError, UserError
from vpbsd.geometry import Triplet, VoxelSize, as_triplet
from vpbsd.graph.fragments.block import HaloRule, SkeletonBlock, box_bytes
from vpbsd.graph.fragments.store import FragmentStore
from vpbsd.graph.options import GraphOptions
from vpbsd.graph.regions.run import open_regions
from vpbsd.provenance import library_versions
from vpbsd.resources import available_memory_bytes, free_bytes
from vpbsd.volumes import CachedVolume, Volume

__all__ = ["SUMMARY", "GraphJob", "noted_digest", "prepare_graph"]

logger = logging.getLogger(__name__)

SUMMARY = "summary.json"

_RADIUS_VOXELS = 8.0
_UNIT_VOXELS = 64
_CACHE_BYTES = 128 * 2**20
# A worker with numba, zarr and Dask, before its first block.
_PROGRAM_BYTES = 384 * 2**20
# The rest is room for blocks that must be read with more context, because of wide vessels.
_PLANNED_SHARE = 0.6
# Of masks as segmented; what a block holds is looked at before it is computed.
_VESSEL_SHARE = 0.2
# Measured on a simulated brain's mask, of which 4.3 % are vessel: fragments (1), mapped arrays of
# the graph before and after a step of cleaning (4), the files (2.2). Twice the share is allowed.
_DISK_BYTES_PER_VOXEL = 2 * 0.043 * 7.5


@dataclass(frozen=True, slots=True)
class GraphJob:
    """A graph ready to be made.

    Attributes
    ----------
    volume
        The mask, with a cache of decoded chunks.
    fingerprint_of_volume
        Its identity when the run was prepared.
    voxel_size
        Of the mask.
    out
        Folder of the graph.
    options
        As given, or as an earlier run chose.
    plan, rule
        The blocks, and the context that vessels need.
    work
        Where the run keeps what it needs to go on.
    """

    volume: Volume
    fingerprint_of_volume: str
    voxel_size: VoxelSize
    out: Path
    options: GraphOptions
    plan: Plan
    rule: HaloRule
    work: WorkFolder

    @property
    def store(self) -> FragmentStore:
        """The fragments of the blocks."""
        return FragmentStore(self.work.path / "fragments")

    @property
    def operation(self) -> SkeletonBlock:
        """What is done to every block."""
        return SkeletonBlock(
            volume=self.volume,
            voxel_size=self.voxel_size,
            rule=self.rule,
            store=self.store,
            limit_bytes=_block_bytes(self.options),
        )

    @property
    def workers(self) -> Workers:
        """Where blocks are computed, with what a job on a cluster is to be given."""
        memory = _block_bytes(self.options) + _CACHE_BYTES + _PROGRAM_BYTES
        return replace(self.options.workers, memory_bytes=memory)

    @property
    def projected_bytes(self) -> int:
        """Memory that one process takes for a block with a usual share of vessels, at most."""
        block = box_bytes(math.prod(self.plan.largest_read), _VESSEL_SHARE)
        return block + _CACHE_BYTES + _PROGRAM_BYTES

    @property
    def disk_bytes(self) -> int:
        """What fragments, points and the graph may take on the disk, generously."""
        return math.ceil(math.prod(self.plan.shape) * _DISK_BYTES_PER_VOXEL)

    @property
    def todo_blocks(self) -> int:
        """Blocks of the plan, or of the part, that are not finished yet."""
        total, part = len(self.plan), self.options.part
        mine = range(total) if part is None else part.of(total)
        earlier = self.work.earlier()
        if earlier is None or changes(earlier, self.fingerprint):
            return len(mine)  # what other settings have left there will be removed
        counts = self.work.ledger.counts(total)[mine.start : mine.stop]
        return int(np.count_nonzero(counts == MISSING))

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What the graph depends on, and how its blocks are cut."""
        named = {k.replace("_", " "): v for k, v in self.options.settings().items()}
        return {
            "input": self.fingerprint_of_volume,
            "shape": list(self.plan.shape),
            "voxel size": list(self.voxel_size.zyx_um),
            "vpbsd": library_versions(("vpbsd",))["vpbsd"],
            "block": list(self.plan.block),
            "halo": list(self.plan.halo),
            **named,
        }


def prepare_graph(volume: Volume, out: Path, options: GraphOptions) -> GraphJob:
    """Choose what is to be chosen, and refuse what cannot work, before anything takes time.

    Raises
    ------
    OutputError
        If the output exists, holds something else, will not fit on the disk, or was begun with
        other settings.
    DataError
        If the mask has no voxel size or several channels.
    ConfigError
        If the memory of this machine, or what was allowed, will not do.
    """
    work = WorkFolder(work_path(out, options.work), out)
    try:
        return _prepare(volume, out, options, work)
    except UserError:
        work.discard()
        raise


def _prepare(volume: Volume, out: Path, options: GraphOptions, work: WorkFolder) -> GraphJob:
    size = volume.require_voxel_size()
    if volume.channels != 1:
        raise DataError(
            f"'{volume.source}' has {volume.channels} channels, but a mask has one: save the one "
            "that holds the vessels"
        )
    _require_free_name(out, volume, options, begun=work.begun)
    earlier = work.earlier()
    if options.block_voxels is None and earlier is not None and "block" in earlier:
        # Blocks that were chosen by the memory of another day are as good.
        options = replace(options, block_voxels=as_triplet(earlier["block"]))
    if options.regions is not None:
        # What does not fit is refused before hours are spent on the skeleton.
        open_regions(options.regions, volume.shape_zyx, size)
    rule = HaloRule(size, options.cavity_voxels)
    job = GraphJob(
        volume=CachedVolume(volume, _CACHE_BYTES),
        fingerprint_of_volume=volume.fingerprint(),
        voxel_size=size,
        out=out,
        options=options,
        plan=_plan(volume.shape_zyx, rule, options),
        rule=rule,
        work=work,
    )
    if earlier is not None and not options.overwrite:
        # The work folder would refuse as well, but not a dry run.
        require_same_job(earlier, job.fingerprint, str(out))
    _require_memory(job)
    _require_disk(job)
    return job


def _plan(shape: Triplet, rule: HaloRule, options: GraphOptions) -> Plan:
    radius_um = options.largest_radius_um or _RADIUS_VOXELS * min(rule.voxel_size.zyx_um)
    halo = rule.halo(radius_um)
    block = options.block_voxels
    if block is None:
        room = _PLANNED_SHARE * _block_bytes(options)
        limit = int(room / box_bytes(1_000_000, _VESSEL_SHARE) * 1e6)
        block = choose_block(shape, halo, 1, limit_voxels=max(limit, 1), unit=_UNIT_VOXELS)
    return plan_blocks(shape, block, halo)


def _block_bytes(options: GraphOptions) -> int:
    """Return what the blocks of one process may take."""
    return options.memory_bytes // options.workers.processes - _CACHE_BYTES


def _require_memory(job: GraphJob) -> None:
    workers = job.options.workers
    allowed, needed = _block_bytes(job.options), job.projected_bytes
    block = needed - _CACHE_BYTES - _PROGRAM_BYTES
    if block > allowed:
        raise ConfigError(
            f"blocks of {job.plan.block} voxels with a halo of {job.plan.halo} take "
            f"{block / 2**30:.2f} GiB each, more than the {max(allowed, 0) / 2**30:.2f} GiB that "
            "are left of --memory for each process: allow more, use fewer --workers, or take "
            "smaller blocks (--block-voxels)"
        )
    if workers.scheduler is not None or workers.slurm_jobs:
        return
    free = available_memory_bytes()
    if workers.processes * needed > free:
        raise ConfigError(
            f"making a graph in {workers} takes about {workers.processes * needed / 2**30:.1f} GiB "
            f"of memory and {free / 2**30:.1f} GiB are free: choose fewer workers (--workers), or "
            "less --memory"
        )


def _require_disk(job: GraphJob) -> None:
    for place in (job.work.path, job.out):
        free = free_bytes(place)
        if job.disk_bytes > free:
            raise OutputError(
                f"the graph of '{job.volume.source}' may take {job.disk_bytes / 1e9:.1f} GB at "
                f"'{place.parent}', where {free / 1e9:.1f} GB are free; make room, or choose "
                "another disk (-o, --work)"
            )


def _require_free_name(out: Path, volume: Volume, options: GraphOptions, *, begun: bool) -> None:
    if Path(volume.source).absolute() == out.absolute():
        raise OutputError(f"'{out}' is the mask itself; choose another name for the graph")
    if not out.exists():
        return
    # A mistyped output must never cost the user a folder of something else.
    if not out.is_dir() or (any(out.iterdir()) and not (out / SUMMARY).exists()):
        raise OutputError(
            f"'{out}' exists and is no graph of ours ({SUMMARY} is missing); choose another name"
        )
    if any(out.iterdir()) and not options.overwrite and options.part is None and not begun:
        raise OutputError(
            f"'{out}' exists already; pass --overwrite to replace it, or choose another name"
        )


def noted_digest(out: Path) -> str | None:
    """Return of which run the graph in a folder is; None where there is none."""
    try:
        noted = json.loads((out / SUMMARY).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return str(noted.get("job")) if isinstance(noted, dict) else None
