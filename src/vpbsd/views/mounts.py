"""Which files a web address may reach: those inside the folders that were named, and no others."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from urllib.parse import unquote_to_bytes

from vpbsd.errors import DataError

__all__ = ["Mounts", "mount_name"]

# What can stand in an address as it is.
_PLAIN = re.compile(r"[^A-Za-z0-9._-]+")
# Neither follows a link that was put in place of the file meanwhile, nor waits on a named pipe.
_OPEN_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_BINARY", 0)
)


def mount_name(number: int, folder: Path) -> str:
    """Return the name of a folder in addresses: its own, made plain, after a number."""
    plain = _PLAIN.sub("_", folder.name).strip(".") or "layer"
    return f"{number}-{plain}"


@dataclass(frozen=True, slots=True)
class Mounts:
    """Folders by their name in addresses.

    An address is ``NAME/path/inside``. A name of the path that is empty, ``.`` or ``..``, or that
    holds a separator once it is decoded, is refused, and so is a file that lies outside the folder
    after links are followed. Links from one place inside to another are followed.

    Parameters
    ----------
    folders
        Resolved paths; use :meth:`of`.
    """

    folders: Mapping[str, Path]

    @classmethod
    def of(cls, folders: Mapping[str, Path]) -> Mounts:
        """Return the mounts of folders.

        Raises
        ------
        DataError
            If one is not a folder.
        """
        for folder in folders.values():
            if not folder.is_dir():
                raise DataError(
                    f"'{folder}' is not a folder, so it cannot be served; check the path"
                )
        return cls({name: folder.resolve(strict=True) for name, folder in folders.items()})

    def open(self, address: str) -> tuple[FileIO, os.stat_result] | None:
        """Open the regular file at an address, still percent-encoded; None if there is none."""
        path = self._path(address)
        if path is None:
            return None
        try:
            descriptor = os.open(path, _OPEN_FLAGS)
        except (OSError, ValueError):
            return None
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            os.close(descriptor)
            return None
        return FileIO(descriptor, "rb"), state

    def _path(self, address: str) -> Path | None:
        name, _, inside = address.partition("/")
        root = self.folders.get(name)
        if root is None:
            return None
        parts = [_decoded(part) for part in inside.split("/")]
        if any(part is None for part in parts):
            return None
        try:
            path = root.joinpath(*(part for part in parts if part)).resolve(strict=True)
        except (OSError, RuntimeError, ValueError):
            return None  # missing, not to be read, a loop of links, or no name at all
        return path if path.is_relative_to(root) else None


def _decoded(part: str) -> str | None:
    """Return one name of a path; None where it could lead elsewhere."""
    try:
        name = unquote_to_bytes(part).decode("utf-8")
    except UnicodeDecodeError:
        return None
    if name in ("", ".", "..") or any(c in name for c in "/\\\0:"):
        return None
    return name
