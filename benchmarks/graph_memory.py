"""Memory that a graph takes once its blocks are done: how it grows with the volume.

One block of a simulated brain's mask, 128 voxels wide, is skeletonised; its fragment is then
repeated 14 and 22 times along each axis, 5.8 and 22.3 gigavoxels, without a mask of that size.
Each is stitched, cleaned, measured and written in a process of its own. What counts is private
memory (``RssAnon``): files that are mapped are given up by the system when memory is short.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import harness
import numpy as np
from processes import watch

_T = TypeVar("_T")

BLOCK = 128
REPEATS = (14, 22)
QUICK_BLOCK, QUICK_REPEATS = 48, (1, 2)
VOXEL_SIZE_UM = (2.0, 2.0, 2.0)


def measure(arguments: argparse.Namespace) -> Iterator[harness.Row]:
    width = QUICK_BLOCK if arguments.quick else BLOCK
    block = skeleton(arguments, width)
    runs = []
    for repeats in QUICK_REPEATS if arguments.quick else REPEATS:
        out = arguments.work / f"graph_memory_{repeats}"
        command = [sys.executable, __file__, "--once", str(block), str(repeats), str(out)]
        runs.append(json.loads(watch(command).output))
    small, large = runs
    more = large["gigavoxels"] - small["gigavoxels"]
    grown_gb = (large["private_peak_gb"] - small["private_peak_gb"]) / more
    yield harness.Row("graph_private_gb_per_gigavoxel", grown_gb, {"small": small, "large": large})


def skeleton(arguments: argparse.Namespace, width: int) -> Path:
    """Return a file with the skeleton of one block and its radii."""
    from vpbsd.data.simulate import BrainVolume
    from vpbsd.geometry import Box, VoxelSize
    from vpbsd.graph.skeleton.distance import distance_um, radius_um
    from vpbsd.graph.skeleton.thinning import thin

    brain = BrainVolume(
        [5 * width] * 3,
        arguments.seed,
        voxel_size_um=VOXEL_SIZE_UM,
        specimen_voxels=64 if arguments.quick else 192,
        cache_dir=arguments.work,
    )
    size = VoxelSize.of(VOXEL_SIZE_UM)
    mask = brain.truth.read(Box((2 * width,) * 3, (3 * width,) * 3))[0] > 0
    distance = distance_um(mask, size)
    thinned = np.array(thin(distance, size, (0, 0, 0)), bool)
    for axis in range(3):  # each copy ends at its faces, as if it were alone
        np.moveaxis(thinned, axis, 0)[[0, -1]] = False
    path: Path = arguments.work / f"skeleton_{width}_seed_{arguments.seed}.npz"
    np.savez(path, thinned=thinned, radius_um=radius_um(distance, np.argwhere(thinned), size))
    return path


def once(block: Path, repeats: int, out: Path) -> dict[str, Any]:
    """Finish the graph of ``repeats`` copies along each axis; return what that took."""
    from vpbsd.geometry import VoxelSize
    from vpbsd.graph.cleaning.clean import clean
    from vpbsd.graph.files import write_graph, write_vtp
    from vpbsd.graph.fragments.fragment import Fragment, trace
    from vpbsd.graph.fragments.stitch import stitch
    from vpbsd.graph.measures.edges import measure_edges
    from vpbsd.graph.measures.summary import summarise
    from vpbsd.graph.pages import Pages

    kept = np.load(block)
    padded, radius_um = np.pad(kept["thinned"], 1), kept["radius_um"]
    width = padded.shape[0] - 2
    shape = (width * repeats,) * 3

    def fragments() -> Iterator[Fragment]:
        for at in np.ndindex((repeats,) * 3):
            yield trace(padded, radius_um, tuple(width * i for i in at), shape)

    def finish() -> tuple[int, int]:
        pages = Pages(out / "pages")
        graph, _ = clean(stitch(fragments, shape, VoxelSize.of(VOXEL_SIZE_UM), pages))
        measures = measure_edges(graph)
        write_graph(graph, out, measures)
        write_vtp(graph, out / "graph.vtp", measures)
        summarise(graph, measures)
        return graph.edges, len(graph.point_radius_um)

    start = time.perf_counter()
    (edges, points), peak_bytes = private_peak(finish)
    return {
        "gigavoxels": round(width**3 * repeats**3 / 1e9, 3),
        "edges": edges,
        "points": points,
        "seconds": round(time.perf_counter() - start, 1),
        "private_peak_gb": round(peak_bytes / 1e9, 4),
    }


def private_peak(call: Callable[[], _T]) -> tuple[_T, int]:
    """Call; return the result, and the most private memory seen a hundred times a second."""
    done = threading.Event()
    peak = private_bytes()

    def look() -> None:
        nonlocal peak
        while not done.wait(0.01):
            peak = max(peak, private_bytes())

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        result = call()
    finally:
        done.set()
        watcher.join()
    return result, peak


def private_bytes() -> int:
    """Return the private memory of this process; 0 where there is no /proc."""
    status = Path("/proc/self/status")
    lines = status.read_text("ascii").splitlines() if status.exists() else []
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--once"]:
        done = once(Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
        sys.stdout.write(json.dumps(done))
    else:
        harness.run(measure, __doc__ or "")
