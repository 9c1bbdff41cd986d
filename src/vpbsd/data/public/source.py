"""The files that a user has: a folder, or an archive of which only what is wanted is unpacked."""

from __future__ import annotations

import lzma
import os
import re
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from vpbsd.data.public.description import SourceFile
from vpbsd.errors import DataError, OutputError

__all__ = ["find_file", "list_files", "opened_source", "pattern_of"]

_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError)
_COPY_BYTES = 1 << 20


def pattern_of(path: str) -> re.Pattern[str]:
    """Return what matches a path that ends like ``path``; ``*`` stands for part of one name."""
    ending = "([^/]*)".join(re.escape(part) for part in path.split("*"))
    return re.compile(f"(?:^|/){ending}$")


def list_files(folder: Path) -> list[str]:
    """Return the paths of all files below a folder, relative, with ``/``, sorted.

    Hidden files and what macOS adds to archives are left out.
    """
    found = []
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if _is_visible(name)]
        base = Path(where).relative_to(folder)
        found += [(base / name).as_posix() for name in names if _is_visible(name)]
    return sorted(found)


def _is_visible(name: str) -> bool:
    return not name.startswith(".") and name != "__MACOSX"


def find_file(files: list[str], wanted: SourceFile) -> str | None:
    """Return which of ``files`` is the wanted one; None where it is not there.

    Raises
    ------
    DataError
        If several files fit, so that the wanted one cannot be told.
    """
    for path in wanted.paths:
        pattern = pattern_of(path)
        hits = [file for file in files if pattern.search(file)]
        if len(hits) > 1:
            raise DataError(
                f"'{path}' is there {len(hits)} times ({hits[0]}, {hits[1]}): name the folder "
                "that holds only one of them"
            )
        if hits:
            return hits[0]
    return None


@contextmanager
def opened_source(path: Path, is_wanted: Callable[[str], bool], scratch: Path) -> Iterator[Path]:
    """Give a folder with the files at ``path``.

    Parameters
    ----------
    path
        A folder, which is given as it is, or a zip or tar archive (also compressed).
    is_wanted
        Which members of an archive to unpack, by their path.
    scratch
        Folder to unpack in; what was unpacked is removed on leaving.

    Raises
    ------
    DataError
        If there is nothing, the archive is of another kind, damaged or cut short, or a name in
        it leads out of the folder.
    OutputError
        If the disk has no room for what is to be unpacked.
    """
    if path.is_dir():
        yield path
        return
    if not path.is_file():
        raise DataError(f"'{path}' does not exist; name the folder or archive with the files")
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unpacked-", dir=scratch) as name:
        folder = Path(name)
        try:
            if zipfile.is_zipfile(path):
                _unpack_zip(path, is_wanted, folder)
            elif tarfile.is_tarfile(path):
                _unpack_tar(path, is_wanted, folder)
            else:
                raise DataError(
                    f"'{path}' is neither a folder nor a whole zip or tar archive; if it was "
                    "downloaded, it is probably cut short: download it again"
                )
        except _DAMAGED as error:
            raise DataError(
                f"the archive '{path}' is damaged or cut short ({error}): download it again"
            ) from error
        yield folder


def _unpack_zip(path: Path, is_wanted: Callable[[str], bool], folder: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        for member in members:
            _refuse_escape(path, member.filename)
        chosen = [m for m in members if not m.is_dir() and _chosen(m.filename, is_wanted)]
        _refuse_full(folder, sum(m.file_size for m in chosen))
        for member in chosen:
            if member.flag_bits & 1:
                raise DataError(f"'{path}' is locked with a password: unpack it, then --from it")
            with archive.open(member) as source:
                _copy(source, folder / member.filename)


def _unpack_tar(path: Path, is_wanted: Callable[[str], bool], folder: Path) -> None:
    with tarfile.open(path) as archive:
        members = archive.getmembers()
        for member in members:
            _refuse_escape(path, member.name)
        chosen = [m for m in members if not m.isdir() and _chosen(m.name, is_wanted)]
        _refuse_full(folder, sum(m.size for m in chosen))
        for member in chosen:
            source = archive.extractfile(member) if member.isfile() else None
            if source is None:
                raise DataError(
                    f"'{member.name}' in '{path}' is a link or device, no file: unpack the "
                    "archive yourself, if you trust it, then --from the folder"
                )
            with source:
                _copy(source, folder / member.name)


def _chosen(name: str, is_wanted: Callable[[str], bool]) -> bool:
    visible = all(_is_visible(part) for part in PurePosixPath(name).parts if part != ".")
    return visible and is_wanted(name)


def _refuse_escape(archive: Path, name: str) -> None:
    posix = PurePosixPath(name)
    if posix.is_absolute() or ".." in posix.parts or "\\" in name or PureWindowsPath(name).drive:
        raise DataError(
            f"'{archive}' holds '{name}', which would be written outside of its folder; such an "
            "archive is broken or meant to harm: get it again from the home page"
        )


def _refuse_full(folder: Path, needed_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed_bytes > free:
        raise OutputError(
            f"unpacking takes {needed_bytes / 1e9:.1f} GB, but {folder.parent} has "
            f"{free / 1e9:.1f} GB free: make room, or choose another output folder"
        )


def _copy(source: IO[bytes], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        shutil.copyfileobj(source, file, _COPY_BYTES)
