"""The whole pipeline on simulated volumes: simulate, train, segment, evaluate, measure, draw.

::

    OUT/data/ROLE/                simulated volumes: labelled, unlabelled, validation, held_out
    OUT/recipe.yaml               the effective configuration
    OUT/run/                      teacher and student (what ``vpbsd train demo`` does)
    OUT/supervised_only/          a student of the same net, labels and steps, without a teacher
    OUT/*.ome.zarr                masks of the held-out volume by the two students
    OUT/figures/                  slices, projections, colour maps, training curves
    OUT/summary.json              the scores
    OUT/graph/                    the student's vessels as a graph, with its measures
    OUT/report.html               all of it on one page

The same command again goes on where it was stopped: volumes stay, stages resume, and what takes
seconds is done anew.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from vpbsd import __version__
from vpbsd.cli.progress import TrainingProgress
from vpbsd.cli.report import write_report
from vpbsd.config import RunConfig, SimulateConfig, find_recipe, load_config, save_config
from vpbsd.data.simulate import write_simulated
from vpbsd.errors import OutputError
from vpbsd.geometry import Box, Triplet, VoxelSize
from vpbsd.graph import GraphOptions, build_graph
from vpbsd.graph.regions.run import write_region_tables
from vpbsd.machine import describe_machine
from vpbsd.metrics import Scores, score
from vpbsd.metrics.evaluate import read_mask
from vpbsd.models import CodeUsage, Teacher, load_model
from vpbsd.provenance import write_json_atomic
from vpbsd.report import overview_figure, training_curves
from vpbsd.report.page.sources import Sources, mask_source, noted_company
from vpbsd.segment import SegmentOptions, SegmentReport, predict_volume, segment_volume
from vpbsd.stages import Run, distill, train
from vpbsd.volumes import Volume, estimate_intensity, open_volume

__all__ = ["QUICK", "run_demo", "summary_lines"]

logger = logging.getLogger(__name__)

QUICK = {
    "teacher.widths": [8, 16, 16, 24],
    "simulate.shape_voxels": [32, 48, 48],
    **{f"{stage}.steps": 4 for stage in ("pretrain", "finetune", "distill")},
    **{f"{stage}.patch_voxels": [16, 32, 32] for stage in ("pretrain", "finetune", "distill")},
}
"""Settings that make the demo a matter of seconds; its scores then mean nothing."""


@dataclass(frozen=True)
class _Role:
    """Simulated volumes of one part; no shape means that of the recipe."""

    name: str
    count: int
    seed: int
    shape_voxels: Triplet | None = None


_HELD_OUT = _Role("held_out", 1, 4, (64, 160, 160))
_ROLES = (
    _Role("labelled", 2, 1, (48, 64, 64)),
    _Role("unlabelled", 4, 2),
    _Role("validation", 1, 3),
    _HELD_OUT,
)


@dataclass(frozen=True)
class _Result:
    """A mask of the held-out volume, its scores, and how long it took."""

    mask: NDArray[np.bool_]
    scores: Scores
    report: SegmentReport | None = None

    def numbers(self) -> dict[str, float]:
        return {"dice": self.scores.dice, "cldice": self.scores.cldice}


def run_demo(
    out: Path, console: Console, *, quick: bool = False, quiet: bool = False
) -> dict[str, Any]:
    """Run the demo in ``out`` and return what ``summary.json`` holds.

    Parameters
    ----------
    out
        A new folder, or that of an earlier demo, which is resumed.
    console
        Where progress is shown.
    quick
        Small nets and a few steps.
    quiet
        Show no progress.

    Raises
    ------
    OutputError
        If ``out`` holds something else, or a demo of other settings.
    CollapseError
        If training degenerates.
    """
    began = time.monotonic()
    overrides = {"data.root": str(out / "data"), **(QUICK if quick else {})}
    config = load_config(find_recipe("demo"), overrides)
    _claim(out, config)
    for role in _ROLES:
        _simulate(out / "data", role, config, quick=quick)
    with TrainingProgress(console, quiet=quiet) as progress:
        run = Run(config, out / "run", progress)
        alone = Run(_without_teacher(config), out / "supervised_only", progress)
        logger.info("training teacher and student")
        stages = train(run)
        logger.info("training the same student without the teacher")
        stages.append(distill(alone))
    logger.info("segmenting the held-out volume")
    results, perplexity = _segment_all(run, alone, out)
    student = cast(SegmentReport, results["student"].report)
    summary = {
        **{name: result.numbers() for name, result in results.items()},
        "codebook_perplexity": perplexity,
        "codebook_size": config.codebook.size,
        "voxels_per_second": student.voxels_per_second,
        "seconds": sum(s.earlier_seconds for s in stages) + time.monotonic() - began,
        "seed": config.seed,
        "quick": quick,
        "vpbsd": __version__,
        "machine": describe_machine(),
    }
    _draw(out, results)
    write_json_atomic(out / "summary.json", summary)
    _report(out, _graph(out, results["student"].mask))
    return summary


def summary_lines(summary: Mapping[str, Any], out: Path) -> list[str]:
    """Return the scores as a table, and where to look."""
    lines = ["held-out volume       Dice   clDice"]
    for name in ("teacher", "student", "supervised_only"):
        numbers = summary[name]
        lines.append(f"{name:<20} {numbers['dice']:.3f}    {numbers['cldice']:.3f}")
    lines += [
        f"codebook perplexity  {summary['codebook_perplexity']:.1f} of {summary['codebook_size']}",
        f"student              {summary['voxels_per_second'] / 1e6:.2f} Mvoxel/s",
        f"took                 {summary['seconds']:.0f} s",
        f"look at {out / 'report.html'} in a browser, and at {out / 'figures'}; the numbers are in "
        f"{out / 'summary.json'}",
    ]
    if summary["quick"]:
        lines.append("(--quick: a few steps only, so the scores mean nothing)")
    return lines


def _claim(out: Path, config: RunConfig) -> None:
    """Make ``out`` the folder of this demo, or refuse it."""
    marker = out / "recipe.yaml"
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not marker.exists())):
        raise OutputError(f"'{out}' exists and holds no demo; name another folder with --out")
    if marker.exists() and load_config(marker) != config:
        raise OutputError(
            f"'{out}' holds a demo of other settings; remove it, or name another folder with --out"
        )
    out.mkdir(parents=True, exist_ok=True)
    save_config(config, marker)


def _simulate(data: Path, role: _Role, config: RunConfig, *, quick: bool) -> None:
    """Write the volumes of a role, unless they are there: new files would be new data to a run."""
    settings: SimulateConfig = config.simulate
    if role.shape_voxels is not None and not quick:
        settings = settings.model_copy(update={"shape_voxels": role.shape_voxels})
    folder = data / role.name
    # A folder is moved to its name when it is complete, so that it exists means that it is whole.
    if folder.exists():
        return
    logger.info("simulating %d %s volumes of %s voxels", role.count, role.name,
                settings.shape_voxels)  # fmt: skip
    write_simulated(folder, settings, 1000 * config.seed + role.seed, role.count)


def _without_teacher(config: RunConfig) -> RunConfig:
    stage = config.distill.model_copy(update={"semi_weight": 0.0, "target": "none"})
    return config.model_copy(update={"name": "supervised_only", "distill": stage})


def _segment_all(run: Run, alone: Run, out: Path) -> tuple[dict[str, _Result], float]:
    """Segment the held-out volume by teacher and both students; also the codes' perplexity."""
    folder = out / "data" / _HELD_OUT.name
    image = folder / "volume_000_image.ome.tif"
    with open_volume(folder / "volume_000_label.ome.tif") as label, open_volume(image) as volume:
        truth, size = read_mask(label), volume.require_voxel_size()
        teacher, perplexity = _by_teacher(run, volume, truth, size)
        results = {"teacher": teacher}
        for name, trained in (("student", run), ("supervised_only", alone)):
            mask = out / f"{name}.ome.zarr"
            options = SegmentOptions(overwrite=True, progress=False, command="vpbsd demo")
            report = segment_volume(volume, load_model(trained.folder), mask, options)
            with open_volume(mask) as written:
                found = read_mask(written)
            results[name] = _Result(found, score(found, truth, size), report)
    return results, perplexity


def _by_teacher(
    run: Run, volume: Volume, truth: NDArray[np.bool_], size: VoxelSize
) -> tuple[_Result, float]:
    model = load_model(run.folder, "teacher")
    runtime = run.runtime(cast(Teacher, model.net))
    runtime.usage = CodeUsage(run.config.codebook.size)
    scale = estimate_intensity(volume)
    probability = predict_volume(volume, runtime, scale=scale, block_voxels=runtime.block)
    mask = probability >= model.threshold
    return _Result(mask, score(mask, truth, size)), runtime.usage.perplexity


def _draw(out: Path, results: Mapping[str, _Result]) -> None:
    folder = out / "data" / _HELD_OUT.name
    with (
        open_volume(folder / "volume_000_image.ome.tif") as volume,
        open_volume(folder / "volume_000_label.ome.tif") as label,
    ):
        image = volume.read(Box.whole(volume.shape_zyx))[0]
        truth, size = read_mask(label), volume.require_voxel_size()
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    masks = {name.replace("_", " "): result.mask for name, result in results.items()}
    overview_figure(image, truth, masks, size, figures / "held_out.png")
    training_curves(_logs(out), figures / "training.png")


def _graph(out: Path, mask: NDArray[np.bool_]) -> Path | None:
    """Make the graph of the student's mask; None where there is nothing to follow in it."""
    if mask.all() or not mask.any():
        logger.warning("no graph is made: the student's mask is empty or full")
        return None
    logger.info("making the graph of the student's vessels")
    source, folder = out / "student.ome.zarr", out / "graph"
    build_graph(source, folder, GraphOptions(overwrite=True, progress=False, command="vpbsd demo"))
    with open_volume(source) as volume:
        write_region_tables(folder, volume)
    return folder


def _report(out: Path, graph: Path | None) -> None:
    """Write the page of the runs and masks, and of the ``graph`` folder where there is one."""
    sources = Sources(
        runs=(out / "run", out / "supervised_only"),
        masks=tuple(
            noted_company(mask_source(out / f"{name}.ome.zarr"))
            for name in ("student", "supervised_only")
        ),
        graphs=() if graph is None else (graph,),
    )
    logger.info("writing the report")
    write_report(sources, out / "report.html", csv=graph is not None)


def _logs(out: Path) -> dict[str, Path]:
    folders = {stage: out / "run" / stage for stage in ("pretrain", "finetune", "distill")}
    folders["supervised only"] = out / "supervised_only" / "distill"
    return {name: folder / "metrics.jsonl" for name, folder in folders.items()}
