"""The volumes and models that are measured: simulated, by seed, made once per work folder."""

from __future__ import annotations

import argparse
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np

__all__ = [
    "Preset",
    "Run",
    "Scale",
    "memory_array",
    "model",
    "model_folder",
    "options",
    "prepare",
    "run",
    "segment",
    "settle",
    "volume",
]

Preset = Literal["fast", "fine"]
VOXEL_SIZE_UM = (2.0, 2.0, 2.0)


@dataclass(frozen=True, slots=True)
class Scale:
    """Sizes in voxels, and how long the model is trained."""

    specimen: int
    chunk: int
    steps: int


FULL = Scale(specimen=256, chunk=64, steps=100)
QUICK = Scale(specimen=64, chunk=32, steps=2)


def volume(arguments: argparse.Namespace, tiles: Sequence[int]) -> Path:
    """Return an OME-Zarr of ``tiles`` (z, y, x) copies of a simulated specimen, uint16.

    Each copy is one shard of zarr v3, and all of them are one file on disk under many names (hard
    links): a volume of gigavoxels costs one specimen, and yet every block is read, decoded and
    normalised as any other. It is therefore always read from the page cache; what a slow disk or
    network adds is not part of any figure here. Tissue is everywhere, so that no block is skipped.
    """
    scale = QUICK if arguments.quick else FULL
    name = "x".join(str(n) for n in tiles)
    path = arguments.work / f"{name}_seed_{arguments.seed}_{scale.specimen}.ome.zarr"
    if path.exists():
        return path
    partial = path.with_name(f".{path.name}.partial")
    shape = [n * scale.specimen for n in tiles]
    source = _specimen(arguments, scale)
    _write_metadata(partial, shape, scale)
    for place in product(*(range(n) for n in tiles)):
        target = partial / "0" / "c" / Path(*(str(i) for i in place))
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(source, target)
    partial.rename(path)
    return path


def memory_array(arguments: argparse.Namespace, edge: int) -> Any:
    """Return a cube of the specimen (z, y, x) in memory, mirrored at its faces where too small."""
    import zarr

    array = zarr.open_array(volume(arguments, (1, 1, 1)) / "0", mode="r")
    whole = np.asarray(array[:])
    missing = max(0, edge - whole.shape[0])
    return np.pad(whole, ((0, missing),) * 3, mode="symmetric")[:edge, :edge, :edge]


def _specimen(arguments: argparse.Namespace, scale: Scale) -> Path:
    """Write the simulated specimen as one shard and return that file."""
    path: Path = arguments.work / f"specimen_seed_{arguments.seed}_{scale.specimen}"
    shard = path / "0" / "c" / "0" / "0" / "0"
    if not shard.exists():
        from vpbsd.config import SimulateConfig
        from vpbsd.data.simulate import simulate_volume

        edges = (scale.specimen,) * 3
        config = SimulateConfig(shape_voxels=edges, zoom=(1.0, 1.0), specimen_seed=2)
        image = simulate_volume(config, arguments.seed).image
        array = _write_metadata(path, edges, scale)
        # The simulated detector may count in 8 bits; microscopes of whole brains count in 16.
        factor = 16 if image.dtype == np.uint8 else 1
        array[:] = image.astype(np.uint16) * factor
    return shard


def _write_metadata(path: Path, shape: Sequence[int], scale: Scale) -> Any:
    """Write an OME-Zarr 0.5 image of one level without voxels; returns its array."""
    import zarr
    from zarr.codecs import BloscCodec

    group = zarr.open_group(path, mode="w", zarr_format=3)
    axes = [{"name": a, "type": "space", "unit": "micrometer"} for a in "zyx"]
    transforms = [{"type": "scale", "scale": list(VOXEL_SIZE_UM)}]
    level = {"path": "0", "coordinateTransformations": transforms}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": [level]}]}
    return group.create_array(
        "0",
        shape=tuple(shape),
        dtype=np.uint16,
        chunks=(scale.chunk,) * 3,
        shards=(scale.specimen,) * 3,
        compressors=BloscCodec(cname="lz4", clevel=1, shuffle="bitshuffle"),
        dimension_names=list("zyx"),
    )


def model(arguments: argparse.Namespace, preset: Preset) -> Any:
    """Return the model in :func:`model_folder`."""
    from vpbsd.models import load_model

    return load_model(model_folder(arguments, preset))


def model_folder(arguments: argparse.Namespace, preset: Preset) -> Path:
    """Return the run of a student trained for a moment on simulated volumes, labels only.

    It makes masks that look like vessels, which random weights do not: int8 is judged by them,
    and their size on disk is that of masks. Nothing is claimed about how good they are.
    """
    scale = QUICK if arguments.quick else FULL
    folder: Path = arguments.work / f"{preset}_seed_{arguments.seed}_{scale.steps}_steps"
    if not (folder / "student.safetensors").exists():
        from vpbsd.config import RunConfig
        from vpbsd.stages import Run, distill

        distill(Run(RunConfig.model_validate(_recipe(arguments, preset, scale)), folder))
    return folder


def _recipe(arguments: argparse.Namespace, preset: Preset, scale: Scale) -> dict[str, Any]:
    patch = (16, 16, 16) if arguments.quick else (32, 48, 48)
    return {
        "name": f"benchmark_{preset}",
        "seed": arguments.seed,
        "simulate": {"shape_voxels": patch, "zoom": (0.8, 1.2), "specimen_seed": 2},
        "student": {"preset": preset},
        "finetune": {"simulated_share": 1},  # not run, but checked: no volume is listed
        "distill": {
            "steps": scale.steps,
            "patch_voxels": patch,
            "simulated_share": 1,
            "semi_weight": 0,
            "target": "none",
            "validate_every": scale.steps,
            "checkpoint_every": scale.steps,
        },
        "machine": {"threads": arguments.threads, "accelerator": "cpu"},
    }


# ------------------------------------------------------------------------------------ segmenting


@dataclass(frozen=True, slots=True)
class Run:
    """One segmentation, zarr to mask with pyramid: its voxels, wall seconds and report."""

    voxels: int
    seconds: float
    report: Any


def options(processes: int = 1, threads: int = 1, lanes: int = 2, **changes: Any) -> Any:
    """Return the options of every segmentation here: nothing is skipped, all else by default."""
    from vpbsd.blockwise import Workers
    from vpbsd.segment import SegmentOptions

    workers = Workers(processes=processes, threads=threads, lanes=lanes)
    return SegmentOptions(workers=workers, skip_empty=False, progress=False, **changes)


def prepare(source: Path, model: Any, chosen: Any) -> Any:
    """Do what comes before the first block: intensity scale, runtime, plan."""
    from vpbsd.segment import prepare_segmentation
    from vpbsd.volumes import open_volume

    out = source.with_name(f"mask_of_{source.name}")
    _remove(out)
    return prepare_segmentation(open_volume(source), model, out, chosen)


def settle(arguments: argparse.Namespace, trained: Any, chosen: Any) -> dict[str, str]:
    """Return precision and runtime that ``auto`` takes after measuring.

    Measuring is done once a volume, and only where it is large enough to be worth it; timed runs
    are told the outcome, since they are much shorter than a brain.
    """
    spec = prepare(volume(arguments, (2, 2, 4)), trained, chosen).spec
    return {"precision": spec.precision, "runtime": spec.name}


def run(segmentation: Any) -> Run:
    """Time the blocks and the pyramid of what was prepared; the mask is removed again."""
    from vpbsd.segment import run_segmentation

    start = time.perf_counter()
    report = run_segmentation(segmentation)
    seconds = time.perf_counter() - start
    _remove(Path(report.mask))
    return Run(int(np.prod(report.shape_zyx, dtype=np.int64)), seconds, report)


def segment(source: Path, model: Any, chosen: Any) -> Run:
    """Time all of it, from opening the input to the finished mask."""
    start = time.perf_counter()
    segmentation = prepare(source, model, chosen)
    before = time.perf_counter() - start
    done = run(segmentation)
    return replace(done, seconds=before + done.seconds)


def _remove(mask: Path) -> None:
    for folder in (mask, mask.with_name(f"{mask.name}.work")):
        shutil.rmtree(folder, ignore_errors=True)
    mask.with_name(f"{mask.name}.log.jsonl").unlink(missing_ok=True)
