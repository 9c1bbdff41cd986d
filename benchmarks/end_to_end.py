"""What is lost between a net's own speed and a volume on disk; reading and writing; int8.

All on one core, one thread, in one process: the same volume from zarr to mask, through the net
in memory in one pass, and from zarr to mask in int8, in turn.
"""

from __future__ import annotations

import argparse
import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import harness
import subjects

from vpbsd.errors import UserError
from vpbsd.geometry import Box
from vpbsd.machine import available_memory_bytes

# A pass over the whole volume must leave the machine some memory.
MEMORY_SHARE = 0.6


def measure(arguments: argparse.Namespace) -> Iterator[harness.Row]:
    source = subjects.volume(arguments, (2, 2, 2))
    rounds = 1 if arguments.quick else 3
    for preset in ("fast", "fine"):
        model = subjects.model(arguments, preset)
        chosen = subjects.settle(arguments, model, subjects.options(precision="bf16"))
        prepared = subjects.prepare(source, model, subjects.options(**chosen))
        yield from against_one_pass(preset, source, model, prepared, rounds)
        larger = subjects.volume(arguments, (2, 2, 4))
        bf16 = subjects.prepare(larger, model, subjects.options(**chosen))
        yield int8_over_bf16(preset, larger, model, bf16, rounds)


def pass_in_memory(prepared: Any) -> tuple[Callable[[], object], int]:
    """Return a pass of the net over the volume, or the largest slab that fits, and its voxels."""
    runtime, stride = prepared.runtime, prepared.runtime.stride[0]
    z, y, x = prepared.volume.shape_zyx
    limit = MEMORY_SHARE * available_memory_bytes() / (runtime.bytes_per_voxel + 4)
    shape = (min(z, max(1, int(limit / (y * x * stride))) * stride), y, x)
    block = prepared.scale.apply(prepared.volume.read(Box.whole(shape)))
    return lambda: runtime.logits(block), math.prod(shape)


def against_one_pass(
    preset: str, source: Path, model: Any, prepared: Any, rounds: int
) -> Iterator[harness.Row]:
    chosen = {"precision": prepared.spec.precision, "runtime": prepared.spec.name}
    one_pass, voxels = pass_in_memory(prepared)
    runs: list[subjects.Run] = []

    def whole() -> None:
        runs.append(subjects.segment(source, model, subjects.options(**chosen)))

    seconds = harness.interleaved({"end_to_end": whole, "one_pass": one_pass}, rounds)
    del runs[0]  # the warm-up
    middle = harness.medians(seconds)
    ours, ideal = runs[0].voxels / middle["end_to_end"], voxels / middle["one_pass"]
    details = {
        **chosen,
        "seconds": {name: [round(s, 3) for s in values] for name, values in seconds.items()},
        "mvoxel_per_s": round(ours / 1e6, 3),
        "one_pass_mvoxel_per_s": round(ideal / 1e6, 3),
        "one_pass_voxels": voxels,
        "halo_overhead": round(runs[0].report.overhead, 3),
        "load": harness.load(),
    }
    yield harness.Row(f"end_to_end_over_one_pass_{preset}", ours / ideal, details)
    # With two lanes on one core, reading takes as long as the computing that goes on meanwhile.
    one_lane = subjects.options(lanes=1, **chosen)
    shares = [subjects.segment(source, model, one_lane).report.io_share for _ in range(rounds)]
    yield harness.Row(f"io_share_{preset}", median(shares), {"shares": shares, **chosen})


def int8_over_bf16(preset: str, source: Path, model: Any, bf16: Any, rounds: int) -> harness.Row:
    """Time blocks and pyramid in both precisions; the net is quantised before, once a volume."""
    name = f"int8_over_bf16_{preset}"
    try:
        int8 = keep_file(subjects.prepare(source, model, subjects.options(precision="int8")))
    except UserError as error:
        # Missing libraries, or a mask that lost too much: both are said, neither is a speed.
        return harness.Row(name, None, {"reason": str(error)})
    sides = {"bf16": lambda: subjects.run(bf16), "int8": lambda: subjects.run(int8)}
    # The warm-up builds the graph of each kind of block (inside, face, corner), as a worker does
    # once; a brain has no more kinds than this volume.
    seconds = harness.interleaved(sides, rounds)
    middle = harness.medians(seconds)
    return harness.Row(
        name,
        middle["bf16"] / middle["int8"],
        {
            "seconds": {side: [round(s, 3) for s in values] for side, values in seconds.items()},
            "picked": int8.picked,
            "load": harness.load(),
        },
    )


def keep_file(segmentation: Any) -> Any:
    """Copy the quantised net out of the work folder, which goes with the first run."""
    path = segmentation.spec.int8_path
    kept = Path(segmentation.mask).with_name(f"{path.stem}_kept")
    shutil.copytree(path.parent, kept, dirs_exist_ok=True)
    return replace(segmentation, spec=replace(segmentation.spec, int8_path=kept / path.name))


if __name__ == "__main__":
    harness.run(measure, __doc__)
