"""How a command fails: one sentence on stderr, an exit code, and a traceback only in a log."""

from __future__ import annotations

import argparse
import errno
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from vpbsd.errors import UserError, VpbsdError

__all__ = ["LOG_NAME", "guarded"]

LOG_NAME = "vpbsd-error.log"

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST)


def guarded(action: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """Run ``action`` and turn what it raises into a sentence and an exit code.

    Returns
    -------
    int
        0, or as the action says; 2 for what the user can mend, 1 for our fault, 130 for Ctrl-C.
    """
    try:
        return action(options)
    except VpbsdError as error:
        return _say(options, str(error), 2 if isinstance(error, UserError) else 1)
    except KeyboardInterrupt as stop:
        return _say(options, str(stop) or "stopped; no half-written output was left", 130)
    except BrokenPipeError:
        # Whoever read our output has had enough (`vpbsd info X | head`); Python would complain
        # once more when it flushes stdout at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except MemoryError:
        remedy = "choose smaller blocks or patches, or close other programs"
        return _say(options, f"the memory of this machine is full: {remedy}", 2)
    except Exception as error:
        sentence = _mendable(error)
        if sentence is not None:
            raise SystemExit(_say(options, sentence, 2)) from error
        raise SystemExit(_crashed(options, error)) from error


def _say(options: argparse.Namespace, sentence: str, code: int) -> int:
    # Libraries explain themselves over several lines; a sentence stands on one.
    sys.stderr.write(f"vpbsd {options.verb}: {' '.join(sentence.split())}\n")
    return code


def _mendable(error: BaseException) -> str | None:
    """Return what to tell about a full disk or a folder that cannot be written, else None."""
    for cause in _chain(error):
        if not isinstance(cause, OSError):
            continue
        place = f"'{cause.filename}'" if cause.filename else "a file"
        if cause.errno in _FULL:
            return (
                f"{place} cannot be written: {cause.strerror}; make room or choose another folder, "
                "then run the same command again"
            )
        if cause.errno in _REFUSED:
            return (
                f"{place} cannot be written or read: {cause.strerror}; check the permissions, or "
                "choose another folder"
            )
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _crashed(options: argparse.Namespace, error: Exception) -> int:
    text = "".join(traceback.format_exception(error))
    log = _write_log(options, f"command: {options.command}\n\n{text}")
    if log is None:
        sys.stderr.write(text)
    where = "no log could be written" if log is None else f"traceback in {log}"
    return _say(
        options, f"unexpected {type(error).__name__}: {error}; this is a fault of vpbsd, {where}", 1
    )


def _write_log(options: argparse.Namespace, text: str) -> Path | None:
    for folder in (*_output_folders(options), Path(), Path(tempfile.gettempdir())):
        try:
            (folder / LOG_NAME).write_text(text, encoding="utf-8")
        except OSError:
            continue
        return folder / LOG_NAME
    return None


def _output_folders(options: argparse.Namespace) -> Iterator[Path]:
    """Yield the folder of the run, or the one that the output would lie in."""
    if options.out is None or "://" in str(options.out):
        return
    out = Path(options.out)
    if out.is_dir() and not out.name.endswith(".zarr"):
        yield out
    elif out.parent.is_dir():
        yield out.parent
