"""The folder in which a run lives until its outputs are complete.

::

    OUT.ome.zarr.work/        beside the output, removed when that is complete
      job.json                fingerprint, and the attributes that the outputs will carry
      blocks/done/…           ledger of the blocks; NAME_level_1 … of the pyramids' shards
      NAME.partial/           the outputs as far as they are
      log.jsonl               one line a block; kept as OUT.ome.zarr.log.jsonl
      models/                 nets prepared for this volume (int8)
      *.lock                  one run, or one run a part, at a time
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from vpbsd.blockwise.ledger import Ledger, read_job, require_same_job, write_job
from vpbsd.blockwise.lock import BusyError, only_run
from vpbsd.blockwise.workers import Part
from vpbsd.errors import ConfigError, OutputError
from vpbsd.volumes import Location, is_url

__all__ = ["WorkFolder", "fingerprint_digest", "work_path"]

logger = logging.getLogger(__name__)

_VERSION = 1
_SETUP_WAIT_SECONDS = 120.0
_JOB = "job.json"
_WHOLE = "run.lock"
_SETUP = "setup.lock"
_FINISH = "finish.lock"


def work_path(out: Location, work: Path | None = None) -> Path:
    """Return where a run into ``out`` keeps what it needs to go on.

    Beside the output if that is on a disk; in the current folder if it is in an object store; for
    labels inside an image, beside the image.
    """
    if work is not None:
        return work
    name = str(out).rstrip("/")
    if is_url(out):
        return Path(f"{name.rsplit('/', 1)[-1]}.work")
    path = Path(name)
    if path.parent.name == "labels" and path.parent.parent.name.endswith(".zarr"):
        image = path.parent.parent
        return image.with_name(f"{image.name}.{path.name}.work")
    return path.with_name(f"{path.name}.work")


def fingerprint_digest(fingerprint: Mapping[str, Any]) -> str:
    """Return one word for a fingerprint, to be found again in the finished output."""
    text = json.dumps(fingerprint, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class WorkFolder:
    """What a run keeps on disk so that it, or another process, can go on.

    Parameters
    ----------
    path
        From :func:`work_path`.
    out
        The output, for messages.
    """

    def __init__(self, path: Path, out: Location) -> None:
        self.path = path
        self.out = str(out)

    def earlier(self) -> dict[str, Any] | None:
        """Return the fingerprint of the run that was begun here, None where there is none.

        What an earlier run chose by measuring (precision, block size) must be chosen again.
        """
        job = read_job(self.path)
        return None if job is None else dict(job.get("fingerprint", {}))

    @property
    def ledger(self) -> Ledger:
        """The ledger of the blocks."""
        return Ledger(self.path / "blocks")

    def pyramid_ledger(self, name: str, level: int) -> Ledger:
        """Return the ledger of a coarse level (1 and up) of an output."""
        return Ledger(self.path / f"{name}_level_{level}")

    def partial(self, name: str) -> Path:
        """Return where an output grows."""
        return self.path / f"{name}.partial"

    def log(self, part: Part | None) -> Path:
        """Return the log of the whole run or of a part."""
        return self.path / (
            "log.jsonl" if part is None else f"log.part-{part.number}-of-{part.parts}.jsonl"
        )

    @contextmanager
    def claimed(self, part: Part | None) -> Iterator[None]:
        """Hold the right to compute the whole, or one part.

        Raises
        ------
        OutputError
            If another live process has it, or the folder cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"cannot make '{self.path}', where the run keeps what it needs to go on: "
                f"{error.strerror}; choose another folder (--work)"
            ) from error
        what = f"'{self.out}'" if part is None else f"part {part} of '{self.out}'"
        name = _WHOLE if part is None else f"part-{part.number}-of-{part.parts}.lock"
        with ExitStack() as held:
            with self.setup():
                if part is None:
                    for lock in sorted(self.path.glob("part-*.lock")):
                        with only_run(lock, what):
                            pass
                elif (self.path / _WHOLE).exists():
                    with only_run(self.path / _WHOLE, what):
                        pass
                held.enter_context(only_run(self.path / name, what))
            try:
                yield
            finally:
                self._leave(name)

    @contextmanager
    def finishing(self) -> Iterator[bool]:
        """Hold the right to finish the outputs; yields False if another part has it or had it."""
        with ExitStack() as held:
            try:
                held.enter_context(only_run(self.path / _FINISH, f"'{self.out}'"))
            except BusyError:
                yield False
                return
            yield self.begun

    @property
    def begun(self) -> bool:
        """Whether there is a run to go on with; no longer, once its outputs are complete."""
        return (self.path / _JOB).exists()

    def _leave(self, *locks: str) -> None:
        """Remove a folder in which nothing was begun, and which was made only to be locked."""
        if self.begun or not self.path.exists():
            return
        # If another part is just beginning, it is its folder now.
        with suppress(BusyError), self.setup():
            if self.begun:
                return
            for name in (*locks, _FINISH, _SETUP):
                for file in (self.path / name, (self.path / name).with_suffix(".holder")):
                    file.unlink(missing_ok=True)
            with suppress(OSError):  # another part has its lock there
                self.path.rmdir()

    @property
    def models(self) -> Path:
        """Folder for nets that were prepared for this run; their names say what they belong to."""
        return self.path / "models"

    def discard(self) -> None:
        """Remove what was prepared for a run that is not to begin; one that has begun stays."""
        if not self.begun:
            shutil.rmtree(self.models, ignore_errors=True)
            self._leave()

    def setup(self) -> AbstractContextManager[None]:
        """Hold the right to make the outputs: short, so whoever comes second waits."""
        return only_run(self.path / _SETUP, f"'{self.out}'", wait_seconds=_SETUP_WAIT_SECONDS)

    def begin(
        self,
        fingerprint: Mapping[str, Any],
        attributes: Mapping[str, Mapping[str, Any]],
        *,
        overwrite: bool,
        part: Part | None,
    ) -> dict[str, dict[str, Any]]:
        """Note what is computed, or check that it is what was begun here earlier.

        Returns
        -------
        dict
            The attributes of each output: of the run that began it, so that a resumed output
            tells the same story as one that was never disturbed.

        Raises
        ------
        OutputError
            If something else was begun here and ``overwrite`` is off.
        """
        job = read_job(self.path)
        if job is not None and job.get("version") != _VERSION:
            raise OutputError(
                f"'{self.path}' was written by another version of vpbsd (format "
                f"{job.get('version')}, not {_VERSION}); finish it with that one, or remove the "
                "folder"
            )
        if job is not None:
            try:
                require_same_job(job.get("fingerprint", {}), fingerprint, self.out)
                return {name: dict(values) for name, values in job["attributes"].items()}
            except OutputError:
                if not overwrite:
                    raise
                if part is not None:
                    raise ConfigError(
                        "--overwrite together with --part would let each part remove what the "
                        f"others wrote; remove '{self.path}' first, then start the parts"
                    ) from None
                self._remove_all_but(self.models.name)
        noted = {name: dict(values) for name, values in attributes.items()}
        write_job(
            self.path,
            {"version": _VERSION, "fingerprint": dict(fingerprint), "attributes": noted},
        )
        return noted

    def _remove_all_but(self, *names: str) -> None:
        """Remove everything but what is named and the locks, which are held."""
        for entry in self.path.iterdir():
            if entry.name in names or entry.suffix in (".lock", ".holder"):
                continue
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    def close(self, log_name: Path | None) -> None:
        """Remove the folder after the outputs are complete; the log lives on beside them."""
        if log_name is not None:
            self._keep_log(log_name)
        # The note goes last: the run after one that was killed here finds it, and comes here again.
        self._remove_all_but(_JOB)
        shutil.rmtree(self.path, ignore_errors=True)

    def _keep_log(self, log_name: Path) -> None:
        try:
            with log_name.open("wb") as kept:
                for file in sorted(self.path.glob("log*.jsonl")):
                    with file.open("rb") as lines:
                        shutil.copyfileobj(lines, kept)
        except OSError as error:
            # The outputs are there; that they lack their log is no reason to call this a failure.
            logger.warning("cannot keep the log as '%s': %s", log_name, error.strerror)
