"""A volume on disk to a vessel mask on disk, in memory bounded by one block."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vpbsd.blockwise import Block, Plan, Run, run_serial
from vpbsd.errors import BlocksFailedError, OutputError, UserError
from vpbsd.geometry import Triplet, as_triplet
from vpbsd.machine import choose_device, choose_precision, describe_machine, free_bytes
from vpbsd.provenance import provenance
from vpbsd.segment.block import probability
from vpbsd.segment.channels import SelectedChannels
from vpbsd.segment.options import SegmentModel, SegmentOptions, SegmentReport
from vpbsd.segment.predict import plan_volume, require_channels
from vpbsd.segment.progress import voxel_progress
from vpbsd.segment.runtime import Runtime, TorchRuntime
from vpbsd.volumes import (
    IntensityScale,
    OmeZarrWriter,
    OutputLayout,
    Volume,
    estimate_intensity,
    open_volume,
)

__all__ = ["probability_path", "segment_volume"]

logger = logging.getLogger(__name__)

_CHUNK_VOXELS = 64
# Bitshuffle puts the one bit that a mask uses into an eighth of its bytes; the coarser levels of
# the pyramid add a seventh. Probabilities may be noise, which does not compress at all.
_MASK_BYTES_PER_VOXEL = 0.15
_PROBABILITY_BYTES_PER_VOXEL = 1.15


@dataclass(frozen=True, slots=True)
class _Job:
    """Everything that is known before the first block."""

    volume: Volume
    runtime: Runtime
    scale: IntensityScale
    plan: Plan
    threshold: float
    mask: Path
    probability: Path | None


def segment_volume(
    volume: str | Path | Volume,
    model: SegmentModel,
    out: str | Path,
    options: SegmentOptions | None = None,
    *,
    runtime: Runtime | None = None,
) -> SegmentReport:
    """Segment a volume and write the mask as OME-Zarr.

    The mask is 1 where the probability is at least the threshold, else 0 (uint8). With
    ``options.probability`` the probabilities go to ``OUT_probability.ome.zarr`` as uint8, 255
    times the probability, rounded. Outputs carry the voxel size and, in the attribute ``vpbsd``,
    how they came about; they appear under their names only when they are complete.

    Parameters
    ----------
    volume
        A file or folder in any format that is read, or an open volume.
    model
        Loaded model.
    out
        Name of the mask; ends in ``.zarr``.
    options
        Defaults if not given.
    runtime
        What evaluates the model; by default torch, in the precision and on the device of the
        options.

    Raises
    ------
    OutputError
        If an output exists, is not named ``.zarr``, or will not fit on the disk.
    VoxelSizeUnknownError
        If neither the file nor the caller gives the voxel size.
    DataError
        If the volume has another number of channels than the model, or (IntensityError) holds
        NaN, or a part of it cannot be read.
    BlocksFailedError
        If blocks failed for other reasons.
    """
    options = options or SegmentOptions()
    with ExitStack() as stack:
        if not isinstance(volume, Volume):
            volume = stack.enter_context(open_volume(volume))
        job = _prepare(volume, model, Path(out), options, runtime)
        writers = {
            kind: stack.enter_context(writer)
            for kind, writer in _outputs(job, _about(job, model, options), options.overwrite)
        }
        foreground, run = _run_blocks(job, writers, show=options.progress)
    return _report(job, options, foreground, run)


def probability_path(mask: Path) -> Path:
    """Return where the probabilities go: ``brain.ome.zarr`` has ``brain_probability.ome.zarr``.

    Raises
    ------
    OutputError
        If the mask's name does not end in ``.zarr``.
    """
    stem = mask.name.removesuffix(".zarr").removesuffix(".ome")
    if not mask.name.endswith(".zarr") or not stem:
        raise OutputError(
            f"'{mask}' must end in .ome.zarr, the one format that is written; other formats can "
            "be made from it by any OME-Zarr reader"
        )
    return mask.with_name(f"{stem}_probability.ome.zarr")


def _prepare(
    volume: Volume,
    model: SegmentModel,
    mask: Path,
    options: SegmentOptions,
    runtime: Runtime | None,
) -> _Job:
    """Refuse what cannot work, before anything takes time."""
    volume.require_voxel_size()
    beside = probability_path(mask)
    outputs = [mask, *([beside] if options.probability else [])]
    for path in outputs:
        if path.absolute() == Path(volume.source).absolute():
            raise OutputError(f"'{path}' is the input itself; choose another name for the output")
        if path.exists() and not options.overwrite:
            raise OutputError(
                f"'{path}' exists already; pass --overwrite to replace it, or choose another name"
            )
    _require_disk(mask, volume.shape_zyx, with_probability=options.probability)
    if options.channels is not None:
        volume = SelectedChannels(volume, options.channels)
    if runtime is None:
        device = choose_device(options.device)
        runtime = TorchRuntime(model.net, choose_precision(options.precision, device), device)
    require_channels(volume, runtime)
    return _Job(
        volume=volume,
        runtime=runtime,
        plan=plan_volume(
            volume,
            runtime,
            block_voxels=options.block_voxels,
            memory_bytes=options.memory_bytes,
        ),
        scale=estimate_intensity(volume, invert=options.invert),
        threshold=model.threshold if options.threshold is None else options.threshold,
        mask=mask,
        probability=beside if options.probability else None,
    )


def _require_disk(mask: Path, shape: Triplet, *, with_probability: bool) -> None:
    per_voxel = _MASK_BYTES_PER_VOXEL + (_PROBABILITY_BYTES_PER_VOXEL if with_probability else 0.0)
    needed, free = float(np.prod(shape, dtype=float)) * per_voxel, free_bytes(mask)
    if needed > free:
        less = ", leave out the probability" if with_probability else ""
        raise OutputError(
            f"segmenting {shape} voxels may need {needed / 1e9:.1f} GB at '{mask.parent}', where "
            f"{free / 1e9:.1f} GB are free; make room{less}, or choose another disk"
        )


def _outputs(
    job: _Job, about: Mapping[str, Any], overwrite: bool
) -> Iterator[tuple[str, OmeZarrWriter]]:
    """Start one output after the other.

    The mask comes first, so that it is finished last: where there is a mask, all is there.
    """
    kinds: list[tuple[Literal["mask", "probability"], Path | None]]
    kinds = [("mask", job.mask), ("probability", job.probability)]
    for kind, path in kinds:
        if path is None:
            continue
        layout = OutputLayout(
            shape=job.volume.shape_zyx,
            dtype=np.uint8,
            voxel_size_um=job.volume.require_voxel_size(),
            kind=kind,
            shard=job.plan.block,
            chunk=as_triplet([_chunk(edge) for edge in job.plan.block]),
        )
        yield (
            kind,
            OmeZarrWriter.create(
                path, layout, attributes=_meaning(kind, about), overwrite=overwrite
            ),
        )


def _chunk(edge: int) -> int:
    """Return the largest chunk of at most 64 voxels that divides a shard's edge."""
    best = max(d for d in range(1, _CHUNK_VOXELS + 1) if edge % d == 0)
    # An edge with small divisors only (a prime) is better left whole than cut into slivers.
    return edge if best < min(edge, _CHUNK_VOXELS // 4) else best


def _about(job: _Job, model: SegmentModel, options: SegmentOptions) -> dict[str, Any]:
    fingerprint = job.volume.fingerprint()
    return {
        "input": {
            "source": job.volume.source,
            "fingerprint": fingerprint,
            "channels": options.channels and list(options.channels),
        },
        "model": {"kind": model.kind, "fingerprint": model.fingerprint},
        "intensity": job.scale.to_dict(),
        "threshold": job.threshold,
        "precision": getattr(job.runtime, "precision", None),
        "voxel_size_um": list(job.volume.require_voxel_size().zyx_um),
        "blocks": {
            "block": list(job.plan.block),
            "halo": list(job.plan.halo),
            "stride": list(job.plan.stride),
        },
        "provenance": provenance(
            options.command,
            {job.volume.source: fingerprint, "model": model.fingerprint},
            machine=describe_machine(),
        ),
    }


def _meaning(kind: str, about: Mapping[str, Any]) -> dict[str, Any]:
    meaning = {
        "mask": "1 = vessel (probability >= threshold), 0 = background",
        "probability": "value / 255 = probability of vessel",
    }
    return {"kind": kind, "meaning": meaning[kind], **about}


def _run_blocks(job: _Job, writers: Mapping[str, OmeZarrWriter], *, show: bool) -> tuple[int, Run]:
    """Segment all blocks; returns the number of foreground voxels and the run."""
    foreground = 0

    def operation(block: Block) -> int:
        values = probability(job.volume, job.scale, job.runtime, block)
        vessel = values >= job.threshold
        writers["mask"].write(block.write, vessel.view(np.uint8))
        if "probability" in writers:
            writers["probability"].write(block.write, np.rint(values * 255).astype(np.uint8))
        return int(np.count_nonzero(vessel))

    total = int(np.prod(job.volume.shape_zyx, dtype=np.int64))
    with voxel_progress("segmenting", total, show=show) as advance:

        def done(block: Block, count: int) -> None:
            nonlocal foreground
            foreground += count
            advance(block.write.size_voxels)

        try:
            run = run_serial(job.plan, operation, done)
        except BlocksFailedError as error:
            if isinstance(error.__cause__, UserError):
                # The data are at fault, not the run: say so in the kind of error as well.
                raise type(error.__cause__)(str(error)) from error
            raise
    return foreground, run


def _report(job: _Job, options: SegmentOptions, foreground: int, run: Run) -> SegmentReport:
    voxels = int(np.prod(job.volume.shape_zyx, dtype=np.int64))
    share = foreground / voxels
    warning = None
    if foreground in (0, voxels):
        what = "no vessel at all" if foreground == 0 else "nothing but vessel"
        other = "without" if options.invert else "with"
        warning = (
            f"the mask of '{job.volume.source}' holds {what} at threshold {job.threshold:g}: is "
            f"this the right channel, are vessels brighter than the tissue (else try {other} "
            "--invert), is the voxel size near that of the model's training data?"
        )
        logger.warning(warning)
    return SegmentReport(
        mask=job.mask,
        probability=job.probability,
        shape_zyx=job.volume.shape_zyx,
        blocks=run.done,
        overhead=job.plan.overhead,
        foreground_share=share,
        threshold=job.threshold,
        precision=str(getattr(job.runtime, "precision", "")),
        seconds=run.seconds,
        voxels_per_second=voxels / max(run.seconds, 1e-9),
        warning=warning,
    )
