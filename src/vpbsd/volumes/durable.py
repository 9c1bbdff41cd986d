"""What makes files on a local disk last, and appear under their name all at once."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path

__all__ = ["swap", "sweep", "sync"]

# zarr writes a file under such a name before it gives it the right one; a kill leaves it behind.
_UNFINISHED = ".partial"


def sync(files: Iterable[Path], root: Path) -> None:
    """Wait until files, and their names in all folders down from ``root``, are on the disk.

    Files that are not there are passed over: an empty shard has none.
    """
    folders: set[Path] = set()
    for file in files:
        try:
            _sync_one(file)
        except FileNotFoundError:
            continue
        folders.update(parent for parent in file.parents if parent.is_relative_to(root))
    # Windows writes names with the files, and opens no folder.
    if os.name == "posix":
        for folder in folders:
            _sync_one(folder)


def _sync_one(path: Path) -> None:
    # Windows waits for no file that is open for reading only; a folder opens in no other way.
    folder = path.is_dir()
    handle = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network disks cannot tell of a folder; the files in it are safe all the same.
        if not folder or error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(handle)


def sweep(folder: Path) -> None:
    """Remove the unfinished files that a killed process left in a zarr hierarchy."""
    for where, _, names in os.walk(folder):
        for name in names:
            if name.endswith(_UNFINISHED):
                (Path(where) / name).unlink()


def swap(new: Path, path: Path) -> None:
    """Put ``new`` at ``path``; whatever was there goes only after it has been replaced."""
    if not path.exists():
        new.rename(path)
    else:
        old = path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}.old"
        try:
            path.rename(old)
            new.rename(path)
        except BaseException:
            # Ctrl-C between the two must not hide the earlier output either.
            if old.exists() and not path.exists():
                old.rename(path)
            raise
        shutil.rmtree(old)
    if os.name == "posix":
        _sync_one(path.parent)
