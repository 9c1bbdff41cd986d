"""A mask on disk against the truth on disk: in memory where it fits, else block by block."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path

from vpbsd.blockwise import Workers
from vpbsd.blockwise.progress import voxel_progress
from vpbsd.errors import DataError
from vpbsd.geometry import VoxelSize, tile
from vpbsd.machine import available_memory_bytes, usable_cores
from vpbsd.metrics.by_block import BYTES_PER_VOXEL, BlockwiseOptions, score_by_block
from vpbsd.metrics.calibration import Calibration, calibration
from vpbsd.metrics.calibre import CAPILLARY_RADIUS_UM
from vpbsd.metrics.files import common_voxel_size, read_mask, read_mask_box, require_one_shape
from vpbsd.metrics.scores import Scores, score
from vpbsd.volumes import CachedVolume, Volume, open_volume

__all__ = ["EvaluateOptions", "calibrate", "evaluate", "read_mask"]

logger = logging.getLogger(__name__)

_TILE_VOXELS = 256
_CACHE_BYTES = 256 * 2**20
_DEFAULT = BlockwiseOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateOptions:
    """Choices of one evaluation.

    Attributes
    ----------
    capillary_radius_um
        Vessels of a smaller radius are capillaries.
    workers
        Score block by block with so many local processes, even where memory would do; by default
        in memory if it does, else with one process a core, as far as their memory is there.
    memory_bytes, work
        See `BlockwiseOptions`.
    progress
        Show a bar on stderr while blocks are scored.
    """

    capillary_radius_um: float = CAPILLARY_RADIUS_UM
    workers: int | None = None
    memory_bytes: int = _DEFAULT.memory_bytes
    work: Path | None = None
    progress: bool = False


def evaluate(
    mask: Path,
    truth: Path,
    voxel_size_um: Sequence[float] | None = None,
    options: EvaluateOptions | None = None,
) -> tuple[Scores, VoxelSize]:
    """Score the mask in one file against the truth in another.

    Volumes that do not fit into memory are scored block by block, and the log says so; which
    scores that leaves out is told in ``Scores.note``.

    Parameters
    ----------
    mask, truth
        In any format that is read, one channel, of one shape; voxels above 0 are vessel.
    voxel_size_um
        (z, y, x); by default what the files state.
    options
        Defaults if not given.

    Returns
    -------
    scores, voxel_size_um
        The voxel size is the one that distances were measured with.

    Raises
    ------
    DataError
        If a file is not a mask, the two do not belong together, or no voxel size is known.
    ConfigError
        If an option is out of range, or memory will not do even block by block.
    OutputError
        If the work folder cannot be used.
    BlocksFailedError
        If blocks failed for other reasons.
    """
    options = options or EvaluateOptions()
    given = None if voxel_size_um is None else VoxelSize.of(voxel_size_um)
    with (
        open_volume(mask, voxel_size_um=given) as predicted,
        open_volume(truth, voxel_size_um=given) as true,
    ):
        require_one_shape(predicted, true)
        size = common_voxel_size(predicted, true)
        if options.workers is None and options.work is None and _fits(predicted, true):
            found = score(
                read_mask(predicted),
                read_mask(true),
                size,
                capillary_radius_um=options.capillary_radius_um,
            )
            return found, size
        return _by_block(predicted, true, size, options), size


def calibrate(probability: Path, truth: Path) -> Calibration:
    """Compare the probabilities in one file with the truth in another, box by box.

    Parameters
    ----------
    probability
        One channel, floating point from 0 to 1, or uint8 where 255 stands for 1.
    truth
        One channel of the same shape; voxels above 0 are vessel.

    Raises
    ------
    DataError
        If the values cannot be probabilities, or the two do not belong together.
    """
    with open_volume(probability) as values, open_volume(truth) as true:
        require_one_shape(values, true)
        if values.channels != 1:
            raise DataError(
                f"'{values.source}' has {values.channels} channels; probabilities have one"
            )
        p, y = CachedVolume(values, _CACHE_BYTES), CachedVolume(true, _CACHE_BYTES)
        boxes = tile(values.shape_zyx, _TILE_VOXELS)
        return reduce(add, (calibration(p.read(b)[0], read_mask_box(y, b)) for b in boxes))


def _fits(mask: Volume, truth: Volume) -> bool:
    """Whether both masks can be scored in memory; says so where not."""
    stored = mask.dtype.itemsize + truth.dtype.itemsize
    needed = math.prod(mask.shape_zyx) * (BYTES_PER_VOXEL + stored)
    free = available_memory_bytes()
    if needed > free:
        logger.info(
            "scoring %s voxels at once would take about %.1f GiB of memory and %.1f GiB are free: "
            "scoring block by block",
            mask.shape_zyx,
            needed / 2**30,
            free / 2**30,
        )
    return needed <= free


def _by_block(mask: Volume, truth: Volume, size: VoxelSize, options: EvaluateOptions) -> Scores:
    processes = options.workers
    if processes is None:
        affordable = available_memory_bytes() // options.memory_bytes
        processes = max(1, min(usable_cores(), affordable))
    blockwise = BlockwiseOptions(
        workers=Workers(processes=processes, threads=0 if processes == 1 else 1),
        memory_bytes=options.memory_bytes,
        capillary_radius_um=options.capillary_radius_um,
        work=options.work,
    )
    total = math.prod(mask.shape_zyx)
    with voxel_progress("scoring", total, show=options.progress) as advance:
        return score_by_block(
            mask, truth, size, blockwise, lambda block, _: advance(block.write.size_voxels)
        )
