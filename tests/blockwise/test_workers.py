from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpbsd.blockwise import Part, Workers
from vpbsd.errors import ConfigError


@given(total=st.integers(0, 500), parts=st.integers(1, 60))
def test_parts_cover_every_block_once_and_evenly(total: int, parts: int) -> None:
    shares = [Part(number, parts).of(total) for number in range(1, parts + 1)]
    assert [index for share in shares for index in share] == list(range(total))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_shares_written_out() -> None:
    assert [Part(k, 3).of(10) for k in (1, 2, 3)] == [range(0, 3), range(3, 6), range(6, 10)]
    assert Part(5, 8).of(3) == range(1, 1)  # more parts than blocks: nothing to do


def test_a_part_is_written_as_it_is_read() -> None:
    assert Part.parse("3/16") == Part(3, 16)
    assert str(Part(3, 16)) == "3/16"


@pytest.mark.parametrize("text", ["", "3", "3/", "/16", "3/16/2", "a/b", "-1/4", "1.5/4", "3 of 4"])
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Part.parse(text)
    assert str(caught.value) == f"a part is written I/N, as in --part 3/16, got '{text}'"


@pytest.mark.parametrize("text", ["0/4", "5/4", "1/0"])
def test_parts_that_do_not_exist_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=f"part {text} does not exist: parts are counted from 1"):
        Part.parse(text)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"processes": 0}, "at least 1 worker is needed, got 0"),
        ({"lanes": 0}, r"\(and 0 lanes\)"),
        ({"retries": -1}, "cannot be below 0"),
        ({"slurm_jobs": -1}, "cannot be below 0"),
        ({"scheduler": "tcp://a:1", "slurm_jobs": 2}, "not both: --slurm starts a scheduler"),
    ],
)
def test_impossible_workers_are_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Workers(**settings)  # type: ignore[arg-type]


def test_where_the_work_is_done_is_told() -> None:
    assert (str(Workers()), Workers().in_process) == ("this process", True)
    assert (str(Workers(processes=3)), Workers(processes=3).in_process) == ("3 processes", False)
    assert str(Workers(slurm_jobs=8)) == "8 SLURM jobs"
    there = Workers(scheduler="tcp://host:8786")
    assert (str(there), there.in_process) == ("the workers of tcp://host:8786", False)
