"""Pictures of a comparison that need more than result lines: masks, or a teacher.

::

    OUT/pictures/DATASET/VOLUME.*       input, truth and every method, first seed
    OUT/pictures/DATASET/patterns.*     the vessel patterns that the teacher uses most
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from vpbsd.compare.patterns import PatternOptions, collect_patterns
from vpbsd.compare.results.lines import Family
from vpbsd.compare.results.summary import OURS, title
from vpbsd.compare.runner.evaluation import mask_path, scored_volumes
from vpbsd.compare.runner.jobs import Job
from vpbsd.config import load_config
from vpbsd.data.collection import TrainingVolume
from vpbsd.errors import DataError
from vpbsd.geometry import Box
from vpbsd.metrics import cldice
from vpbsd.metrics.evaluate import read_mask
from vpbsd.models import Teacher, load_model
from vpbsd.report.patterns import CodeRow, patterns_figure
from vpbsd.report.side_by_side import side_by_side_figure
from vpbsd.stages import Run
from vpbsd.stages.label import TeacherRuntime
from vpbsd.volumes import open_volume

__all__ = ["write_patterns", "write_pictures", "write_side_by_side"]

# Ablations and design choices are left to the tables: nobody tells twenty masks apart.
_SHOWN: tuple[Family, ...] = ("ours", "semi", "distillation", "net", "classical")
_SUFFIXES = (".png", ".pdf")


def write_pictures(jobs: Sequence[Job], out: Path) -> list[Path]:
    """Draw every method side by side on every volume, and each teacher's vessel patterns.

    Parameters
    ----------
    jobs
        Evaluations that are done.
    out
        Folder; pictures of the same names are replaced.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    DataError
        If a mask or a volume cannot be read.
    OutputError
        If a picture cannot be written.
    """
    written: list[Path] = []
    for dataset in dict.fromkeys(job.dataset for job in jobs):
        chosen = _first_seeds([job for job in jobs if job.dataset == dataset])
        folder = out / dataset
        folder.mkdir(parents=True, exist_ok=True)
        shown = [job for family in _SHOWN for job in chosen if job.method.family == family]
        for name, volume in scored_volumes(shown[0]).items() if shown else ():
            masks = {title(job.method.name): mask_path(job, name) for job in shown}
            for suffix in _SUFFIXES:
                path = folder / f"{name.replace('/', '_')}{suffix}"
                write_side_by_side(volume, masks, path)
                written.append(path)
        taught = [j.teacher for j in chosen if j.method.name == OURS and j.teacher is not None]
        for suffix in _SUFFIXES if taught else ():
            write_patterns(taught[0], folder / f"patterns{suffix}")
            written.append(folder / f"patterns{suffix}")
    return written


def _first_seeds(jobs: Sequence[Job]) -> list[Job]:
    """Return one job for each method: that of its first seed."""
    first: dict[str, Job] = {}
    for job in jobs:
        kept = first.setdefault(job.method.name, job)
        if (job.seed or 0) < (kept.seed or 0):
            first[job.method.name] = job
    return list(first.values())


def write_side_by_side(volume: TrainingVolume, masks: Mapping[str, Path], path: Path) -> None:
    """Draw a volume, its truth and the masks that methods left on disk, side by side.

    Parameters
    ----------
    volume
        With its label and voxel size.
    masks
        Name of each method and its mask, in any format that is read; the title of a panel has its
        clDice on this volume.
    path
        Where to write; the suffix decides the format.

    Raises
    ------
    DataError
        If the volume has no label, or a mask is not of its shape.
    OutputError
        If the figure cannot be written.
    """
    if volume.label is None:
        raise DataError(f"{volume.name} has no label, so that no mask can be held against it")
    whole = Box.whole(volume.shape)
    truth = volume.truth(whole)
    found = {}
    for name, file in masks.items():
        with open_volume(file) as opened:
            mask = read_mask(opened)
        if mask.shape != truth.shape:
            raise DataError(
                f"'{file}' has shape {mask.shape} (z, y, x), {volume.name} has {truth.shape}: "
                "give the mask of this volume"
            )
        found[f"{name}\nclDice {cldice(mask, truth).cldice:.3f}"] = mask
    size = volume.image.require_voxel_size()
    side_by_side_figure(volume.intensities(whole)[0], truth, found, size, path)


def write_patterns(
    run: Path,
    path: Path,
    volumes: Sequence[TrainingVolume] = (),
    options: PatternOptions | None = None,
) -> None:
    """Draw what the most used vessel patterns of a run's teacher look like.

    Parameters
    ----------
    run
        Folder of a run with a fine-tuned teacher.
    path
        Where to write; the suffix decides the format.
    volumes
        Where patterns are looked for; by default all images that the run learns from.
    options
        How many codes and patches.

    Raises
    ------
    CheckpointError
        If the run has no teacher.
    ConfigError
        If its teacher has no codebook.
    CollapseError
        If the teacher finds no vessel.
    OutputError
        If the figure cannot be written.
    """
    teacher = load_model(run, "teacher")
    settings = Run(load_config(run / "config.yaml"), run)
    chosen = tuple(volumes) or settings.collection.images
    runtime = TeacherRuntime(cast(Teacher, teacher.net), settings.precision, settings.device)
    found = collect_patterns(teacher, chosen, runtime, options)
    rows = [
        CodeRow(
            code=int(code),
            vessel_share=float(found.vessel_share[i]),
            cell_share=float(found.cell_share[i]),
            patches=found.patches[i],
            cells=found.cells[i],
        )
        for i, code in enumerate(found.codes)
    ]
    patterns_figure(rows, found.cell_voxels, path)
