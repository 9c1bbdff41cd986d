"""What every benchmark stands on: rows, interleaved timing, the file of results, the table.

A script yields rows from ``measure(arguments)`` and hands that function to :func:`run`. Each row is
merged into the file of results as soon as it is there, in place of an older one of its name, so
that a later failure costs nothing that was measured.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bars import BARS

from vpbsd.machine import describe_machine, prepare_process
from vpbsd.provenance import library_versions, write_json_atomic

__all__ = [
    "DOCUMENT",
    "RESULTS",
    "Row",
    "confine",
    "interleaved",
    "load",
    "log_to_stderr",
    "medians",
    "merge",
    "read_results",
    "render_table",
    "run",
    "write_table",
]

logger = logging.getLogger("benchmarks")

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results.json"
DOCUMENT = HERE.parent / "docs" / "benchmarks.md"

_CORES = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
_MARKS = ("<!-- table: begin -->", "<!-- table: end -->")
_LIBRARIES = ("vpbsd", "torch", "openvino", "nncf", "monai", "scikit-image", "zarr", "dask")


@dataclass(frozen=True, slots=True)
class Row:
    """One figure.

    Attributes
    ----------
    name
        One of ``bars.BARS``.
    value
        In the bar's unit; None where it could not be measured, with ``details["reason"]``.
    details
        What the value was computed from, and under which conditions; JSON can hold it.
    """

    name: str
    value: float | None
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name not in BARS:
            raise KeyError(f"{self.name!r} has no bar: give it one in bars.py")
        if self.value is None and "reason" not in self.details:
            raise ValueError(f"{self.name} was not measured: details need a 'reason'")

    @property
    def holds(self) -> bool | None:
        """Whether the value reaches its bar; None where nothing was measured."""
        return None if self.value is None else BARS[self.name].holds(self.value)

    def to_dict(self, arguments: argparse.Namespace) -> dict[str, Any]:
        """Return the row as it stands in the file of results."""
        bar = BARS[self.name]
        return {
            "name": self.name,
            "value": None if self.value is None else round(self.value, 6),
            "bar": str(bar),
            "holds": self.holds,
            "unit": bar.unit,
            "details": dict(self.details),
            "quick": arguments.quick,
            "machine": {**describe_machine(), "versions": library_versions(_LIBRARIES)},
            "seed": arguments.seed,
            "command": _command(arguments),
        }


def _command(arguments: argparse.Namespace) -> str:
    # Not sys.argv: folders of one machine say nothing on another.
    quick = " --quick" if arguments.quick else ""
    options = f"{quick} --seed {arguments.seed} --threads {arguments.threads}"
    return f"python benchmarks/{Path(sys.argv[0]).name}{options}"


# ---------------------------------------------------------------------------------------- running


def run(
    measure: Callable[[argparse.Namespace], Iterable[Row]],
    description: str,
    *,
    threads: int = 1,
    options: Callable[[argparse.ArgumentParser], object] | None = None,
) -> None:
    """Run one script from its command line.

    Parameters
    ----------
    measure
        Yields the rows; called with the options below.
    description
        Docstring of the script.
    threads
        Cores that each side may use, where ``--threads`` does not say.
    options
        Adds what this script alone takes.
    """
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny volumes: tries the script only")
    parser.add_argument("--out", type=Path, help="results; benchmarks/results.json if not quick")
    parser.add_argument("--work", type=Path, help="keep volumes and models here for other scripts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=threads, help="cores that each side uses")
    if options is not None:
        options(parser)
    arguments = parser.parse_args()
    if arguments.out is None and not arguments.quick:
        arguments.out = RESULTS
    log_to_stderr()
    # Before torch is loaded; the same malloc and waiting threads for both sides of every ratio.
    confine(arguments.threads)
    prepare_process(arguments.threads)
    with contextlib.ExitStack() as stack:
        if arguments.work is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="vpbsd_bench_"))
            arguments.work = Path(folder)
        arguments.work.mkdir(parents=True, exist_ok=True)
        start = time.perf_counter()
        for row in measure(arguments):
            logger.info("%s: %s (bar %s)", row.name, row.value, BARS[row.name])
            if arguments.out is not None:
                merge(arguments.out, [row.to_dict(arguments)])
        logger.info("%s took %.0f s", Path(sys.argv[0]).name, time.perf_counter() - start)


def log_to_stderr() -> None:
    """Show what the benchmarks say; a handler for everything would show Dask's talk as well."""
    logger.addHandler(logging.StreamHandler())
    logger.setLevel(logging.INFO)


def confine(cores: int) -> None:
    """Keep this thread, and whatever it starts from now on, on the first ``cores`` cores.

    Reading and writing beside the computation would otherwise take a core that the other side of
    a ratio does not have.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(_CORES)[: max(1, cores)])


def interleaved(
    sides: Mapping[str, Callable[[], object]], rounds: int = 3, warm_up: bool = True
) -> dict[str, list[float]]:
    """Time the sides in turn, A B C A B C, so that a drift of the machine meets all of them.

    Parameters
    ----------
    sides
        Name and what is timed.
    rounds
        How often each is timed.
    warm_up
        Call each once before, untimed.

    Returns
    -------
    dict
        Wall seconds of each round, by side.
    """
    if warm_up:
        for side in sides.values():
            side()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            start = time.perf_counter()
            side()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def medians(seconds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return the median of each side."""
    return {name: median(values) for name, values in seconds.items()}


def load() -> float:
    """Return how many processes wanted a core over the last minute, ours included."""
    return round(os.getloadavg()[0], 2)


# ---------------------------------------------------------------------------------------- results


def read_results(path: Path) -> list[dict[str, Any]]:
    """Return the rows in a file of results; none where there is no file."""
    return json.loads(path.read_text("utf-8")) if path.exists() else []


def merge(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Put rows into a file of results, in place of those of the same name, in the bars' order."""
    by_name = {row["name"]: dict(row) for row in [*read_results(path), *rows]}
    order = list(BARS)
    path.parent.mkdir(parents=True, exist_ok=True)
    # A figure that is measured no longer leaves the file with its bar.
    write_json_atomic(path, [by_name[name] for name in order if name in by_name])


def render_table(results: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows as a Markdown table; one that misses its bar is set in bold.

    Raises
    ------
    ValueError
        If a row is from ``--quick``, which measures nothing.
    """
    quick = [row["name"] for row in results if row["quick"]]
    if quick:
        raise ValueError(f"{quick[0]} is from --quick, which is no measurement: run it in full")
    lines = ["| measured | value | bar | holds |", "|---|---|---|---|"]
    for row in results:
        bar = BARS[row["name"]]
        if row["value"] is None:
            lines.append(f"| {bar.what} | | {row['bar']} | not measured: {_reason(row)} |")
            continue
        unit = "" if bar.unit == "share" else f" {'×' if bar.unit == 'x' else bar.unit}"
        holds = "yes" if row["holds"] else "**no**"
        lines.append(f"| {bar.what} | {_number(row['value'])}{unit} | {row['bar']} | {holds} |")
    return "\n".join(lines)


def write_table(document: Path, results: Sequence[Mapping[str, Any]]) -> None:
    """Replace what stands between the marks of a page by machine and table.

    Raises
    ------
    ValueError
        If the page lacks the marks, or a row is from ``--quick``.
    """
    begin, end = _MARKS
    text = document.read_text("utf-8")
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.S)
    if not pattern.search(text):
        raise ValueError(f"{document} lacks the marks {begin} and {end}")
    machines = list(dict.fromkeys(_machine_line(row) for row in results))
    body = "\n\n".join([*machines, render_table(results)])
    document.write_text(pattern.sub(lambda _: f"{begin}\n{body}\n{end}", text), "utf-8")


def _reason(row: Mapping[str, Any]) -> str:
    return str(row["details"]["reason"]).replace("|", "/").replace("\n", " ")


def _number(value: float) -> str:
    """Three significant digits, without an exponent."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}"


def _machine_line(row: Mapping[str, Any]) -> str:
    machine = row["machine"]
    gpus = ", ".join(machine["gpus"]) or "no GPU"
    versions = ", ".join(
        f"{name} {version}" for name, version in machine["versions"].items() if version != "missing"
    )
    return (
        f"Machine: {machine['cores']} cores of {machine['cpu']}"
        f" ({', '.join(machine['cpu_flags'])}), {machine['memory_bytes'] / 2**30:.0f} GiB, {gpus};"
        f" Python {machine['python']}, {versions}."
    )
