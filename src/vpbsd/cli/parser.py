"""The parser of all verbs, in the order of the pipeline."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from vpbsd import __version__
from vpbsd.cli import verbs
from vpbsd.cli.blocks import add_block_options
from vpbsd.cli.fetch import add_fetch_options, fetch
from vpbsd.cli.graph import add_graph_options, graph
from vpbsd.cli.options import HelpWithSettings
from vpbsd.cli.report import add_report_options, report
from vpbsd.cli.view import add_view_options, view

__all__ = ["STAGES", "build_parser"]

STAGES = {
    "pretrain": "stage 1: the teacher learns vessel patterns from images alone",
    "finetune": "stage 2: the teacher learns to segment from the labelled volumes",
    "distill": "stage 3: the student learns from the labels and from the teacher",
    "train": "the three stages in a row",
}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all verbs, in the order of the pipeline."""
    parser = argparse.ArgumentParser(
        prog="vpbsd",
        description="Vessel masks from 3D microscopy, learned from a handful of labels.",
        epilog="vpbsd VERB --help tells more; axes are always z y x, lengths in micrometres",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"vpbsd {__version__}")
    adders = parser.add_subparsers(metavar="VERB", required=True, title="verbs, in pipeline order")
    _add_info(_verb(adders, "info", verbs.info, "what a volume or a model is"))
    add_fetch_options(_verb(adders, "fetch", fetch, "public data sets, checked, split by animal"))
    _add_simulate(_verb(adders, "simulate", verbs.simulate, "vessel volumes with exact truth"))
    for name, meaning in STAGES.items():
        stage = adders.add_parser(
            name, help=meaning, description=meaning, allow_abbrev=False, add_help=False
        )
        _add_stage(stage, name)
    _add_convert(_verb(adders, "convert", verbs.convert, "any volume to OME-Zarr with a pyramid"))
    _add_segment(_verb(adders, "segment", verbs.segment, "a volume to a vessel mask, with a model"))
    _add_evaluate(_verb(adders, "evaluate", verbs.evaluate, "scores of a mask against the truth"))
    _add_graph(_verb(adders, "graph", graph, "a vessel mask to its graph, with measures"))
    _add_compare(_verb(adders, "compare", verbs.compare, "methods x seeds x data sets, and tables"))
    add_report_options(_verb(adders, "report", report, "one offline HTML page of what was found"))
    add_view_options(_verb(adders, "view", view, "images, masks and a graph in neuroglancer"))
    _verb(adders, "doctor", verbs.doctor, "what is slow or missing on this machine, and the fix")
    demo = _verb(adders, "demo", verbs.demo, "all of it on simulated volumes, in minutes")
    demo.add_argument("--out", type=Path, default=Path("demo"), help="folder (default: demo)")
    demo.add_argument("--quick", action="store_true", help="a few steps only, to see it work")
    _add_quiet(demo)
    return parser


def _verb(adders: Any, name: str, action: Any, meaning: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = adders.add_parser(
        name, help=meaning, description=meaning, allow_abbrev=False
    )
    parser.set_defaults(action=action, verb=name, out=None, quiet=False)
    return parser


def _add_info(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", help="volume (also a URL), model file or folder of a run")
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
    parser.add_argument(
        "--brain", action="store_true",
        help="one whole brain of any --shape, as OUT/image.ome.zarr and OUT/truth.ome.zarr",
    )  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="replace earlier volumes in OUT")
    _add_quiet(parser)


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
    parser.set_defaults(action=verbs.train, verb=name)


def _add_segment(parser: argparse.ArgumentParser) -> None:
    _add_volume(parser)
    parser.add_argument("--model", type=Path, required=True, help="folder of a run, or model file")
    parser.add_argument(
        "-o", "--out", required=True, metavar="OUT.ome.zarr",
        help="the mask: a path or URL, or IMAGE.ome.zarr/labels/NAME",
    )  # fmt: skip
    parser.add_argument(
        "--dry-run", action="store_true",
        help="tell what it will take (memory, disk, hours), measured on a few blocks, and stop",
    )  # fmt: skip
    parser.add_argument("--threshold", type=float, metavar="T", help="default: the model's own")
    parser.add_argument("--probability", action="store_true", help="write probabilities as well")
    parser.add_argument("--channels", type=int, nargs="+", metavar="C", help="counted from 0")
    parser.add_argument("--invert", action="store_true", help="vessels are darker than the tissue")
    parser.add_argument(
        "--no-skip", action="store_true", help="compute also blocks that hold no tissue"
    )
    parser.add_argument(
        "--block-voxels", type=int, nargs=3, metavar=("Z", "Y", "X"), help="default: by memory"
    )
    parser.add_argument(
        "--memory", type=float, metavar="GIB", help="for the blocks of all workers (default: 2.5)"
    )
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16", "int8"), default="auto")
    parser.add_argument("--runtime", choices=("auto", "torch", "openvino"), default="auto")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add_block_options(parser)
    _add_quiet(parser)


def _add_convert(parser: argparse.ArgumentParser) -> None:
    _add_volume(parser)
    parser.add_argument("-o", "--out", required=True, metavar="OUT.ome.zarr", help="a path or URL")
    parser.add_argument("--labels", action="store_true", help="values are labels, not intensities")
    add_block_options(parser)
    _add_quiet(parser)


def _add_volume(
    parser: argparse.ArgumentParser,
    meaning: str = "in any format that is read; zarr also by URL (s3://…)",
) -> None:
    parser.add_argument("volume", help=meaning)
    _add_voxel_size(parser)


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("mask", type=Path, help="what to score; voxels above 0 are vessel")
    parser.add_argument("truth", type=Path, help="of the same shape; voxels above 0 are vessel")
    _add_voxel_size(parser)
    parser.add_argument(
        "--capillary-radius", type=float, metavar="UM",
        help="vessels of a smaller radius in µm are scored as capillaries (default: 5)",
    )  # fmt: skip
    parser.add_argument(
        "--probability", type=Path, metavar="VOLUME", help="also the calibration of these"
    )
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")
    parser.add_argument(
        "--workers", type=int, metavar="N",
        help="score block by block with N local processes (default: at once if memory will do)",
    )  # fmt: skip
    parser.add_argument(
        "--memory", type=float, metavar="GIB", help="for each process, block by block (default: 4)"
    )
    parser.add_argument(
        "--work", type=Path, metavar="FOLDER",
        help="score block by block and keep what is needed to go on when stopped",
    )  # fmt: skip
    _add_quiet(parser)


def _add_graph(parser: argparse.ArgumentParser) -> None:
    _add_volume(parser, "the mask, in any format that is read: voxels above 0 are vessel")
    add_graph_options(parser)
    add_block_options(parser, ngff=False)
    _add_quiet(parser)


def _add_compare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "recipe", nargs="?", metavar="RECIPE", help="YAML file, or name of a shipped comparison"
    )
    parser.add_argument(
        "-o", "--out", type=Path, metavar="OUT",
        help="folder of the comparison; an earlier one goes on. With --tables: of the tables",
    )  # fmt: skip
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N",
        help="processes, with one thread each (default: 1)",
    )  # fmt: skip
    parser.add_argument(
        "--tables", type=Path, metavar="DIR",
        help="only make tables of the results (*.jsonl) in a folder",
    )  # fmt: skip
    _add_quiet(parser)


def _add_voxel_size(parser: argparse.ArgumentParser, more: str = "overrides the file's") -> None:
    parser.add_argument(
        "--voxel-size", type=float, nargs=3, metavar=("Z", "Y", "X"), help=f"in µm; {more}"
    )


def _add_quiet(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quiet", action="store_true", help="no progress, only warnings")
