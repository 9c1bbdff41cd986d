from __future__ import annotations

import io
import logging

import pytest
from rich.console import Console

from vpbsd.blockwise.progress import voxel_progress


def test_a_log_file_gets_a_line_about_every_tenth(caplog: pytest.LogCaptureFixture) -> None:
    console = Console(file=io.StringIO(), force_terminal=False)
    with (
        caplog.at_level(logging.INFO),
        voxel_progress("segmenting", 1000, console=console) as advance,
    ):
        for _ in range(100):
            advance(10)
    shares = [record.getMessage().split(" %")[0] for record in caplog.records]
    assert shares == [f"segmenting: {percent}" for percent in range(10, 101, 10)]
    assert caplog.records[-1].getMessage().endswith(" Mvoxel/s, 0 s left")


def test_large_steps_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    console = Console(file=io.StringIO(), force_terminal=False)
    with caplog.at_level(logging.INFO), voxel_progress("x", 1000, console=console) as advance:
        advance(350)
        advance(20)
        advance(630)
    assert [r.getMessage().split(" at")[0] for r in caplog.records] == ["x: 35 %", "x: 100 %"]


def test_a_terminal_gets_a_bar_with_a_rate(caplog: pytest.LogCaptureFixture) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120)
    with (
        caplog.at_level(logging.INFO),
        voxel_progress("segmenting", 2_000_000, console=console) as advance,
    ):
        advance(1_000_000)
        advance(1_000_000)
    assert "segmenting" in screen.getvalue()
    assert "100%" in screen.getvalue()
    assert "Mvoxel/s" in screen.getvalue()
    assert caplog.records == []


def test_nothing_is_shown_when_told_so(caplog: pytest.LogCaptureFixture) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True)
    with (
        caplog.at_level(logging.INFO),
        voxel_progress("x", 10, show=False, console=console) as advance,
    ):
        advance(10)
    assert screen.getvalue() == ""
    assert caplog.records == []
