"""A volume on disk to a vessel mask on disk, in memory bounded by one block a worker."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from vpbsd.blockwise import Block, BlockDone, Run, failures_in_kind, fill_outputs
from vpbsd.blockwise.progress import voxel_progress
from vpbsd.segment.options import SegmentModel, SegmentOptions, SegmentReport
from vpbsd.segment.prepare import Segmentation, prepare_segmentation
from vpbsd.volumes import Location, Volume, is_url, open_volume

__all__ = ["run_segmentation", "segment_volume"]

logger = logging.getLogger(__name__)


def segment_volume(
    volume: Location | Volume,
    model: SegmentModel,
    out: Location,
    options: SegmentOptions | None = None,
) -> SegmentReport:
    """Segment a volume and write the mask as OME-Zarr.

    The mask is 1 where the probability is at least the threshold, else 0 (uint8). With
    ``options.probability`` the probabilities go to ``OUT_probability.ome.zarr`` as uint8, 255
    times the probability, rounded. Outputs carry the voxel size and, in the attribute ``vpbsd``,
    how they came about; they appear under their names only when they are complete. Until then
    ``OUT.ome.zarr.work`` holds what is finished, and the same call goes on from there.

    Parameters
    ----------
    volume
        A file, folder or URL in any format that is read, or an open volume.
    model
        Loaded model.
    out
        Name of the mask; ends in ``.zarr``, or is ``IMAGE.ome.zarr/labels/NAME``.
    options
        Defaults if not given.

    Raises
    ------
    OutputError
        If an output exists, is being written by another run, was begun with other settings, or
        will not fit on the disk.
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
        out = out if is_url(out) else Path(out)
        return run_segmentation(prepare_segmentation(volume, model, out, options))


def run_segmentation(segmentation: Segmentation) -> SegmentReport:
    """Run what was prepared; see :func:`segment_volume`."""
    voxels = int(np.prod(segmentation.volume.shape_zyx, dtype=np.int64))
    # A run that is taken up again shows what is left of it.
    total = voxels * segmentation.todo_blocks // len(segmentation.plan)
    with voxel_progress("segmenting", total, show=segmentation.options.progress) as advance:

        def done(block: Block, _: BlockDone) -> None:
            advance(block.write.size_voxels)

        with failures_in_kind():
            run = fill_outputs(segmentation.job, segmentation.operation, done)
    return _report(segmentation, run)


def _report(segmentation: Segmentation, run: Run) -> SegmentReport:
    shape = segmentation.volume.shape_zyx
    voxels = int(np.prod(shape, dtype=np.int64))
    blocks = len(segmentation.plan)
    # Of the blocks finished so far; where parts are missing, their share of the volume.
    finished = voxels * (blocks - run.missing) / blocks
    computed = voxels * run.done / blocks
    known = not (run.missing or run.elsewhere)
    warning = _warning(segmentation, run.count, voxels) if known else None
    if warning is not None:
        logger.warning(warning)
    return SegmentReport(
        mask=segmentation.mask,
        probability=segmentation.probability,
        shape_zyx=shape,
        blocks=run.done,
        resumed_blocks=run.skipped,
        missing_blocks=run.missing,
        overhead=segmentation.plan.overhead,
        foreground_share=None if run.elsewhere else run.count / max(finished, 1),
        threshold=segmentation.threshold,
        precision=segmentation.spec.precision,
        runtime=segmentation.spec.name,
        seconds=run.seconds,
        voxels_per_second=computed / max(run.seconds, 1e-9),
        io_share=run.io_share,
        warning=warning,
    )


def _warning(segmentation: Segmentation, foreground: int, voxels: int) -> str | None:
    if foreground not in (0, voxels):
        return None
    what = "no vessel at all" if foreground == 0 else "nothing but vessel"
    other = "without" if segmentation.options.invert else "with"
    return (
        f"the mask of '{segmentation.volume.source}' holds {what} at threshold "
        f"{segmentation.threshold:g}: is this the right channel, are vessels brighter than the "
        f"tissue (else try {other} --invert), is the voxel size near that of the model's training "
        "data?"
    )
