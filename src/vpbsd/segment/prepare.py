"""Everything about a segmentation that is known before its first block.

What was measured or chosen once (precision, runtime, block size) is noted in the work folder and
chosen again when the run is taken up: a mask whose blocks were computed in two ways would have
seams.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vpbsd.blockwise import MISSING, Output, OutputJob, Plan, WorkFolder, Writers, work_path
from vpbsd.blockwise.ledger import changes, require_same_job
from vpbsd.errors import OutputError, UserError
from vpbsd.geometry import Triplet, as_triplet
from vpbsd.machine import describe_machine, free_bytes
from vpbsd.provenance import library_versions, provenance
from vpbsd.segment.channels import SelectedChannels
from vpbsd.segment.operation import SegmentBlock
from vpbsd.segment.options import SegmentModel, SegmentOptions
from vpbsd.segment.pick import pick_runtime
from vpbsd.segment.planning import plan_volume, projected_bytes, require_channels
from vpbsd.segment.runtimes import NetShape, Runtime, RuntimeSpec
from vpbsd.volumes import (
    CachedVolume,
    IntensityScale,
    Location,
    OutputLayout,
    Volume,
    estimate_intensity,
    is_url,
    labels_image,
)
from vpbsd.volumes.refusal import refuse_existing, refuse_input

__all__ = ["Segmentation", "disk_bytes", "prepare_segmentation", "probability_path"]

logger = logging.getLogger(__name__)

_CHUNK_VOXELS = 64
# Bitshuffle puts the one bit that a mask uses into an eighth of its bytes; the coarser levels of
# the pyramid add a seventh. Probabilities may be noise, which does not compress at all.
_MASK_BYTES_PER_VOXEL = 0.15
_PROBABILITY_BYTES_PER_VOXEL = 1.15
# Decoded chunks that neighbouring blocks share; part of what a worker holds.
CACHE_BYTES = 128 * 2**20
# A worker with torch and Dask, before its first block.
_PROGRAM_BYTES = 2**30


@dataclass(frozen=True, slots=True)
class Segmentation:
    """A segmentation ready to run.

    Attributes
    ----------
    volume
        The chosen channels, with a cache of decoded chunks.
    fingerprint_of_volume
        Its identity when the run was prepared.
    model, options
        As given.
    spec, runtime, picked
        How the net is evaluated, the same made in this process, and a sentence on why so.
    scale, plan, threshold
        Intensities, blocks, and the probability from which a voxel is vessel.
    mask, probability
        Outputs.
    work
        Where the run keeps what it needs to go on.
    """

    volume: Volume
    fingerprint_of_volume: str
    model: SegmentModel
    options: SegmentOptions
    spec: RuntimeSpec
    runtime: Runtime
    picked: str
    scale: IntensityScale
    plan: Plan
    threshold: float
    mask: Location
    probability: Location | None
    work: WorkFolder

    def operation(self, writers: Writers) -> SegmentBlock:
        """Return what is done to every block."""
        return SegmentBlock(
            volume=self.volume,
            scale=self.scale,
            net=self.model.net,
            spec=self.spec,
            threshold=self.threshold,
            skip_empty=self.options.skip_empty,
            writers=writers,
            kept_bytes=CACHE_BYTES + projected_bytes(self.plan, self.volume, self.runtime),
            # Stays behind when the operation is sent to a worker, which makes its own.
            _runtime=self.runtime,
        )

    @property
    def job(self) -> OutputJob:
        """What the block engine is to fill, by whom."""
        about = self._about()
        # The mask comes last: where it is, all is there.
        outputs = {"mask": self._output("mask", self.mask, about)}
        if self.probability is not None:
            beside = self._output("probability", self.probability, about)
            outputs = {"probability": beside, **outputs}
        return OutputJob(
            plan=self.plan,
            outputs=outputs,
            fingerprint=self.fingerprint,
            work=self.work,
            workers=replace(self.options.workers, memory_bytes=self._worker_bytes()),
            part=self.options.part,
            overwrite=self.options.overwrite,
        )

    def _worker_bytes(self) -> int:
        """Return what a job on a cluster is to be given; what is free here is looked at apart."""
        block = projected_bytes(self.plan, self.volume, self.runtime)
        return _PROGRAM_BYTES + CACHE_BYTES + block

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
        """What the mask depends on, or is stored as."""
        options = self.options
        return {
            "input": self.fingerprint_of_volume,
            "shape": list(self.volume.shape_zyx),
            "channels": options.channels and list(options.channels),
            "voxel size": list(self.volume.require_voxel_size().zyx_um),
            "model": self.model.fingerprint,
            "vpbsd": library_versions(("vpbsd",))["vpbsd"],
            "intensity": self.scale.to_dict(),
            "threshold": self.threshold,
            "probability": options.probability,
            "skip empty": options.skip_empty,
            "precision": self.spec.precision,
            "runtime": self.spec.name,
            "device": self.spec.device,
            "block": list(self.plan.block),
            "halo": list(self.plan.halo),
            "ngff": options.ngff,
        }

    def _output(
        self, kind: Literal["mask", "probability"], path: Location, about: Mapping[str, Any]
    ) -> Output:
        meaning = {
            "mask": "1 = vessel (probability >= threshold), 0 = background",
            "probability": "value / 255 = probability of vessel",
        }
        layout = OutputLayout(
            shape=self.volume.shape_zyx,
            dtype=np.uint8,
            voxel_size_um=self.volume.require_voxel_size(),
            kind=kind,
            shard=self.plan.block,
            chunk=as_triplet([_chunk(edge) for edge in self.plan.block]),
            ngff=self.options.ngff,
        )
        return Output(path, layout, {"kind": kind, "meaning": meaning[kind], **about})

    def _about(self) -> dict[str, Any]:
        source, fingerprint = self.volume.source, self.fingerprint_of_volume
        return {
            "input": {
                "source": source,
                "fingerprint": fingerprint,
                "channels": self.options.channels and list(self.options.channels),
            },
            "model": {"kind": self.model.kind, "fingerprint": self.model.fingerprint},
            "intensity": self.scale.to_dict(),
            "threshold": self.threshold,
            "precision": self.spec.precision,
            "runtime": self.spec.name,
            "skip_empty": self.options.skip_empty,
            "voxel_size_um": list(self.volume.require_voxel_size().zyx_um),
            "blocks": {
                "block": list(self.plan.block),
                "halo": list(self.plan.halo),
                "stride": list(self.plan.stride),
            },
            "provenance": provenance(
                self.options.command,
                {source: fingerprint, "model": self.model.fingerprint},
                machine=describe_machine(),
            ),
        }


def prepare_segmentation(
    volume: Volume, model: SegmentModel, out: Location, options: SegmentOptions
) -> Segmentation:
    """Choose what is to be chosen, and refuse what cannot work, before anything takes time.

    Raises
    ------
    OutputError
        If an output exists, is the input, is not named ``.zarr``, will not fit on the disk, or was
        begun with other settings.
    DataError
        If the volume has no voxel size, other channels than the model, or cannot be read.
    ConfigError
        If blocks do not fit the net or the memory.
    """
    work = WorkFolder(work_path(out, options.work), out)
    try:
        return _prepare(volume, model, out, options, work)
    except UserError:
        work.discard()
        raise


def _prepare(
    volume: Volume, model: SegmentModel, out: Location, options: SegmentOptions, work: WorkFolder
) -> Segmentation:
    volume.require_voxel_size()
    beside = None
    if options.probability or labels_image(out) is None:
        path = probability_path(out)  # refuses a name that is no OME-Zarr's
        beside = path if options.probability else None
    for output in (out,) if beside is None else (out, beside):
        _require_free_name(output, volume, options, begun=work.begun)
    _require_disk(out, volume.shape_zyx, options)
    options = _as_before(options, work, model)
    if options.channels is not None:
        volume = SelectedChannels(volume, options.channels)
    require_channels(volume, NetShape.of(model.net).channels)
    scale = estimate_intensity(volume, invert=options.invert)
    threshold = model.threshold if options.threshold is None else options.threshold
    spec, runtime, picked = pick_runtime(volume, scale, model, options, work.models)
    plan = plan_volume(
        volume,
        runtime,
        block_voxels=options.block_voxels,
        memory_bytes=options.memory_bytes // options.workers.processes - CACHE_BYTES,
    )
    prepared = Segmentation(
        volume=CachedVolume(volume, CACHE_BYTES),
        fingerprint_of_volume=volume.fingerprint(),
        model=model,
        options=options,
        spec=spec,
        runtime=runtime,
        picked=picked,
        scale=scale,
        plan=plan,
        threshold=threshold,
        mask=out,
        probability=beside,
        work=work,
    )
    earlier = work.earlier()
    if earlier is not None and not options.overwrite:
        # The engine would refuse as well, but not a dry run, and only after a look at the ledger.
        require_same_job(earlier, prepared.fingerprint, str(out))
    return prepared


def probability_path(mask: Location) -> Location:
    """Return where the probabilities go: ``brain.ome.zarr`` has ``brain_probability.ome.zarr``.

    Raises
    ------
    OutputError
        If the mask's name does not end in ``.zarr``, as that of a whole output does.
    """
    text = str(mask).rstrip("/")
    stem = text.removesuffix(".zarr").removesuffix(".ome")
    if not text.endswith(".zarr") or stem.endswith("/") or not stem:
        raise OutputError(
            f"'{mask}' must end in .ome.zarr, the one format that is written; other formats can "
            "be made from it by any OME-Zarr reader"
        )
    beside = f"{stem}_probability.ome.zarr"
    return beside if is_url(mask) else Path(beside)


def disk_bytes(shape: Triplet, *, with_probability: bool) -> float:
    """Return what the outputs may take on the disk, generously."""
    per_voxel = _MASK_BYTES_PER_VOXEL + (_PROBABILITY_BYTES_PER_VOXEL if with_probability else 0.0)
    return float(np.prod(shape, dtype=float)) * per_voxel


def _require_free_name(
    path: Location, volume: Volume, options: SegmentOptions, *, begun: bool
) -> None:
    refuse_input(path, volume.source)
    # A run that is taken up again, or a part that comes late, may find outputs of its own: the
    # engine looks closer.
    if options.part is None and not begun:
        refuse_existing(path, options.overwrite)


def _require_disk(out: Location, shape: Triplet, options: SegmentOptions) -> None:
    if is_url(out):
        return
    needed = disk_bytes(shape, with_probability=options.probability)
    free = free_bytes(Path(out))
    if needed > free:
        less = ", leave out --probability" if options.probability else ""
        raise OutputError(
            f"segmenting {shape} voxels may need {needed / 1e9:.1f} GB at "
            f"'{Path(out).parent}', where {free / 1e9:.1f} GB are free; make room{less}, or choose "
            "another disk (-o)"
        )


def _as_before(options: SegmentOptions, work: WorkFolder, model: SegmentModel) -> SegmentOptions:
    """Take over what an earlier run of this model into this output chose by itself."""
    earlier = work.earlier()
    # What suited another net need not suit this one; that run is refused or replaced anyway.
    if earlier is None or earlier.get("model") != model.fingerprint:
        return options
    chosen: dict[str, Any] = {}
    for name in ("precision", "runtime", "device"):
        if getattr(options, name) == "auto" and name in earlier:
            chosen[name] = earlier[name]
    if options.block_voxels is None and "block" in earlier:
        chosen["block_voxels"] = as_triplet(earlier["block"])
    if chosen:
        logger.info("going on with the run in '%s'", work.path)
    return replace(options, **chosen)


def _chunk(edge: int) -> int:
    """Return the largest chunk of at most 64 voxels that divides a shard's edge."""
    best = max(d for d in range(1, _CHUNK_VOXELS + 1) if edge % d == 0)
    # An edge with small divisors only (a prime) is better left whole than cut into slivers.
    return edge if best < min(edge, _CHUNK_VOXELS // 4) else best
