"""What one method reached on one volume: one JSON line, strict when read, never half-written.

A file holds one JSON object a line (JSON Lines). A line is named by comparison, data set, method,
seed and volume; a newer line of the same name takes the older one's place. Everything that tables
and figures show is derived from such lines.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpbsd.blockwise.lock import only_run
from vpbsd.compare.results.pooled import POOLED, pooled_scores
from vpbsd.compare.results.rules import COUNTS, RULES, Family, check_blocks, plain, require
from vpbsd.errors import DataError, OutputError
from vpbsd.provenance import write_text_atomic

__all__ = ["COUNTS", "Family", "ResultLine", "append_result", "read_results"]

logger = logging.getLogger(__name__)

# Other processes hold the lock for as long as one file takes to write.
_WAIT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class ResultLine:
    """One method, seed, data set and volume; values as JSON holds them, checked when made.

    Attributes
    ----------
    comparison, dataset, method, volume
        Names.
    family
        What kind of method.
    seed
        None for a method that draws no random numbers.
    scores
        By name, at least ``dice`` and ``cldice``; None where a distance (``..._um``) is infinite,
        or another score was not taken.
    blocks
        ``edge_voxels`` [z, y, x], and a list with one number for each sub-block for each of
        :data:`COUNTS`: enough to compute Dice and clDice of any set of sub-blocks.
    threshold, parameters, mac_per_voxel, peak_memory_bytes, voxels_per_second, steps
        None where a method has no such number.
    training_seconds
        A teacher's training included.
    budget
        ``kind`` (steps or seconds) and ``value``, and the ``tuning_trials`` that came before;
        None where nothing was trained.
    deployed
        Name of the net that segments; None where there is none.
    machine, versions
        Where and with what it was computed.
    labelled_patches
        Number of labelled volumes that were learnt from; None if it was not noted.
    validation
        Names of the volumes that chose threshold and step; None if it was not noted.
    what
        One line: the idea and its source.
    failure
        Why there is no result, in one sentence; then ``scores`` is empty and ``blocks`` None.

    Raises
    ------
    DataError
        If a value is of the wrong kind, NaN or infinite, or the counts contradict each other or
        the scores.
    """

    comparison: str
    dataset: str
    method: str
    family: Family
    seed: int | None
    volume: str
    scores: Mapping[str, float | str | None]
    blocks: Mapping[str, Sequence[int]] | None
    threshold: float | None
    parameters: int | None
    mac_per_voxel: float | None
    peak_memory_bytes: int | None
    voxels_per_second: float | None
    steps: int | None
    training_seconds: float | None
    budget: Mapping[str, str | float] | None
    deployed: str | None
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    labelled_patches: int | None = None
    validation: Sequence[str] | None = None
    what: str | None = None
    failure: str | None = None

    def __post_init__(self) -> None:
        for name, rule in RULES.items():
            rule(name, getattr(self, name))
        for name in ("scores", "blocks", "budget", "machine", "versions", "validation"):
            # Plain values, so that a line equals what is read of it again.
            object.__setattr__(self, name, plain(getattr(self, name)))
        if self.failure is not None:
            require(self.blocks is None and not self.scores, "a failure has no scores and blocks")
            return
        for name in POOLED:
            value = self.scores.get(name)
            known = isinstance(value, float | int) and 0 <= value <= 1
            require(known, f"scores.{name} must be a share from 0 to 1, got {value!r}")
        check_blocks(self.blocks)
        self._check_scores_against_blocks()

    @property
    def key(self) -> tuple[str, str, str, int | None, str]:
        """What names this line: comparison, data set, method, seed and volume."""
        return (self.comparison, self.dataset, self.method, self.seed, self.volume)

    @property
    def counts(self) -> NDArray[np.int64]:
        """Counts (blocks, 7), one column for each of :data:`COUNTS`; (0, 7) of a failure."""
        if self.blocks is None:
            return np.zeros((0, len(COUNTS)), np.int64)
        return np.stack([np.asarray(self.blocks[name], np.int64) for name in COUNTS], axis=-1)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ResultLine:
        """Make a line of what JSON held.

        Raises
        ------
        DataError
            If a key is missing or unknown, or a value is refused.
        """
        fields = dataclasses.fields(cls)
        known = [field.name for field in fields]
        needed = [field.name for field in fields if field.default is dataclasses.MISSING]
        if missing := [name for name in needed if name not in values]:
            raise DataError(f"lacks {', '.join(missing)}")
        if unknown := [name for name in values if name not in known]:
            raise DataError(f"has {', '.join(unknown)}, which this version of vpbsd does not know")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return the line as values that JSON can hold."""
        return {f.name: plain(getattr(self, f.name)) for f in dataclasses.fields(self)}

    def _check_scores_against_blocks(self) -> None:
        made = pooled_scores(self.counts.sum(axis=0))
        for name, value in zip(POOLED, made.tolist(), strict=True):
            stated = self.scores[name]
            require(
                isinstance(stated, float | int) and math.isclose(value, stated, abs_tol=1e-6),
                f"scores.{name} is {stated}, but the counts of the blocks make {value:.6f}: they "
                "are not of the same mask",
            )


def append_result(path: Path, line: ResultLine) -> None:
    """Put a line into a file, in place of an older one of the same name.

    The file holds all lines before or all lines after, whenever the process is killed; other
    processes that write the same file wait for each other. What a killed writer of another kind
    left of a last line is dropped.

    Parameters
    ----------
    path
        JSON Lines; made, with its folder, if it is not there.

    Raises
    ------
    DataError
        If the file holds something else than results: it is left as it is.
    OutputError
        If the file cannot be written, or another process holds it for a minute.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot make the folder of {path}: {error.strerror}; choose another"
        ) from error
    text = json.dumps(line.to_dict(), ensure_ascii=False, allow_nan=False)
    lock = path.with_name(f".{path.name}.lock")
    with only_run(lock, f"'{path}'", wait_seconds=_WAIT_SECONDS):
        kept = {old.key: raw for old, raw in _lines(path)} if path.exists() else {}
        # An older line of the same name keeps its place, so that a diff shows what changed.
        kept[line.key] = text
        write_text_atomic(path, "".join(f"{raw}\n" for raw in kept.values()))


def read_results(sources: Path | str | Iterable[Path | str]) -> list[ResultLine]:
    """Read result lines from files, and from all ``*.jsonl`` in folders.

    Parameters
    ----------
    sources
        A file, a folder, or several of them.

    Returns
    -------
    list of ResultLine
        In the order of files and lines; a line that stands in two files alike comes once.

    Raises
    ------
    DataError
        If there is nothing to read, a line is not a result (file, line and reason are named), or
        two lines of the same name differ.
    """
    given = [sources] if isinstance(sources, Path | str) else list(sources)
    found: dict[Any, tuple[ResultLine, Path]] = {}
    for file in _files([Path(source) for source in given]):
        for line, _ in _lines(file):
            older, home = found.setdefault(line.key, (line, file))
            if older != line:
                raise DataError(
                    f"{_name(line)} stands in {home} and in {file} with different values: keep one"
                )
    if not found:
        raise DataError(
            f"no results in {', '.join(str(g) for g in given) or 'nothing'}: give the .jsonl files "
            "that a comparison wrote, or their folder"
        )
    return [line for line, _ in found.values()]


def _files(sources: Sequence[Path]) -> list[Path]:
    return [
        file
        for source in sources
        for file in (sorted(source.glob("*.jsonl")) if source.is_dir() else [source])
    ]


def _lines(file: Path) -> list[tuple[ResultLine, str]]:
    """Return each line of a file with its text, without a last one that was cut short."""
    # Not splitlines(), which would also cut at characters that JSON leaves inside a string.
    *whole, cut_short = _text(file).split("\n")
    found = []
    for number, raw in enumerate([*whole, cut_short], 1):
        if not raw.strip():
            continue
        try:
            found.append((_parsed(raw), raw))
        except json.JSONDecodeError as error:
            if number > len(whole):
                logger.warning("%s: line %d was cut short and is left out", file, number)
                break
            raise DataError(
                f"{file}, line {number}: not JSON ({error.msg}); take the line out, and run the "
                "comparison again"
            ) from error
        except DataError as error:
            raise DataError(f"{file}, line {number}: {error}") from error
    return found


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"cannot read results from {file} ({error}): give .jsonl files that a comparison "
            "wrote, or their folder"
        ) from error


def _parsed(raw: str) -> ResultLine:
    def refused(constant: str) -> float:
        raise DataError(f"{constant} is no number that a result may hold: null stands for infinite")

    values = json.loads(raw, parse_constant=refused)
    if not isinstance(values, dict):
        raise DataError("a result is a JSON object")
    return ResultLine.from_dict(values)


def _name(line: ResultLine) -> str:
    seed = "" if line.seed is None else f", seed {line.seed}"
    return f"{line.comparison}: {line.method} on {line.dataset}{seed}, {line.volume}"
