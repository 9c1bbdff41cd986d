"""glibc's malloc, set up for blocks of tensors that come and go."""

from __future__ import annotations

import ctypes
import platform

__all__ = ["give_back", "malloc_environment", "tune_malloc"]

# Names in the environment, parameters of mallopt(3) and values: nothing is mapped, nothing is
# given back, some memory is always held ready. One arena for all threads, or each lane of the
# block engine would keep (and fault in) memory of its own.
_SETTINGS = (
    ("MALLOC_MMAP_MAX_", -4, 0),
    ("MALLOC_TRIM_THRESHOLD_", -1, 2**31 - 1),
    ("MALLOC_TOP_PAD_", -2, 128 * 2**20),
    ("MALLOC_ARENA_MAX", -8, 1),
)


def tune_malloc() -> bool:
    """Set up this process; returns whether that was possible, which takes glibc."""
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(parameter, value) == 1 for _, parameter, value in _SETTINGS)


def give_back() -> bool:
    """Return what is free to the system, wherever in the heap; whether there was glibc to do so.

    Blocks of several shapes leave gaps that others do not fit into, which adds up over hundreds of
    them. What is given back costs time when it is needed again, so not after every block.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    ctypes.CDLL(None).malloc_trim(0)
    return True


def malloc_environment() -> dict[str, str]:
    """Return the same for the environment of a process that is yet to start.

    There it holds from the first thread on; set later, threads that exist keep arenas of their
    own.
    """
    return {name: str(value) for name, _, value in _SETTINGS}
