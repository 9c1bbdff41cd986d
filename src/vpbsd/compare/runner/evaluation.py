"""What a trained method is worth: its masks on disk, their scores, and what they cost.

Speed and memory are those of the one tiler that all methods go through, on one thread: a volume in
memory is normalised, evaluated block by block and cut at the threshold. Memory is the peak of a
process that has done nothing else, the program included.
"""

from __future__ import annotations

import math
import statistics
import time
from pathlib import Path
from typing import Any

from vpbsd.compare.deployed.segmenters import Segmenter, make_segmenter
from vpbsd.compare.results.lines import ResultLine, append_result
from vpbsd.compare.runner.datasets import volume_name
from vpbsd.compare.runner.jobs import Job
from vpbsd.compare.runner.pool import Tell
from vpbsd.compare.runner.records import begin, finish, read_facts
from vpbsd.data.collection import TrainingVolume, open_training_volume
from vpbsd.geometry import Box
from vpbsd.machine import describe_machine, peak_memory_bytes
from vpbsd.metrics import score
from vpbsd.metrics.blocks import block_counts
from vpbsd.metrics.evaluate import read_mask
from vpbsd.provenance import library_versions
from vpbsd.stages.run import Run
from vpbsd.volumes import open_volume

__all__ = ["RESULTS", "evaluate_method", "failed_lines", "mask_path", "scored_volumes"]

RESULTS = "results.jsonl"
"""File of result lines, in the folder of a run and in that of the comparison."""

_TIMED_RUNS = 3
# What a method may lack.
_OPTIONAL = (
    *("threshold", "parameters", "mac_per_voxel", "peak_memory_bytes", "voxels_per_second"),
    *("steps", "training_seconds", "budget", "deployed"),
)
_VERSIONS = ("vpbsd", "torch", "monai", "numpy", "scipy", "scikit-image")


def evaluate_method(job: Job, tell: Tell) -> None:
    """Segment and score every volume of the data set; leaves ``masks/`` and ``results.jsonl``.

    Raises
    ------
    CheckpointError
        If the method was not trained.
    DataError
        If a volume cannot be read.
    """
    begin(job)
    run = Run(job.run, job.folder)
    volumes = scored_volumes(job)
    segmenter = make_segmenter(job.method, run)
    found: dict[str, dict[str, Any]] = {}
    (job.folder / "masks").mkdir(exist_ok=True)
    for name, volume in volumes.items():
        tell(f"segmenting {name}")
        segmenter.write(volume, mask_path(job, name))
        facts = dict(segmenter.facts(volume))
        if "voxels_per_second" not in facts:
            facts["voxels_per_second"] = _voxels_per_second(segmenter, volume)
        found[name] = facts
    # Before anything is scored, which takes memory too.
    costs = {"peak_memory_bytes": _peak_memory_bytes(run), **_training(job)}
    for name, volume in volumes.items():
        tell(f"scoring {name}")
        # A program of its own knows its memory itself.
        line = {**_about(job, name), **costs, **found[name], **_scores(job, name, volume)}
        append_result(job.folder / RESULTS, ResultLine.from_dict(line))
    finish(job)


def failed_lines(job: Job, reason: str) -> list[ResultLine]:
    """Return what stands in for the results of an evaluation that will not be.

    Parameters
    ----------
    job
        Of the kind ``evaluate``.
    reason
        One sentence.
    """
    data = job.run.data
    return [
        ResultLine.from_dict(
            {**_about(job, volume_name(volume)), "scores": {}, "blocks": None, "failure": reason}
        )
        for volume in data.test or data.validation
    ]


def scored_volumes(job: Job) -> dict[str, TrainingVolume]:
    """Return the volumes that a method is scored on, by their names in results."""
    data, channels = job.run.data, job.run.teacher.channels
    return {
        volume_name(v): open_training_volume(v, data.root, channels)
        for v in data.test or data.validation
    }


def _about(job: Job, volume: str) -> dict[str, Any]:
    """Return what a line says of method, data and machine."""
    data = job.run.data
    return {
        **dict.fromkeys(_OPTIONAL),
        "comparison": job.comparison,
        "dataset": job.dataset,
        "method": job.method.name,
        "family": job.method.family,
        "seed": job.seed,
        "volume": volume,
        "machine": describe_machine(),
        "versions": library_versions(_VERSIONS),
        "labelled_patches": len(data.labelled),
        # Where a volume that is scored is among these, it chose the threshold itself.
        "validation": [volume_name(v) for v in data.validation],
        "what": job.method.what,
    }


def _training(job: Job) -> dict[str, Any]:
    """Return what training took, a teacher's included; nothing where nothing was trained."""
    if job.method.how in ("classical", "oracle"):
        return {}
    facts = read_facts(job.folder, "teacher" if job.method.how == "teacher" else "train")
    budget = job.budget
    return {
        "steps": facts["steps"],
        "training_seconds": facts["seconds"] + facts.get("teacher_seconds", 0.0),
        "budget": {
            "kind": budget.kind,
            "value": budget.value or job.run.distill.steps,
            "tuning_trials": job.tuning_trials,
        },
    }


def _scores(job: Job, name: str, volume: TrainingVolume) -> dict[str, Any]:
    """Score the mask that lies on the disk."""
    with open_volume(mask_path(job, name)) as written:
        mask = read_mask(written)
    truth = volume.truth(Box.whole(volume.shape))
    scores = score(mask, truth, volume.image.require_voxel_size())
    blocks = block_counts(mask, truth, job.edge_voxels)
    return {"scores": scores.to_dict(), "blocks": blocks.to_dict()}


def _voxels_per_second(segmenter: Segmenter, volume: TrainingVolume) -> float:
    """Median of three runs after one that does not count."""
    segmenter.segment(volume)
    seconds = []
    for _ in range(_TIMED_RUNS):
        began = time.monotonic()
        segmenter.segment(volume)
        seconds.append(time.monotonic() - began)
    return math.prod(volume.shape) / statistics.median(seconds)


def mask_path(job: Job, name: str) -> Path:
    """Return where an evaluation leaves the mask of a volume."""
    return job.folder / "masks" / f"{name.replace('/', '_')}.ome.zarr"


def _peak_memory_bytes(run: Run) -> int:
    if run.device == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated())
    return peak_memory_bytes()
