"""Which runtime and precision a run uses: as told, as before, or the fastest on a real block."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vpbsd.blockwise import Block, Plan, plan_blocks
from vpbsd.blockwise.lock import only_run
from vpbsd.errors import ConfigError
from vpbsd.geometry import Box
from vpbsd.machine import choose_device, choose_precision
from vpbsd.segment.block import read_padded
from vpbsd.segment.options import SegmentModel, SegmentOptions
from vpbsd.segment.runtimes import (
    MAX_INT8_LOSS_POINTS,
    Runtime,
    RuntimeSpec,
    choose_runtime,
    int8_loss,
    make_runtime,
    quantise,
)
from vpbsd.volumes import IntensityScale, Volume

__all__ = ["pick_runtime"]

logger = logging.getLogger(__name__)

# Below this, measuring takes longer than it saves.
_WORTH_MEASURING_VOXELS = 200_000_000
_TIMED_BLOCK_VOXELS = 128
_INT8_BLOCKS = 8
_INT8_BLOCK_VOXELS = 96
_INT8_WAIT_SECONDS = 900.0


def pick_runtime(
    volume: Volume,
    scale: IntensityScale,
    model: SegmentModel,
    options: SegmentOptions,
    folder: Path,
) -> tuple[RuntimeSpec, Runtime, str]:
    """Return how the net is evaluated, the same made in this process, and why, as a sentence.

    Parameters
    ----------
    volume, scale
        What is to be segmented, and its intensities.
    model
        The net.
    options
        What the user said.
    folder
        Where a quantised net is kept, so that every worker and a resumed run use the same.

    Raises
    ------
    ConfigError
        If int8 is asked for and loses too much on blocks of this volume.
    MissingExtraError
        If OpenVINO is asked for and not installed.
    """
    device = choose_device(options.device)
    threads = options.workers.threads
    small = math.prod(volume.shape_zyx) < _WORTH_MEASURING_VOXELS
    if options.precision == "int8":
        return _int8(volume, scale, model, options, folder)
    if options.precision != "auto" and options.runtime != "auto":
        spec = RuntimeSpec(options.runtime, options.precision, device, threads)
        why = f"{spec.name} {spec.precision}, as told"
    elif small:
        precision = choose_precision(options.precision, device)
        name = "torch" if options.runtime == "auto" else options.runtime
        spec = RuntimeSpec(name, precision, device, threads)
        why = f"{spec.name} {spec.precision}, the usual on such a processor"
    else:
        image, block = next(_samples(volume, scale, model, 1, _TIMED_BLOCK_VOXELS))
        choice = choose_runtime(
            model.net,
            image,
            block.crop,
            precision=options.precision,
            runtime=options.runtime,
            device=device,
            threads=threads,
        )
        spec, why = choice.spec, choice.sentence
    return spec, make_runtime(model.net, spec), why


def _int8(
    volume: Volume,
    scale: IntensityScale,
    model: SegmentModel,
    options: SegmentOptions,
    folder: Path,
) -> tuple[RuntimeSpec, Runtime, str]:
    """Quantise on blocks of this volume, once, and refuse if the mask suffers."""
    if options.runtime == "torch":
        raise ConfigError("int8 is computed by OpenVINO only; use --runtime openvino or auto")
    # The name says what it was made from: a folder may still hold that of another run.
    path = folder / f"int8-{model.fingerprint[:16]}-{volume.fingerprint()[:16]}.xml"
    samples = list(_samples(volume, scale, model, 2 * _INT8_BLOCKS, _INT8_BLOCK_VOXELS))
    # Half to set the quantiser's ranges, the other half to see what it costs.
    calibration = [image for image, _ in samples[::2]]
    held_out = samples[1::2] or samples
    folder.mkdir(parents=True, exist_ok=True)
    # Parts that start together wait for the first: all must use the same quantised net.
    with only_run(folder / "int8.lock", f"'{path}'", wait_seconds=_INT8_WAIT_SECONDS):
        if not path.exists():
            quantise(model.net, calibration, path)
    spec = RuntimeSpec("openvino", "int8", "cpu", options.workers.threads, int8_path=path)
    runtime = make_runtime(model.net, spec)
    threshold = model.threshold if options.threshold is None else options.threshold
    lost = int8_loss(model.net, runtime, [image for image, _ in held_out], threshold)
    if lost > MAX_INT8_LOSS_POINTS:
        raise ConfigError(
            f"int8 would lose {lost:.2f} points of clDice against fp32 on blocks of this volume, "
            f"more than {MAX_INT8_LOSS_POINTS}; use --precision bf16 or auto"
        )
    return spec, runtime, f"openvino int8, which loses {lost:.2f} points of clDice against fp32"


def _samples(
    volume: Volume, scale: IntensityScale, model: SegmentModel, count: int, edge: int
) -> Iterator[tuple[NDArray[np.float32], Block]]:
    """Yield normalised blocks with the most signal among some spread over the volume."""
    net = make_runtime(model.net, RuntimeSpec())
    block = [max(s, edge // s * s) for s in net.stride]
    plan = plan_blocks(volume.shape_zyx, block, net.halo_voxels, net.stride)
    looked = [_look(volume, plan, i) for i in _spread(len(plan), 3 * count)]
    brightest = sorted(looked, key=lambda seen: seen[0], reverse=True)[:count]
    for _, index in sorted(brightest, key=lambda seen: seen[1]):
        yield scale.apply(read_padded(volume, plan[index].read)), plan[index]


def _look(volume: Volume, plan: Plan, index: int) -> tuple[float, int]:
    """Return the brightness of the middle of a block, and the block."""
    box = plan[index].write
    start = [a + n // 4 for a, n in zip(box.start, box.shape, strict=True)]
    values = volume.read(Box.at(start, [max(1, n // 2) for n in box.shape]))
    return float(values.mean(dtype=np.float64)), index


def _spread(total: int, count: int) -> list[int]:
    return sorted({total * (2 * i + 1) // (2 * count) for i in range(min(count, total))})
