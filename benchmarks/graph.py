"""From mask to graph: speed, memory, the same result for any block, and what skan takes.

The mask is the truth of a simulated brain, cut out of its middle, so that there is tissue and
vessels everywhere. Each run is the command ``vpbsd graph`` in a process of its own: reading,
skeleton, stitching, cleaning, measures, Parquet and VTP, regions and distances to the nearest
vessel. skan makes its table of branches in a process of its own as well.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import harness
import numpy as np
from numpy.typing import NDArray
from processes import Watched, watch

from vpbsd.blockwise import Workers
from vpbsd.convert import ConvertOptions, convert_volume
from vpbsd.data.simulate import BrainVolume
from vpbsd.geometry import Box
from vpbsd.volumes import Volume, open_volume

LARGE, SMALL, MEDIUM = (1280, 1280, 1280), (640, 640, 1280), (512, 512, 512)
QUICK = ((64, 64, 64), (48, 48, 48), (48, 48, 48))
BLOCKS = (128, 192, 250, 384)
QUICK_BLOCKS = (24, 33)
VOXEL_SIZE_UM = (2.0, 2.0, 2.0)


def measure(arguments: argparse.Namespace) -> Iterator[harness.Row]:
    large, small, medium = QUICK if arguments.quick else (LARGE, SMALL, MEDIUM)
    yield from speed_and_memory(arguments, small, large)
    volume = mask(arguments, medium)
    yield same_graph(arguments, volume)
    yield against_skan(arguments, volume)


def speed_and_memory(
    arguments: argparse.Namespace, small: Sequence[int], large: Sequence[int]
) -> Iterator[harness.Row]:
    runs = []
    for shape in (small, large):
        source, out = mask(arguments, shape), arguments.work / "graph"
        watched = graph(source, out, "--workers", "1" if arguments.quick else "2")
        summary = json.loads((out / "summary.json").read_text("utf-8"))
        voxels = int(np.prod(shape, dtype=np.int64))
        runs.append(
            # Skeleton, stitching and regions follow one another in processes of their own, so that
            # what counts is the peak of all together.
            {
                "shape_voxels": list(shape),
                "vessel_share": round(vessel_share(source), 4),
                "seconds": round(watched.seconds, 1),
                "mvoxel_per_s": round(voxels / watched.seconds / 1e6, 2),
                "peak_gb": round(watched.together_bytes / 1e9, 3),
                "peaks_of_processes_gb": [round(p / 1e9, 3) for p in watched.peaks_bytes],
                "measures": summary["measures"],
            }
        )
    details = {"small": runs[0], "large": runs[1], "workers": 2, "load": harness.load()}
    yield harness.Row("graph_mvoxel_per_s", runs[1]["mvoxel_per_s"], details)
    yield harness.Row("graph_peak_gb", runs[1]["peak_gb"], details)
    yield harness.Row("graph_memory_growth", runs[1]["peak_gb"] / runs[0]["peak_gb"], details)


def same_graph(arguments: argparse.Namespace, source: Path) -> harness.Row:
    """Compare the files of four block sizes, in this process and with two workers."""
    blocks = QUICK_BLOCKS if arguments.quick else BLOCKS
    files: dict[str, tuple[bytes, ...]] = {}
    for block in blocks:
        for workers in ("1",) if arguments.quick else ("1", "2"):
            out = arguments.work / "graph"
            edges = ["--block-voxels", *[str(block)] * 3]
            graph(source, out, "--workers", workers, *edges)
            names = ("nodes.parquet", "edges.parquet")
            files[f"{block}, {workers} workers"] = tuple((out / n).read_bytes() for n in names)
    return harness.Row("graph_different", len(set(files.values())), {"runs": list(files)})


def against_skan(arguments: argparse.Namespace, source: Path) -> harness.Row:
    """Time whole commands, start and files included, each on one core."""
    out, table = arguments.work / "graph", arguments.work / "skan.parquet"
    script = Path(__file__).with_name("skan_once.py")
    found: dict[str, Any] = {}

    def ours() -> None:
        # skan measures no distances from tissue to vessels.
        graph(source, out, "--workers", "1", "--extravascular", "0")
        found["vpbsd"] = json.loads((out / "summary.json").read_text("utf-8"))["measures"]

    def theirs() -> None:
        command = [sys.executable, str(script), str(source), str(table)]
        found["skan"] = json.loads(watch(command).output)

    rounds = 1 if arguments.quick else 3
    harness.confine(1)
    seconds = harness.interleaved({"vpbsd": ours, "skan": theirs}, rounds)
    harness.confine(arguments.threads)
    took = harness.medians(seconds)
    with open_volume(source) as volume:
        shape = list(volume.shape_zyx)
    details = {
        "shape_voxels": shape,
        "seconds": {name: [round(s, 2) for s in values] for name, values in seconds.items()},
        **found,
        "load": harness.load(),
    }
    return harness.Row("graph_over_skan", took["skan"] / took["vpbsd"], details)


# ------------------------------------------------------------------------------------------ inputs


def graph(source: Path, out: Path, *options: str) -> Watched:
    """Run ``vpbsd graph`` to its end."""
    for left in (out, out.with_name(f"{out.name}.work")):
        shutil.rmtree(left, ignore_errors=True)
    command = [sys.executable, "-m", "vpbsd", "graph", str(source), "-o", str(out), *options]
    return watch([*command, "--quiet"])


class Middle(Volume):
    """The middle of another volume."""

    def __init__(self, whole: Volume, shape: Sequence[int]) -> None:
        super().__init__(
            f"middle of {whole.source}", (1, *shape), whole.dtype, whole.require_voxel_size()
        )
        self._whole = whole
        self._start = [(n - m) // 2 for n, m in zip(whole.shape_zyx, shape, strict=True)]

    def _read(self, box: Box, channels: tuple[int, ...]) -> NDArray[Any]:
        return self._whole.read(box.shift(self._start), channels)


def mask(arguments: argparse.Namespace, shape: Sequence[int]) -> Path:
    """Return the OME-Zarr of a mask, simulated if it is not there."""
    name = "x".join(str(n) for n in shape)
    path: Path = arguments.work / f"vessels_{name}_seed_{arguments.seed}.ome.zarr"
    if not path.exists():
        start = time.perf_counter()
        whole = BrainVolume(
            [2 * n for n in shape],
            arguments.seed,
            voxel_size_um=VOXEL_SIZE_UM,
            specimen_voxels=64 if arguments.quick else 320,
            cache_dir=arguments.work,
        )
        workers = Workers(processes=1 if arguments.quick else 2, threads=1)
        convert_volume(
            Middle(whole.truth, shape), path, ConvertOptions(labels=True, workers=workers)
        )
        harness.logger.info("made %s in %.0f s", path.name, time.perf_counter() - start)
    return path


def vessel_share(source: Path) -> float:
    """Return the share of vessel voxels, from one plane in 64."""
    with open_volume(source) as volume:
        z, y, x = volume.shape_zyx
        planes = [volume.read(Box((i, 0, 0), (i + 1, y, x))) for i in range(0, z, 64)]
    return float(np.mean([plane.astype(bool).mean() for plane in planes]))


if __name__ == "__main__":
    harness.run(measure, __doc__, threads=2)
