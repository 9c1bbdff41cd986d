"""The ``Range`` header: which bytes of a file are asked for (RFC 9110, section 14)."""

from __future__ import annotations

import re

__all__ = ["UnsatisfiableRangeError", "asked_range"]

_ONE_RANGE = re.compile(r"(\d*)-(\d*)", re.ASCII)
# Longer numbers than any file's size only cost time to convert.
_MOST_DIGITS = 18


class UnsatisfiableRangeError(ValueError):
    """The header asks for bytes that the file does not have, or for none at all."""


def asked_range(header: str | None, size_bytes: int) -> range | None:
    """Return the bytes that a ``Range`` header asks for; None for the whole file.

    Several ranges at once and units other than bytes are answered with the whole file, as the
    standard allows: no viewer asks for them.

    Parameters
    ----------
    header
        As received, such as ``bytes=0-99``, ``bytes=100-`` or ``bytes=-50``; None if absent.
    size_bytes
        Of the file.

    Raises
    ------
    UnsatisfiableRangeError
        If the range begins past the end, is empty, or is no range.
    """
    if header is None:
        return None
    unit, _, asked = header.partition("=")
    if unit.strip().lower() != "bytes" or "," in asked:
        return None
    found = _ONE_RANGE.fullmatch(asked.strip())
    if found is None or found.group() == "-" or max(map(len, found.groups())) > _MOST_DIGITS:
        raise UnsatisfiableRangeError(header)
    first, last = found.groups()
    if not first:  # the last so many bytes
        span = range(max(0, size_bytes - int(last)), size_bytes)
    else:
        if last and int(last) < int(first):
            raise UnsatisfiableRangeError(header)
        span = range(int(first), min(size_bytes, int(last) + 1) if last else size_bytes)
    if not span:
        raise UnsatisfiableRangeError(header)
    return span
