"""Where a result comes from (versions, machine, inputs, seed), and files never half-written."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from vpbsd.errors import OutputError

__all__ = ["library_versions", "provenance", "write_json_atomic", "write_text_atomic"]

_LIBRARIES = ("torch", "numpy", "scipy", "scikit-image", "zarr", "tifffile", "h5py", "nibabel")


def library_versions(names: Sequence[str] = _LIBRARIES) -> dict[str, str]:
    """Return the installed version of each distribution; ``missing`` where there is none."""
    return {name: _version(name) for name in names}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "missing"


def provenance(
    command: str | Sequence[str],
    inputs: Mapping[str, str],
    *,
    machine: Mapping[str, Any] | None = None,
    seed: int | None = None,
) -> dict[str, Any]:
    """Describe how a result came about, as values that JSON can hold.

    Parameters
    ----------
    command
        What was called: a line, or its words.
    inputs
        Name of each input and its fingerprint.
    machine
        From ``vpbsd.machine.describe_machine()`` or, without torch,
        ``vpbsd.resources.describe_host()``.
    seed
        Of the random numbers, where there were any.

    Returns
    -------
    dict
        ``command``, ``time_utc`` (ISO 8601), ``vpbsd``, ``python``, ``libraries``, ``machine``,
        ``inputs`` and ``seed``.
    """
    line = command if isinstance(command, str) else shlex.join(command)
    return {
        "command": line,
        "time_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "vpbsd": _version("vpbsd"),
        "python": platform.python_version(),
        "libraries": library_versions(),
        "machine": None if machine is None else dict(machine),
        "inputs": dict(inputs),
        "seed": seed,
    }


def write_json_atomic(path: Path, content: Any) -> None:
    """Write ``content`` as JSON so that ``path`` holds the old or the new text, never a part.

    NaN and infinity, which JSON does not know, are refused with a ``ValueError``.

    Raises
    ------
    OutputError
        If the file cannot be written: a full disk, no permission, a missing folder.
    """
    write_text_atomic(
        path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    )


def write_text_atomic(path: Path, text: str) -> None:
    """Write ``text`` in UTF-8 so that ``path`` holds the old or the new text, never a part.

    Raises
    ------
    OutputError
        If the file cannot be written: a full disk, no permission, a missing folder.
    """
    try:
        _replace(path, text)
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror}; make room, or choose a folder that exists "
            "and is yours"
        ) from error


def _replace(path: Path, text: str) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
    partial = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            # Without this a crash of the machine may leave the new name on an empty file.
            os.fsync(file.fileno())
        partial.chmod(0o666 & ~_umask())
        partial.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()


def _umask() -> int:
    # The mask can only be read by setting it.
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
