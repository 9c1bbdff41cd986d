"""The verbs: one short function each; whatever is heavy is imported inside."""

from __future__ import annotations

import argparse
import json
import math
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vpbsd.cli.console import echo_voxel_size as _echo_voxel_size
from vpbsd.cli.console import location
from vpbsd.cli.console import opened as _opened
from vpbsd.cli.console import stderr as _stderr
from vpbsd.cli.console import tell as _tell
from vpbsd.errors import ConfigError, OutputError

if TYPE_CHECKING:
    from vpbsd.blockwise import Run
    from vpbsd.convert import ConvertOptions
    from vpbsd.segment import Segmentation
    from vpbsd.volumes import Volume

__all__ = [
    "compare",
    "convert",
    "demo",
    "doctor",
    "evaluate",
    "info",
    "segment",
    "simulate",
    "train",
]


def info(options: argparse.Namespace) -> int:
    """Tell what a volume or a model is."""
    from vpbsd.cli.info import describe_model, describe_segmentation, describe_volume, is_model

    path = Path(options.path)
    if path.exists() and is_model(path):
        _tell(describe_model(path))
        return 0
    with _opened(options.path, options.voxel_size) as volume:
        _tell(describe_volume(volume, invert=options.invert))
        if options.model is not None:
            from vpbsd.machine import prepare_process

            prepare_process()
            _tell(describe_segmentation(volume, options.model, invert=options.invert))
    return 0


def simulate(options: argparse.Namespace) -> int:
    """Write simulated volumes."""
    from vpbsd.cli.options import simulate_config

    if options.brain:
        return _simulate_brain(options)
    config = simulate_config(options.shape, options.voxel_size)
    if options.count < 1 or options.seed < 0:
        raise ConfigError("--count must be at least 1 and --seed at least 0")
    from vpbsd.data.simulate import write_simulated

    written = write_simulated(
        options.out, config, options.seed, options.count, overwrite=options.overwrite
    )
    _tell([("wrote", f"{path} with its label and network") for path in written])
    return 0


def _simulate_brain(options: argparse.Namespace) -> int:
    """Write image and truth of a brain, each resumable like any conversion."""
    from vpbsd.blockwise import Workers
    from vpbsd.convert import ConvertOptions
    from vpbsd.data.simulate import BrainVolume
    from vpbsd.machine import usable_cores

    if options.count != 1 or options.shape is None:
        raise ConfigError("--brain is one volume, and needs its size: --shape Z Y X in voxels")
    options.out.mkdir(parents=True, exist_ok=True)
    brain = BrainVolume(
        options.shape,
        options.seed,
        voxel_size_um=options.voxel_size or (2.0, 2.0, 2.0),
        cache_dir=options.out,
    )
    # Makes the specimen as well, once, before the workers need it.
    shares = brain.shares()
    _tell([("void", f"{100 * shares.void:.0f} % of the volume")])
    _tell([("vessel", f"{100 * shares.vessel:.1f} % of the tissue")])
    outputs = {"image": brain, "truth": brain.truth}
    written = [n for n, v in outputs.items() if _is_written(options.out / f"{n}.ome.zarr", v)]
    for name, volume in outputs.items():
        if written == ["image"] and name == "image" and not options.overwrite:
            continue  # a call that was killed later on has finished it
        chosen = ConvertOptions(
            labels=name == "truth",
            workers=Workers(processes=usable_cores(), threads=1),
            overwrite=options.overwrite,
            command=shlex.join(options.command),
        )
        _convert(volume, options.out / f"{name}.ome.zarr", chosen, quiet=options.quiet)
        _tell([("wrote", str(options.out / f"{name}.ome.zarr"))])
    return 0


def _is_written(out: Path, volume: Volume) -> bool:
    """Whether an output is complete, and of this volume."""
    from vpbsd.errors import VolumeFormatError
    from vpbsd.volumes import read_attributes

    try:
        about = read_attributes(out)
    except VolumeFormatError:
        return False
    noted = about.get("input", {})
    return bool(noted.get("fingerprint") == volume.fingerprint())


def train(options: argparse.Namespace) -> int:
    """Run one stage, or all three."""
    from vpbsd.cli.options import read_recipe
    from vpbsd.machine import prepare_process

    config = read_recipe(options.recipe, options.config, options.overrides)
    _require_run_folder(options.out)
    prepare_process(config.machine.threads)
    from vpbsd import stages
    from vpbsd.cli.progress import TrainingProgress, log_to

    console = _stderr()
    with log_to(console, quiet=options.quiet):
        with TrainingProgress(console, quiet=options.quiet) as progress:
            run = stages.Run(config, options.out, progress)
            if options.verb == "train":
                result = stages.train(run)[-1]
            elif options.verb == "distill":
                result = stages.distill(run, options.teacher)
            else:
                result = getattr(stages, options.verb)(run)
        if run.fabric.is_global_zero:
            _tell(
                [
                    ("run", str(options.out)),
                    ("best", f"score {result.best_score:.4f} at step {result.best_step}"),
                    ("time", f"{result.seconds:.0f} s for {result.steps} steps"),
                ]
            )
    return 0


def segment(options: argparse.Namespace) -> int:
    """Segment a volume, or tell what it would take."""
    # The volume first: what is wrong with it is found before torch is loaded.
    with _opened(options.volume, options.voxel_size) as volume:
        size = volume.require_voxel_size()
        from vpbsd.cli.blocks import report_lines, segment_options
        from vpbsd.machine import prepare_process

        chosen = segment_options(options, volume.shape_zyx)
        prepare_process(chosen.workers.threads if chosen.workers.in_process else 0)
        from vpbsd.cli.progress import log_to
        from vpbsd.models import load_model
        from vpbsd.segment import prepare_segmentation, require_memory, run_segmentation

        console = _stderr()
        with log_to(console, quiet=options.quiet):
            if not options.quiet:
                _echo_voxel_size(console, size, given=bool(options.voxel_size))
            prepared = prepare_segmentation(
                volume, load_model(options.model), location(options.out), chosen
            )
            if options.dry_run:
                return _tell_plan(prepared)
            require_memory(prepared)
            if not options.quiet:
                console.print(prepared.picked, highlight=False, soft_wrap=True)
            report = run_segmentation(prepared)
    _tell(report_lines(report))
    return 0


def _tell_plan(prepared: Segmentation) -> int:
    from vpbsd.segment import estimate_segmentation, require_memory

    try:
        _tell(estimate_segmentation(prepared).lines(prepared))
        # After the numbers: they say why.
        require_memory(prepared)
    finally:
        prepared.work.discard()
    return 0


def convert(options: argparse.Namespace) -> int:
    """Write a volume as OME-Zarr."""
    with _opened(options.volume, options.voxel_size) as volume:
        size = volume.require_voxel_size()
        from vpbsd.cli.blocks import convert_options

        if not options.quiet:
            _echo_voxel_size(_stderr(), size, given=bool(options.voxel_size))
        run = _convert(volume, location(options.out), convert_options(options), quiet=options.quiet)
    if run.missing:
        _tell([("left to other parts", f"{run.missing} blocks")])
    else:
        _tell([("wrote", str(options.out))])
    return 0


def _convert(volume: Volume, out: str | Path, options: ConvertOptions, *, quiet: bool) -> Run:
    from vpbsd.blockwise.progress import voxel_progress
    from vpbsd.cli.progress import log_to
    from vpbsd.convert import convert_volume

    total = math.prod(volume.shape_zyx)
    with (
        log_to(_stderr(), quiet=quiet),
        voxel_progress("converting", total, show=not quiet) as advance,
    ):
        return convert_volume(
            volume, out, options, lambda block, _: advance(block.write.size_voxels)
        )


def evaluate(options: argparse.Namespace) -> int:
    """Score a mask against the truth."""
    from vpbsd.cli.blocks import evaluate_options
    from vpbsd.cli.progress import log_to
    from vpbsd.cli.scores import score_lines
    from vpbsd.metrics.evaluate import calibrate, evaluate

    chosen = evaluate_options(options)
    with log_to(_stderr(), quiet=options.quiet):
        scores, size = evaluate(options.mask, options.truth, options.voxel_size, chosen)
        of_probability = options.probability and calibrate(options.probability, options.truth)
    if options.json:
        found: dict[str, object] = {**scores.to_dict(), "voxel_size_um": size.zyx_um}
        if of_probability:
            found["calibration"] = of_probability.to_dict()
        sys.stdout.write(json.dumps(found) + "\n")
        return 0
    if not options.quiet:
        _echo_voxel_size(_stderr(), size, given=bool(options.voxel_size))
    _tell(score_lines(scores, of_probability), width=30)
    return 0


def compare(options: argparse.Namespace) -> int:
    """Run a comparison, or make tables of one."""
    from vpbsd.machine import prepare_process

    prepare_process(1)
    from vpbsd.cli.compare import compare as compare_methods
    from vpbsd.cli.compare import tables

    if options.tables is not None:
        _tell(tables(options))
        return 0
    _tell(compare_methods(options, _stderr()))
    return 0


def doctor(options: argparse.Namespace) -> int:
    """Tell what is slow or missing."""
    from vpbsd.machine import prepare_process

    prepare_process()
    from rich.console import Console

    from vpbsd.doctor import diagnose, render

    checks = diagnose()
    render(checks, Console())
    return 1 if any(check.status == "fail" for check in checks) else 0


def demo(options: argparse.Namespace) -> int:
    """Run the whole pipeline on simulated volumes."""
    from vpbsd.machine import prepare_process

    prepare_process()
    from vpbsd.cli.demo import run_demo, summary_lines
    from vpbsd.cli.progress import log_to

    console = _stderr()
    with log_to(console, quiet=options.quiet):
        summary = run_demo(options.out, console, quick=options.quick, quiet=options.quiet)
    sys.stdout.write("\n".join(summary_lines(summary, options.out)) + "\n")
    return 0


# --------------------------------------------------------------------------------- what verbs share


def _require_run_folder(folder: Path) -> None:
    """Refuse to fill a folder with a run that holds something else."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise OutputError(f"'{folder}' is a file; name a folder for the run")
    if any(folder.iterdir()) and not (folder / "config.yaml").exists():
        raise OutputError(
            f"'{folder}' holds files but no run (config.yaml is missing); name another folder"
        )
