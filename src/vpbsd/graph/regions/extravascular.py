"""Distance from tissue to the nearest vessel, and volumes by region, block by block.

::

    mask ──► block with a halo of the limit ──► exact distances ──► counts by region ──► sum

A distance goes from the centre of a voxel that is no vessel to the centre of the nearest vessel
voxel. The surface of that vessel lies about half a voxel before that centre; nothing is subtracted,
since half a voxel is another length in every direction, so that volumes are comparable at one voxel
size. A voxel beside a vessel has a distance of one voxel. Distances longer than the limit are
counted as beyond it. What lies outside the volume is not known and no vessel.

Voxels and vessel voxels are all counted; distances at every voxel, or on a lattice of the whole
volume where that is enough: neighbours have nearly the same distance, so that leaving out seven of
eight changes a mean over thousands hardly at all and is four times as fast.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpbsd.blockwise import (
    Block,
    Ledger,
    OnDone,
    Plan,
    Workers,
    choose_block,
    failures_in_kind,
    plan_blocks,
    projected_peak_bytes,
    run_blocks,
)
from vpbsd.blockwise.ledger import results_folder
from vpbsd.errors import ConfigError, DataError, OutputError
from vpbsd.geometry import Box, Triplet, VoxelSize, as_triplet
from vpbsd.graph.regions.counting import Distances, count_block
from vpbsd.graph.regions.tissue_counts import TissueCounts
from vpbsd.graph.regions.volume import LABEL_CACHE_BYTES, LabelBox, RegionVolume
from vpbsd.graph.skeleton.vessels import as_vessels
from vpbsd.provenance import library_versions
from vpbsd.resources import available_memory_bytes
from vpbsd.volumes import CachedVolume, Volume

__all__ = ["ExtravascularOptions", "count_tissue", "plan_counting"]

logger = logging.getLogger(__name__)

_CACHE_BYTES = 128 * 2**20
_PROGRAM_BYTES = 256 * 2**20
_UNIT_VOXELS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtravascularOptions:
    """How far distances are followed, how finely they are told apart, and where the work is done.

    Attributes
    ----------
    limit_um
        Longest distance of interest; the halo of the blocks. None: only voxels are counted.
    bin_um
        Distances are rounded to multiples of this: the resolution of means and percentiles.
    spacing_um
        Distances are taken at every n-th voxel along an axis, the largest n with at most this
        much from one to the next; 0: at every voxel.
    workers
        This process, local processes or a cluster.
    memory_bytes
        That one process may take; the larger the blocks, the less is read twice.
    work
        Folder for the counts of finished blocks: with it, a run that was stopped goes on. Needed
        where the work is done on other machines.

    Raises
    ------
    ConfigError
        If a length is out of range.
    """

    limit_um: float | None = 100.0
    bin_um: float = 0.1
    spacing_um: float = 4.0
    workers: Workers = field(default_factory=Workers)
    memory_bytes: int = 2 * 2**30
    work: Path | None = None

    def __post_init__(self) -> None:
        if self.limit_um is not None and not 0 < self.limit_um < math.inf:
            raise ConfigError(
                f"the longest distance to a vessel must be a positive number of µm, got "
                f"{self.limit_um:g}"
            )
        if not (0 < self.bin_um < math.inf and 0 <= self.spacing_um < math.inf):
            raise ConfigError(
                f"bins must be wider than 0 µm and the spacing at least 0 µm, got {self.bin_um:g} "
                f"and {self.spacing_um:g}"
            )

    def distances(self, voxel_size: VoxelSize) -> Distances:
        """Return how distances are taken at a voxel size."""
        step = [max(1, int(self.spacing_um / v + 1e-9)) for v in voxel_size.zyx_um]
        return Distances(limit_um=self.limit_um, bin_um=self.bin_um, step=as_triplet(step))

    def halo(self, voxel_size: VoxelSize) -> Triplet:
        """Return how many voxels around a block its distances look at."""
        reach = self.limit_um or 0.0
        return as_triplet([math.floor(reach / v + 1e-9) for v in voxel_size.zyx_um])


def count_tissue(
    mask: Volume,
    voxel_size: VoxelSize,
    *,
    regions: RegionVolume | None = None,
    tissue: RegionVolume | None = None,
    options: ExtravascularOptions | None = None,
    on_done: OnDone | None = None,
) -> TissueCounts:
    """Count voxels, vessel voxels and distances to the nearest vessel, by region.

    Parameters
    ----------
    mask
        Of vessels, one channel; voxels above 0 are vessel.
    voxel_size
        Of the mask.
    regions
        Labels; without, everything has label 0.
    tissue
        Where it is above 0 there is tissue; nothing is counted elsewhere, though vessels elsewhere
        are the nearest ones where they are.
    options
        Defaults if not given.
    on_done
        Told about every block that is finished.

    Raises
    ------
    DataError
        If the mask or the labels cannot be used as such.
    ConfigError
        If the memory will not do.
    OutputError
        If the work folder holds something else, or the disk is full.
    BlocksFailedError
        If blocks failed for other reasons.
    """
    options = options or ExtravascularOptions()
    if mask.channels != 1:
        raise DataError(f"'{mask.source}' has {mask.channels} channels; a mask has one")
    plan = plan_counting(mask, voxel_size, regions, tissue, options)
    labels = [v for v in (regions, tissue) if v is not None]
    job = _job(mask, voxel_size, plan, options) | {"labels": [v.fingerprint() for v in labels]}
    with results_folder(options.work, job) as folder:
        operation = _Count(
            CachedVolume(mask, _CACHE_BYTES), voxel_size, options, folder, regions, tissue
        )
        ledger = None if options.work is None else Ledger(folder)
        _run(plan, operation, ledger, options.workers, on_done)
        parts = (operation.counts(index) for index in range(len(plan)))
        columns = options.distances(voxel_size).columns
        return TissueCounts.total(parts, columns, options.bin_um)


def plan_counting(
    mask: Volume,
    voxel_size: VoxelSize,
    regions: RegionVolume | None,
    tissue: RegionVolume | None,
    options: ExtravascularOptions,
) -> Plan:
    """Return the blocks of a mask.

    Raises
    ------
    ConfigError
        If the smallest block takes more memory than allowed, or all processes more than is free.
    """
    halo = options.halo(voxel_size)
    labels = [v for v in (regions, tissue) if v is not None]
    voxel_bytes, fixed = _voxel_bytes(mask, voxel_size, labels), _fixed_bytes(labels)
    block = choose_block(
        mask.shape_zyx,
        # Where no distance is measured, nothing is read twice, and yet few blocks are better.
        [max(1, h) for h in halo],
        1,
        limit_voxels=max(1, int((options.memory_bytes - fixed) / voxel_bytes)),
        unit=_UNIT_VOXELS,
    )
    plan = plan_blocks(mask.shape_zyx, block, halo)
    one = projected_peak_bytes(plan, read_bytes_per_voxel=voxel_bytes) + fixed
    if one > options.memory_bytes:
        raise ConfigError(
            f"distances up to {options.limit_um or 0:g} µm look {halo} voxels around a block, "
            f"which takes {one / 2**30:.1f} GiB, more than the "
            f"{options.memory_bytes / 2**30:.1f} GiB that a process may take: allow more memory, "
            "or look less far"
        )
    elsewhere = options.workers.scheduler is not None or options.workers.slurm_jobs
    needed, free = options.workers.processes * one, available_memory_bytes()
    if needed > free and not elsewhere:
        raise ConfigError(
            f"counting in {options.workers} takes {needed / 2**30:.1f} GiB of memory and "
            f"{free / 2**30:.1f} GiB are free: choose fewer workers or less memory for each"
        )
    return plan


def _voxel_bytes(mask: Volume, voxel_size: VoxelSize, labels: Sequence[RegionVolume]) -> float:
    """Return the memory of a block for each voxel that is read.

    Flags and stored values of this block and of the next, which is being read meanwhile, and
    squares within planes; labels as they are stored and as int64, at their own voxel size.
    """
    found = 2.0 * (1 + mask.dtype.itemsize) + 4
    for volume in labels:
        finer = math.prod(voxel_size.zyx_um) / math.prod(volume.voxel_size.zyx_um)
        found += 2 * (8 + volume.volume.dtype.itemsize) * finer
    return found


def _fixed_bytes(labels: Sequence[RegionVolume]) -> int:
    return _PROGRAM_BYTES + _CACHE_BYTES + len(labels) * LABEL_CACHE_BYTES


@dataclass(frozen=True, slots=True)
class _Count:
    """Count one block and leave the counts in a folder, one file a block."""

    mask: Volume
    voxel_size: VoxelSize
    options: ExtravascularOptions
    folder: Path
    regions: RegionVolume | None
    tissue: RegionVolume | None

    def read(self, block: Block) -> tuple[NDArray[np.bool_], LabelBox, LabelBox]:
        labels = [
            LabelBox.uniform(default, block.write.shape)
            if volume is None
            else volume.box(block.write)
            for volume, default in ((self.regions, 0), (self.tissue, 1))
        ]
        return self._vessels(block.read), labels[0], labels[1]

    def compute(
        self, block: Block, data: tuple[NDArray[np.bool_], LabelBox, LabelBox]
    ) -> TissueCounts:
        distances = self.options.distances(self.voxel_size)
        return count_block(block, *data, self.voxel_size, distances)

    def write(self, block: Block, result: TissueCounts) -> int:
        file = self._file(block.index)
        partial = file.with_suffix(".partial")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as stream:
                np.savez_compressed(
                    stream,
                    labels=result.labels,
                    voxels=result.voxels,
                    vessel_voxels=result.vessel_voxels,
                    distances=result.distances,
                )
            partial.replace(file)
        except OSError as error:
            raise OutputError(
                f"cannot write '{file}': {error.strerror}; make room or check the permissions, "
                "then run the same command again"
            ) from error
        return int(result.vessel_voxels.sum())

    def counts(self, index: int) -> TissueCounts:
        with np.load(self._file(index), allow_pickle=False) as noted:
            return TissueCounts(
                noted["labels"],
                noted["voxels"],
                noted["vessel_voxels"],
                noted["distances"],
                self.options.bin_um,
            )

    def _file(self, index: int) -> Path:
        # Listing a folder of a million files takes seconds.
        return self.folder / f"{index // 1000:05d}" / f"{index:09d}.npz"

    def _vessels(self, box: Box) -> NDArray[np.bool_]:
        return as_vessels(self.mask.read(box)[0], f"'{self.mask.source}'")


def _run(
    plan: Plan,
    operation: _Count,
    ledger: Ledger | None,
    workers: Workers,
    on_done: OnDone | None,
) -> None:
    with failures_in_kind():
        run_blocks(plan, operation, ledger=ledger, workers=workers, on_done=on_done)


def _job(
    mask: Volume, voxel_size: VoxelSize, plan: Plan, options: ExtravascularOptions
) -> dict[str, Any]:
    return {
        "mask": mask.fingerprint(),
        "voxel size": list(voxel_size.zyx_um),
        "longest distance": options.limit_um,
        "bin": options.bin_um,
        "spacing": options.spacing_um,
        "block": list(plan.block),
        "vpbsd": library_versions(("vpbsd",))["vpbsd"],
    }
