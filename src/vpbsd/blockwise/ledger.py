"""What is done already, on disk, so that a run goes on where it was killed.

::

    FOLDER/
      job.json            what is computed: the fingerprint that a resumed run must share
      done/00012/         one file a finished block, 1000 blocks a folder
        000012345.678     block 12345 left the number 678 behind (say, foreground voxels)

The name of a finished block's file holds all there is to say, and the file is empty: creating it
is one atomic step, which no kill can leave half done, a million of them take no block of the disk,
and a listing tells everything. It is created after the block's result is on the disk.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpbsd.errors import ConfigError, OutputError
from vpbsd.provenance import write_json_atomic

__all__ = [
    "MISSING",
    "Ledger",
    "changes",
    "read_job",
    "require_same_job",
    "results_folder",
    "write_job",
]

MISSING = -1
"""What :meth:`Ledger.counts` says of a block that is not finished."""

_PER_FOLDER = 1000
_JOB = "job.json"


class Ledger:
    """Finished blocks of one plan; any number of processes may record at the same time.

    Parameters
    ----------
    folder
        Where to keep it; made when the first block is recorded.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._made: set[int] = set()

    def record(self, index: int, count: int = 0) -> None:
        """Note that a block is finished.

        Parameters
        ----------
        index
            Of the block in its plan.
        count
            A number of at least 0 that is to be summed up over the blocks.

        Raises
        ------
        OutputError
            If the disk is full or the folder cannot be written.
        """
        if index < 0 or count < 0:
            raise ConfigError(f"block {index} with count {count}: neither may be below 0")
        bucket = index // _PER_FOLDER
        folder = self._bucket(bucket)
        try:
            if bucket not in self._made:
                folder.mkdir(parents=True, exist_ok=True)
                self._made.add(bucket)
            os.close(os.open(folder / f"{index:09d}.{count}", os.O_CREAT | os.O_WRONLY, 0o666))
        except OSError as error:
            raise OutputError(
                f"cannot note in '{self.folder}' that block {index} is finished: "
                f"{error.strerror}; make room or check the permissions, then run the same command "
                "again"
            ) from error

    def counts(self, total: int) -> NDArray[np.int64]:
        """Return the number that each of ``total`` blocks left behind, ``MISSING`` for the rest.

        Raises
        ------
        OutputError
            If the ledger holds blocks beyond ``total`` or files that are none of its own, or cannot
            be read.
        """
        found = np.full(total, MISSING, np.int64)
        try:
            for entry in self._entries():
                number, _, count = entry.name.partition(".")
                if not (number.isdecimal() and count.isdecimal() and int(number) < total):
                    raise OutputError(
                        f"'{entry.path}' is no entry of a ledger of {total} blocks; something else "
                        f"wrote there: remove '{self.folder}' to compute its blocks anew"
                    )
                found[int(number)] = int(count)
        except OSError as error:
            raise OutputError(
                f"cannot read the ledger '{self.folder}': {error.strerror}; check the permissions"
            ) from error
        return found

    def _entries(self) -> Iterator[os.DirEntry[str]]:
        try:
            buckets = list(os.scandir(self.folder / "done"))
        except FileNotFoundError:
            return  # nothing is recorded yet
        for bucket in buckets:
            if not bucket.is_dir():
                yield bucket
                continue
            # Another part may have completed the outputs and be clearing up.
            with contextlib.suppress(FileNotFoundError):
                yield from os.scandir(bucket.path)

    def clear(self) -> None:
        """Forget every block."""
        shutil.rmtree(self.folder / "done", ignore_errors=True)
        self._made.clear()

    def _bucket(self, bucket: int) -> Path:
        return self.folder / "done" / f"{bucket:05d}"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_made": set()}


def write_job(folder: Path, job: Mapping[str, Any]) -> None:
    """Note what is being computed, as values that JSON can hold.

    Raises
    ------
    OutputError
        If the folder cannot be written.
    """
    write_json_atomic(folder / _JOB, dict(job))


def read_job(folder: Path) -> dict[str, Any] | None:
    """Return what an earlier run noted; None where there was none.

    Raises
    ------
    OutputError
        If the note cannot be read.
    """
    path = folder / _JOB
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OutputError(f"cannot read '{path}': {error.strerror}") from error
    try:
        job = json.loads(text)
    except ValueError as error:  # also of bytes that are no text
        raise OutputError(f"'{path}' is damaged ({error}); {_anew(folder)}") from error
    if not isinstance(job, dict):
        raise OutputError(f"'{path}' does not describe a run; {_anew(folder)}")
    return job


def _anew(folder: Path) -> str:
    return f"remove '{folder}' to start anew"


def require_same_job(earlier: Mapping[str, Any], now: Mapping[str, Any], out: str) -> None:
    """Check that a run that is taken up again computes the same thing.

    Parameters
    ----------
    earlier, now
        The fingerprints: names and values that JSON can hold, the values possibly nested.
    out
        The output, for the message.

    Raises
    ------
    OutputError
        Naming every part that differs, with both values.
    """
    changed = changes(earlier, now)
    if changed:
        raise OutputError(
            f"'{out}' was begun by a run that differs: {'; '.join(changed)}. Run the earlier "
            "command to finish it, choose another name, or start anew with --overwrite"
        )


def changes(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return what differs between two fingerprints, in words, with both values."""
    before = json.loads(json.dumps(earlier))
    after = json.loads(json.dumps(now))
    return [
        f"{key} was {_short(before.get(key))} and is {_short(after.get(key))}"
        for key in sorted({*before, *after})
        if before.get(key) != after.get(key)
    ]


@contextmanager
def results_folder(work: Path | None, job: Mapping[str, Any]) -> Iterator[Path]:
    """Yield the folder into which blocks put what is summed up at the end.

    Parameters
    ----------
    work
        Made if it is not there, and kept, so that a later run goes on from it; None takes one that
        is removed in the end.
    job
        What is computed, as values that JSON can hold; a folder of anything else is refused.

    Raises
    ------
    OutputError
        If the folder holds something else or cannot be made.
    """
    if work is None:
        with tempfile.TemporaryDirectory(prefix="vpbsd-") as folder:
            yield Path(folder)
        return
    earlier = read_job(work)
    if earlier is None:
        if work.exists() and (not work.is_dir() or any(work.iterdir())):
            raise OutputError(f"'{work}' holds something else; name a new folder")
        try:
            work.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot make the folder '{work}': {error.strerror}") from error
        write_job(work, job)
    elif changed := changes(earlier, job):
        raise OutputError(
            f"'{work}' holds the counts of a run that differs: {'; '.join(changed)}; name another "
            "folder, or remove this one to count anew"
        )
    yield work


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
