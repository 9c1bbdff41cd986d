"""A simulated brain of 4 gigavoxels, segmented while the run is killed twice, and its picture.

Makes the brain and a model where there are none, kills the whole run (`kill -9` to driver and
workers) at a third and at two thirds of the blocks, lets the same command finish, scores the mask
against the truth block by block, and draws three orthogonal slices from the pyramids.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from vpbsd.blockwise import plan_blocks
from vpbsd.geometry import Triplet
from vpbsd.machine import describe_machine
from vpbsd.provenance import write_json_atomic
from vpbsd.report.slices import slices_figure
from vpbsd.volumes import open_volume

SHAPE = (1600, 1600, 1600)
QUICK_SHAPE = (96, 128, 112)
KILL_AT = (1 / 3, 2 / 3)
HERE = Path(__file__).resolve().parent


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for volumes and mask")
    parser.add_argument(
        "--model", type=Path, help="run or file; by default the demo's, trained here"
    )
    parser.add_argument("--figure", type=Path, help="PNG to write (default: WORK/brain.png)")
    parser.add_argument("--results", type=Path, help="JSON to write (default: WORK/brain.json)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a tiny brain, only to see it work")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    image, truth = brain(arguments)
    model = arguments.model or demo_model(arguments)
    mask = arguments.work / "mask.ome.zarr"
    command = [
        "segment", str(image), "--model", str(model), "-o", str(mask), "--workers", "2"
    ]  # fmt: skip
    if arguments.quick:
        command += ["--block-voxels", "32", "32", "32"]
    with open_volume(image) as volume:
        shape = volume.shape_zyx
    story = killed_and_resumed(command, mask, shape)
    found = scores(mask, truth)
    figure = arguments.figure or arguments.work / "brain.png"
    with open_volume(image) as grey, open_volume(mask) as vessels, open_volume(truth) as true:
        slices_figure(grey, vessels, figure, truth=true)
    result = {
        "shape_voxels": list(shape),
        "command": shlex.join(["vpbsd", *command]),
        "seed": arguments.seed,
        **story,
        "scores": found,
        "machine": describe_machine(),
    }
    write_json_atomic(arguments.results or arguments.work / "brain.json", result)
    sys.stdout.write(json.dumps(result, indent=2) + "\n")


def brain(arguments: argparse.Namespace) -> tuple[Path, Path]:
    """Return image and truth, simulated if they are not there."""
    folder = arguments.work / "brain"
    image, truth = folder / "image.ome.zarr", folder / "truth.ome.zarr"
    if not truth.exists():
        shape = QUICK_SHAPE if arguments.quick else SHAPE
        run(["simulate", str(folder), "--brain", "--seed", str(arguments.seed), "--shape",
             *map(str, shape)])  # fmt: skip
    return image, truth


def demo_model(arguments: argparse.Namespace) -> Path:
    """Return the student of the demo, trained if it is not there."""
    folder = arguments.work / "demo"
    if not (folder / "run" / "student.safetensors").exists():
        run(["demo", "--out", str(folder), *(["--quick"] if arguments.quick else [])])
    return folder / "run"


def run(words: list[str]) -> None:
    subprocess.run([sys.executable, "-m", "vpbsd", *words], check=True)


def killed_and_resumed(command: list[str], mask: Path, shape: Triplet) -> dict[str, Any]:
    """Kill the command twice, then let it finish; returns what happened and how long it took."""
    work = mask.with_name(f"{mask.name}.work")
    seconds: list[float] = []
    kills: list[int] = []
    for share in KILL_AT:
        start = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "vpbsd", *command], start_new_session=True
        )
        total: int | None = None
        while process.poll() is None:
            time.sleep(0.2)
            total = total or blocks_of(work, shape)
            if total is not None and done_blocks(work) >= share * total:
                os.killpg(process.pid, signal.SIGKILL)
                kills.append(done_blocks(work))
                break
        process.wait()
        seconds.append(time.monotonic() - start)
    start = time.monotonic()
    run(command)
    seconds.append(time.monotonic() - start)
    log = mask.with_name(f"{mask.name}.log.jsonl").read_text(encoding="utf-8").splitlines()
    blocks = [json.loads(line) for line in log]
    return {
        "blocks": len({block["block"] for block in blocks}),
        "blocks_done_when_killed": kills,
        "seconds": [round(s, 1) for s in seconds],
        "voxels_per_second": round(math.prod(shape) / sum(seconds)),
    }


def blocks_of(work: Path, shape: Triplet) -> int | None:
    """Return the number of blocks of a run, once it has noted what it does."""
    job = work / "job.json"
    if not job.exists():
        return None
    noted = json.loads(job.read_text(encoding="utf-8"))
    return len(plan_blocks(shape, noted["fingerprint"]["block"]))


def done_blocks(work: Path) -> int:
    return sum(1 for _ in work.glob("blocks/done/*/*"))


def scores(mask: Path, truth: Path) -> dict[str, float]:
    """Return overlap scores of the whole, summed block by block."""
    both = found = true = 0
    with open_volume(mask) as ours, open_volume(truth) as exact:
        for block in plan_blocks(ours.shape_zyx, 256):
            a, b = ours.read(block.write) > 0, exact.read(block.write) > 0
            both += int(np.count_nonzero(a & b))
            found += int(np.count_nonzero(a))
            true += int(np.count_nonzero(b))
    return {
        "dice": 2 * both / max(found + true, 1),
        "precision": both / max(found, 1),
        "recall": both / max(true, 1),
    }


if __name__ == "__main__":
    main()
