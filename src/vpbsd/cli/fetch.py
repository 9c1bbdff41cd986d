"""``vpbsd fetch``: public data sets, listed or brought into the form that recipes read."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from vpbsd.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from vpbsd.data.public import FetchOptions

__all__ = ["add_fetch_options", "fetch"]

logger = logging.getLogger(__name__)

_ROLES = ("labelled", "unlabelled", "validation", "test")
_SECONDS_PER_LINE = 10.0


def add_fetch_options(parser: argparse.ArgumentParser) -> None:
    """Add what ``vpbsd fetch`` takes."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="data set; --list tells which")
    parser.add_argument("--list", action="store_true", help="tell what there is, and stop")
    parser.add_argument("-o", "--out", type=Path, metavar="OUT", help="folder for the data set")
    parser.add_argument(
        "--from", dest="source", type=Path, metavar="FOLDER_OR_ARCHIVE",
        help="files that you have already (default: download them)",
    )  # fmt: skip
    parser.add_argument(
        "--images", metavar="PATTERN",
        help="names of your image files where they are others, as in 'raw/*_0000.nii.gz'",
    )  # fmt: skip
    parser.add_argument("--labels", metavar="PATTERN", help="the same for their labels")
    parser.add_argument(
        "--labelled", type=int, metavar="N",
        help="use the labels of the first N training volumes, of the others only the image",
    )  # fmt: skip
    parser.add_argument(
        "--by-volume", action="store_true",
        help="split volumes even where the animals behind them are not published",
    )  # fmt: skip
    parser.add_argument(
        "--incomplete", action="store_true", help="go on without volumes whose files are missing"
    )
    parser.add_argument("--axes", metavar="ZYX", help="what the axes of the files are, if permuted")
    parser.add_argument(
        "--vessel-above", type=float, metavar="VALUE", help="label values above this are vessel"
    )
    parser.add_argument("--voxel-size", type=float, nargs=3, metavar=("Z", "Y", "X"), help="in µm")
    parser.add_argument("--overwrite", action="store_true", help="begin anew in OUT")
    parser.add_argument("--quiet", action="store_true", help="no progress, only warnings")


def fetch(options: argparse.Namespace) -> int:
    """List the public data sets, or fetch one."""
    if options.list:
        _list()
        return 0
    if options.name is None or options.out is None:
        raise ConfigError("name a data set and its folder, as in vpbsd fetch selma3d -o selma3d")
    from rich.console import Console

    from vpbsd.cli.progress import log_to
    from vpbsd.data import public

    description = public.dataset(options.name)
    console = Console(stderr=True)
    with log_to(console, quiet=options.quiet):
        logger.info("%s; licence: %s", description.title, description.licence)
        with _DownloadProgress(console, quiet=options.quiet) as progress:
            done = public.fetch(description, options.out, _options(options), progress)
    counts = {role: len(getattr(done.parts, role)) for role in _ROLES}
    sys.stdout.write(f"{'recipe':<22} {done.recipe}\n")
    sys.stdout.write(f"{'volumes':<22} {', '.join(f'{n} {r}' for r, n in counts.items())}\n")
    sys.stdout.write(f"{'split':<22} {done.parts.note}\n")
    return 0


def _options(options: argparse.Namespace) -> FetchOptions:
    from vpbsd.data.public import FetchOptions, Reading

    size = options.voxel_size
    return FetchOptions(
        source=options.source,
        images=options.images,
        labels=options.labels,
        labelled=options.labelled,
        by_volume=options.by_volume,
        incomplete=options.incomplete,
        overwrite=options.overwrite,
        reading=Reading(
            voxel_size_um=None if size is None else tuple(size),
            axes=None if options.axes is None else options.axes.lower(),
            vessel_above=options.vessel_above,
        ),
    )


def _list() -> None:
    from vpbsd.data.public import DATASETS

    for description in DATASETS.values():
        split = description.split
        lines = {
            "volumes": str(len(description.volumes)),
            "home": description.home,
            "licence": description.licence,
            "how": description.how,
            "split": f"by {split.by}; {split.why}",
        }
        sys.stdout.write(f"{description.name}: {description.title}\n")
        for name, value in lines.items():
            sys.stdout.write(f"  {name:<10} {value}\n")


class _DownloadProgress:
    """A bar for the file that is coming; without a terminal a line now and then."""

    def __init__(self, console: Console, *, quiet: bool) -> None:
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self._quiet = quiet
        self._bars = console.is_terminal and not quiet
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not self._bars,
        )
        self._file, self._told = "", time.monotonic()
        self._task = None if not self._bars else self._progress.add_task("", start=False)

    def __enter__(self) -> _DownloadProgress:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, name: str, done: int, total: int | None) -> None:
        """Show that ``done`` of ``total`` bytes of file ``name`` are there."""
        if self._task is not None:
            if name != self._file:
                self._file = name
                self._progress.reset(self._task, total=total, description=name)
            self._progress.update(self._task, completed=done, total=total)
        elif not self._quiet and time.monotonic() - self._told >= _SECONDS_PER_LINE:
            self._told = time.monotonic()
            of = "" if total is None else f" of {total / 1e6:.0f}"
            logger.info("%s: %.0f%s MB", name, done / 1e6, of)
