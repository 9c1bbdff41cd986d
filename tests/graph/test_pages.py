"""Arrays in files without a name: what they hold, what they leave, and what is refused."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from vpbsd.errors import OutputError
from vpbsd.graph.pages import Pages, put_out

from .skeletons import in_a_file

ROWS = [
    {"id": np.array([3, 1]), "at": np.array([[1, 2], [3, 4]], np.float32)},
    {"id": np.array([], np.int64), "at": np.empty((0, 2), np.float32)},
    {"id": np.array([2]), "at": np.array([[5, 6]], np.float32)},
]


@pytest.mark.parametrize("there", [False, True])
def test_arrays_hold_what_they_are_given(tmp_path, there: bool) -> None:
    pages = Pages(tmp_path / "pages" if there else None)
    array = pages.empty((2, 3), np.int64)
    array[:] = [[1, 2, 3], [4, 5, 6]]
    same = pages.kept(np.arange(4, dtype=np.float32)[::-1])
    sevens = pages.full(2, 7, np.int8)
    put_out(array, same[1:], sevens)
    assert array.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert same.tolist() == [3, 2, 1, 0]
    assert sevens.tolist() == [7, 7]
    assert sevens.dtype == np.int8
    assert [in_a_file(a) for a in (array, same[1:], sevens)] == [there] * 3


@pytest.mark.parametrize("there", [False, True])
def test_columns_come_row_by_row(tmp_path, there: bool) -> None:
    found = Pages(tmp_path if there else None).columns(iter(ROWS))
    assert list(found) == ["id", "at"]
    assert found["id"].tolist() == [3, 1, 2]
    assert found["at"].tolist() == [[1, 2], [3, 4], [5, 6]]
    assert found["at"].dtype == np.float32
    assert [in_a_file(a) for a in found.values()] == [there] * 2


@pytest.mark.parametrize("there", [False, True])
def test_columns_of_nothing_keep_their_type_and_shape(tmp_path, there: bool) -> None:
    found = Pages(tmp_path if there else None).columns([ROWS[1]])
    assert found["id"].shape == (0,)
    assert found["at"].shape == (0, 2)
    assert found["at"].dtype == np.float32


def test_an_array_of_nothing_needs_no_file(tmp_path) -> None:
    assert Pages(tmp_path).empty((0, 3), np.float32).shape == (0, 3)


def test_files_have_no_name_and_go_with_their_array(tmp_path) -> None:
    array = Pages(tmp_path).full(1 << 20, 1, np.uint8)
    assert not list(tmp_path.iterdir())
    if sys.platform == "linux":
        maps = Path("/proc/self/maps")
        assert str(tmp_path) in maps.read_text()
        del array
        assert str(tmp_path) not in maps.read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="reads the resident memory from /proc")
def test_what_is_put_out_leaves_the_process(tmp_path) -> None:
    def mapped_mib() -> int:
        status = Path("/proc/self/status").read_text()
        return sum(
            int(line.split()[1]) >> 10
            for line in status.splitlines()
            if line.startswith(("RssFile", "RssShmem"))
        )

    before = mapped_mib()
    array = Pages(tmp_path).full(64 << 20, 1, np.uint8)
    assert mapped_mib() >= before + 60
    put_out(array[5:])
    assert mapped_mib() <= before + 4
    assert array.min() == 1


def test_a_folder_that_cannot_be_made_is_named(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    pages = Pages(tmp_path / "file")
    with pytest.raises(OutputError, match="file': File exists"):
        pages.empty(3, np.int64)
    with pytest.raises(OutputError, match="file': File exists"):
        pages.columns(ROWS)


def test_a_full_disk_is_an_error_before_anything_is_written_to(tmp_path, monkeypatch) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OutputError, match="No space left on device; make room"):
        Pages(tmp_path).empty(3, np.int64)
