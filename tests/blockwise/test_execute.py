from __future__ import annotations

import logging

import pytest

from vpbsd.blockwise import Block, plan_blocks, run_serial
from vpbsd.errors import BlocksFailedError, IntensityError, OutputError

PLAN = plan_blocks((40, 1, 1), 1)


def test_every_block_is_done_once_and_reported_with_its_result() -> None:
    told = []
    run = run_serial(PLAN, lambda block: block.index * 10, lambda b, r: told.append((b.index, r)))
    assert run.done == 40
    assert told == [(i, 10 * i) for i in range(40)]


def test_bad_blocks_do_not_end_the_run_but_are_named_at_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    done = []

    def operation(block: Block) -> None:
        if block.index in (3, 17):
            raise IntensityError(f"NaN in {block.index}")

    with caplog.at_level(logging.WARNING), pytest.raises(BlocksFailedError) as caught:
        run_serial(PLAN, operation, lambda block, _: done.append(block.index))
    assert len(done) == 38
    assert str(caught.value) == (
        "2 of 40 blocks failed: 3 (z[3:4] y[0:1] x[0:1]); 17 (z[17:18] y[0:1] x[0:1]); "
        "the first error was IntensityError: NaN in 3"
    )
    assert isinstance(caught.value.__cause__, IntensityError)
    assert [r.getMessage()[:8] for r in caplog.records] == ["block 3 ", "block 17"]


def test_a_run_in_which_everything_fails_is_given_up() -> None:
    tried = []

    def operation(block: Block) -> None:
        tried.append(block.index)
        raise RuntimeError("no")

    with pytest.raises(BlocksFailedError, match=r"16 of 40 .* and 11 more.* 16 failures in a row"):
        run_serial(PLAN, operation, lambda *_: None)
    assert tried == list(range(16))


@pytest.mark.parametrize("error", [OutputError("disk full"), TypeError("bug"), KeyboardInterrupt()])
def test_what_every_block_would_meet_ends_the_run_at_once(error: BaseException) -> None:
    tried = []

    def operation(block: Block) -> None:
        tried.append(block.index)
        raise error

    with pytest.raises(type(error)):
        run_serial(PLAN, operation, lambda *_: None)
    assert tried == [0]
