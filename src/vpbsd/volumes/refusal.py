"""Where an output may not be written, and what the user is told then."""

from __future__ import annotations

import shutil
from pathlib import Path

from vpbsd.errors import OutputError
from vpbsd.volumes.store import Location, exists, join, local_path

__all__ = ["cannot_write", "refuse_existing", "refuse_foreign", "refuse_input"]


def _is_zarr(location: Location) -> bool:
    return any(exists(join(location, name)) for name in ("zarr.json", ".zgroup", ".zarray"))


def refuse_existing(location: Location, overwrite: bool) -> None:
    """Refuse to write where something is, unless it is zarr and may be replaced.

    Raises
    ------
    OutputError
        If it may not be replaced.
    """
    if not exists(location):
        return
    if not overwrite:
        raise OutputError(
            f"'{location}' exists already; pass --overwrite to replace it, or choose another name"
        )
    # A mistyped output must never cost the user a folder of something else.
    if not _is_zarr(location):
        raise OutputError(
            f"'{location}' is not a zarr folder, so --overwrite does not touch it; "
            "choose another name, or remove it yourself"
        )


def refuse_input(location: Location, source: str) -> None:
    """Refuse to write an output over the volume that it is made from.

    Raises
    ------
    OutputError
        If they are the same place.
    """
    path, other = local_path(location), local_path(source)
    same = str(location).rstrip("/") == source.rstrip("/")
    if same or (path is not None and other is not None and path.absolute() == other.absolute()):
        raise OutputError(f"'{location}' is the input itself; choose another name for the output")


def refuse_foreign(partial: Path) -> None:
    """Refuse to clear a folder that no writer of ours has made.

    Raises
    ------
    OutputError
        If it holds something else.
    """
    if partial.exists() and not _is_zarr(partial) and any(partial.iterdir()):
        raise OutputError(
            f"'{partial}' is to be cleared for a new output, but what is in it is not zarr; "
            "choose another folder, or remove it yourself"
        )


def cannot_write(location: Location, error: Exception) -> str:
    """Return the message for what a disk or an object store has refused."""
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    path = local_path(location)
    if path is None:
        return (
            f"'{location}' cannot be written: {reason}; check the address, the network and the "
            "credentials in the environment"
        )
    folder = next(p for p in (path.absolute().parent, *path.absolute().parents) if p.exists())
    free = shutil.disk_usage(folder).free
    return (
        f"'{location}' cannot be written: {reason}; {free:,} bytes are free in '{folder}': make "
        "room, check the permissions, or choose another folder"
    )
