from __future__ import annotations

import pytest

from vpbsd.views.ranges import UnsatisfiableRangeError, asked_range


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("bytes=0-0", range(0, 1)),
        ("bytes=0-99", range(100)),
        ("bytes=10-19", range(10, 20)),
        ("bytes=90-200", range(90, 100)),
        ("bytes=99-", range(99, 100)),
        ("bytes=-1", range(99, 100)),
        ("bytes=-500", range(100)),
        ("BYTES=5-6", range(5, 7)),
        ("bytes=0-1,5-6", None),
        ("lines=0-1", None),
    ],
)
def test_range_of_a_hundred_bytes(header: str | None, expected: range | None) -> None:
    assert asked_range(header, 100) == expected


@pytest.mark.parametrize(
    "header",
    [
        *("bytes=100-", "bytes=100-200", "bytes=-0", "bytes=5-4", "bytes=-", "bytes=", "bytes=a-b"),
        *("bytes=1-2-3", "bytes=--5", "bytes=0x1-2", "bytes=٣-٤", "bytes=" + "9" * 5000 + "-"),
    ],
)
def test_what_cannot_be_given_is_refused(header: str) -> None:
    with pytest.raises(UnsatisfiableRangeError):
        asked_range(header, 100)


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=0-0", "bytes=-1"])
def test_an_empty_file_has_no_range(header: str) -> None:
    with pytest.raises(UnsatisfiableRangeError):
        asked_range(header, 0)
