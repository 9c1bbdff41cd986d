"""The command line: one verb per step of the pipeline, one short function per verb.

Exit codes: 0 done, 1 our fault or a degenerate result, 2 something that the user can mend (one
sentence on stderr says how), 130 stopped. Whatever is heavy is imported inside the verbs.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vpbsd import __version__
from vpbsd.cli.failure import guarded
from vpbsd.cli.options import HelpWithSettings, split_overrides
from vpbsd.errors import ConfigError, OutputError

if TYPE_CHECKING:
    from rich.console import Console

    from vpbsd.geometry import VoxelSize
    from vpbsd.segment import SegmentOptions
    from vpbsd.volumes import Volume

__all__ = ["build_parser", "main"]

_STAGES = {
    "pretrain": "stage 1: the teacher learns vessel patterns from images alone",
    "finetune": "stage 2: the teacher learns to segment from the labelled volumes",
    "distill": "stage 3: the student learns from the labels and from the teacher",
    "train": "the three stages in a row",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = build_parser()
    overrides: dict[str, str] = {}
    if words and words[0] in _STAGES:
        try:
            words, overrides = split_overrides(words)
        except ConfigError as error:
            parser.error(str(error))
    options = parser.parse_args(words)
    options.overrides = overrides
    options.command = ["vpbsd", *(sys.argv[1:] if argv is None else argv)]
    return guarded(options.action, options)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all verbs, in the order of the pipeline."""
    parser = argparse.ArgumentParser(
        prog="vpbsd",
        description="Vessel masks from 3D microscopy, learned from a handful of labels.",
        epilog="vpbsd VERB --help tells more; axes are always z y x, lengths in micrometres",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"vpbsd {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True, title="verbs, in pipeline order")
    _add_info(_verb(verbs, "info", _info, "what a volume or a model is"))
    _add_simulate(_verb(verbs, "simulate", _simulate, "vessel volumes with exact truth"))
    for name, meaning in _STAGES.items():
        stage = verbs.add_parser(
            name, help=meaning, description=meaning, allow_abbrev=False, add_help=False
        )
        _add_stage(stage, name)
    _add_segment(_verb(verbs, "segment", _segment, "a volume to a vessel mask, with a model"))
    _add_evaluate(_verb(verbs, "evaluate", _evaluate, "scores of a mask against the truth"))
    _verb(verbs, "doctor", _doctor, "what is slow or missing on this machine, and the fix")
    demo = _verb(verbs, "demo", _demo, "all of it on simulated volumes, in minutes")
    demo.add_argument("--out", type=Path, default=Path("demo"), help="folder (default: demo)")
    demo.add_argument("--quick", action="store_true", help="a few steps only, to see it work")
    _add_quiet(demo)
    return parser


def _verb(verbs: Any, name: str, action: Any, meaning: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(
        name, help=meaning, description=meaning, allow_abbrev=False
    )
    parser.set_defaults(action=action, verb=name, out=None, quiet=False)
    return parser


def _add_info(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, help="volume, model file or folder of a run")
    parser.add_argument(
        "--model", type=Path, help="also tell what segmenting the volume with this model takes"
    )
    parser.add_argument("--invert", action="store_true", help="vessels are darker than the tissue")
    _add_voxel_size(parser)


def _add_simulate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", type=Path, help="folder for images, labels and networks")
    parser.add_argument("--count", type=int, default=1, metavar="N", help="volumes (default: 1)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="default: 0")
    parser.add_argument("--shape", type=int, nargs=3, metavar=("Z", "Y", "X"), help="in voxels")
    _add_voxel_size(parser, "as given, not varied from volume to volume")
    parser.add_argument("--overwrite", action="store_true", help="replace earlier volumes in OUT")


def _add_stage(parser: argparse.ArgumentParser, name: str) -> None:
    parser.add_argument("-h", "--help", action=HelpWithSettings, nargs=0, help="show this help")
    parser.add_argument(
        "recipe", nargs="?", metavar="RECIPE", help="YAML file, or name of a shipped recipe"
    )
    parser.add_argument("--config", metavar="RECIPE", help="the same as RECIPE")
    parser.add_argument(
        "-o", "--out", type=Path, required=True, metavar="RUN",
        help="folder of the run; an earlier one goes on from its last checkpoint",
    )  # fmt: skip
    if name == "distill":
        parser.add_argument(
            "--teacher", type=Path, metavar="RUN", help="run or file (default: that in RUN)"
        )
    _add_quiet(parser)
    parser.set_defaults(action=_train, verb=name)


def _add_segment(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("volume", type=Path, help="in any format that is read")
    parser.add_argument("--model", type=Path, required=True, help="folder of a run, or model file")
    parser.add_argument(
        "-o", "--out", type=Path, required=True, metavar="OUT.ome.zarr", help="the mask"
    )
    _add_voxel_size(parser)
    parser.add_argument("--threshold", type=float, metavar="T", help="default: the model's own")
    parser.add_argument("--probability", action="store_true", help="write probabilities as well")
    parser.add_argument(
        "--block-voxels", type=int, nargs=3, metavar=("Z", "Y", "X"), help="default: by memory"
    )
    parser.add_argument("--precision", choices=("auto", "bf16", "fp32"), default="auto")
    parser.add_argument("--channels", type=int, nargs="+", metavar="C", help="counted from 0")
    parser.add_argument("--invert", action="store_true", help="vessels are darker than the tissue")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier output")
    _add_quiet(parser)


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("mask", type=Path, help="what to score; voxels above 0 are vessel")
    parser.add_argument("truth", type=Path, help="of the same shape; voxels above 0 are vessel")
    _add_voxel_size(parser)
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")


def _add_voxel_size(parser: argparse.ArgumentParser, more: str = "overrides the file's") -> None:
    parser.add_argument(
        "--voxel-size", type=float, nargs=3, metavar=("Z", "Y", "X"), help=f"in µm; {more}"
    )


def _add_quiet(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quiet", action="store_true", help="no progress, only warnings")


# --------------------------------------------------------------------------------------- the verbs


def _info(options: argparse.Namespace) -> int:
    from vpbsd.cli.info import describe_model, describe_segmentation, describe_volume, is_model

    if options.path.exists() and is_model(options.path):
        _tell(describe_model(options.path))
        return 0
    with _opened(options.path, options.voxel_size) as volume:
        _tell(describe_volume(volume, invert=options.invert))
        if options.model is not None:
            from vpbsd.models import load_model

            _tell(describe_segmentation(volume, load_model(options.model)))
    return 0


def _simulate(options: argparse.Namespace) -> int:
    from vpbsd.cli.options import simulate_config

    config = simulate_config(options.shape, options.voxel_size)
    if options.count < 1 or options.seed < 0:
        raise ConfigError("--count must be at least 1 and --seed at least 0")
    from vpbsd.data.simulate import write_simulated

    written = write_simulated(
        options.out, config, options.seed, options.count, overwrite=options.overwrite
    )
    _tell([("wrote", f"{path} with its label and network") for path in written])
    return 0


def _train(options: argparse.Namespace) -> int:
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


def _segment(options: argparse.Namespace) -> int:
    # The volume first: what is wrong with it is found before torch is loaded.
    with _opened(options.volume, options.voxel_size) as volume:
        size = volume.require_voxel_size()
        from vpbsd.machine import prepare_process

        prepare_process()
        from vpbsd.cli.progress import log_to
        from vpbsd.models import load_model
        from vpbsd.segment import segment_volume

        console = _stderr()
        with log_to(console, quiet=options.quiet):
            if not options.quiet:
                _echo_voxel_size(console, size, given=bool(options.voxel_size))
            model = load_model(options.model)
            report = segment_volume(volume, model, options.out, _segment_options(options))
    outputs = [report.mask, *([report.probability] if report.probability else [])]
    _tell([("wrote", str(path)) for path in outputs])
    share = f"{100 * report.foreground_share:.2f} % of the volume"
    _tell([("vessel", f"{share} at threshold {report.threshold:g}")])
    _tell([("speed", f"{report.voxels_per_second / 1e6:.2f} Mvoxel/s in {report.precision}")])
    return 0


def _segment_options(options: argparse.Namespace) -> SegmentOptions:
    from vpbsd.geometry import as_triplet
    from vpbsd.segment import SegmentOptions

    return SegmentOptions(
        threshold=options.threshold,
        probability=options.probability,
        invert=options.invert,
        channels=options.channels and tuple(options.channels),
        block_voxels=options.block_voxels and as_triplet(options.block_voxels),
        precision=options.precision,
        overwrite=options.overwrite,
        progress=not options.quiet,
        command=shlex.join(options.command),
    )


def _evaluate(options: argparse.Namespace) -> int:
    from vpbsd.metrics.evaluate import evaluate

    scores, size = evaluate(options.mask, options.truth, options.voxel_size)
    if options.json:
        sys.stdout.write(json.dumps({**scores.to_dict(), "voxel_size_um": size.zyx_um}) + "\n")
        return 0
    _echo_voxel_size(_stderr(), size, given=bool(options.voxel_size))
    named = {k: v for k, v in scores.to_dict().items() if k != "note"}
    _tell((k, "infinite" if v is None else f"{v:.4f}") for k, v in named.items())
    if scores.note:
        _tell([("note", scores.note)])
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from vpbsd.machine import prepare_process

    prepare_process()
    from rich.console import Console

    from vpbsd.doctor import diagnose, render

    checks = diagnose()
    render(checks, Console())
    return 1 if any(check.status == "fail" for check in checks) else 0


def _demo(options: argparse.Namespace) -> int:
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


def _opened(path: Path, voxel_size: Sequence[float] | None) -> Volume:
    from vpbsd.geometry import VoxelSize
    from vpbsd.volumes import open_volume

    return open_volume(path, voxel_size_um=VoxelSize.of(voxel_size) if voxel_size else None)


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


def _stderr() -> Console:
    from rich.console import Console

    return Console(stderr=True)


def _echo_voxel_size(console: Console, size: VoxelSize, *, given: bool) -> None:
    source = "as given" if given else "from the file"
    console.print(f"voxel size {size} ({source})", highlight=False, soft_wrap=True)


def _tell(lines: Iterable[tuple[str, str]]) -> None:
    """Write names and values to stdout, one a line."""
    for name, value in lines:
        sys.stdout.write(f"{name:<22} {value}\n")
