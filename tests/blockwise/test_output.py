"""Outputs that are filled block by block: whole, in parts, after kills, and only once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from block_operations import Fill
from block_outputs import BLOCKS, FINGERPRINT, SHAPE, contents, fill, make_job
from block_processes import StartDriver, result, wait_until

from vpbsd.blockwise import (
    Block,
    BlockDone,
    Ledger,
    Output,
    Part,
    Run,
    Workers,
    WorkFolder,
    fill_outputs,
)
from vpbsd.blockwise.lock import BusyError
from vpbsd.errors import BlocksFailedError, OutputError
from vpbsd.volumes import read_attributes

NAMES = ("prob.ome.zarr", "mask.ome.zarr")
# Of ((z * z + 3 * y * x) % 7) > 3 over the shape, counted by NumPy below.
FOREGROUND = 325_075


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    """Every byte that a run leaves which nobody disturbs."""
    folder = tmp_path_factory.mktemp("undisturbed")
    run = fill(folder)
    assert (run.done, run.skipped, run.missing, run.count) == (BLOCKS, 0, 0, FOREGROUND)
    return {name: contents(folder / name) for name in NAMES}


def _require_same(folder: Path, expected: dict[str, dict[str, bytes]]) -> None:
    for name in NAMES:
        found = contents(folder / name)
        assert sorted(found) == sorted(expected[name])
        assert [key for key in found if found[key] != expected[name][key]] == []
    # Nothing else is left but the log.
    assert sorted(f.name for f in folder.iterdir()) == sorted([*NAMES, "mask.ome.zarr.log.jsonl"])


def _finished(folder: Path) -> int:
    return int((Ledger(folder / "mask.ome.zarr.work" / "blocks").counts(BLOCKS) >= 0).sum())


def test_outputs_hold_what_the_operation_wrote_and_how_it_came_about(tmp_path: Path) -> None:
    fill(tmp_path)
    z, y, x = np.indices(SHAPE)
    expected = (z * z + 3 * y * x) % 7
    assert int((expected > 3).sum()) == FOREGROUND
    prob, mask = (zarr.open_group(tmp_path / name, mode="r") for name in NAMES)
    np.testing.assert_array_equal(np.asarray(prob["0"]), expected)
    np.testing.assert_array_equal(np.asarray(mask["0"]), expected > 3)
    # Halved while longer than 256: 520, 260, 130.
    shapes = {key: mask[key].shape for key in ("0", "1", "2")}
    assert shapes == {"0": SHAPE, "1": (12, 32, 260), "2": (6, 16, 130)}
    windows = expected.reshape(12, 2, 32, 2, 260, 2).mean(axis=(1, 3, 5))
    np.testing.assert_array_equal(np.asarray(prob["1"]), np.floor(windows + 0.5))
    about = read_attributes(tmp_path / "mask.ome.zarr")
    assert about["made"] == "by hand"
    assert len(about["job"]) == 32
    log = (tmp_path / "mask.ome.zarr.log.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["block"] for line in log) == list(range(BLOCKS))


def test_kills_at_every_stage_change_no_byte(
    tmp_path: Path, start_driver: StartDriver, undisturbed: dict[str, dict[str, bytes]]
) -> None:
    stages = [
        "begin 1",
        "create 2",  # one output is made, the other not
        "write 12",  # two writes a block
        "sync 2",  # a shard is written but not noted
        "record 6",
        "write_coarse 2",
        "write_coarse 6",
        "finish 1",
        "finish 2",  # one output has its name, the other not
        "close 1",
        "rmtree 2",  # in the midst of clearing up
    ]
    there: list[int] = []
    for stage in stages:
        driver = start_driver(kind="fill", folder=tmp_path, die=stage)
        code, last = result(driver)
        assert code == -signal.SIGKILL, f"{stage}: {last}"
        there.append(sum((tmp_path / name).exists() for name in NAMES))
    assert there == [0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 2]
    run = fill(tmp_path)
    assert run.done == 0
    _require_same(tmp_path, undisturbed)


def test_workers_of_any_kind_leave_the_same_bytes(
    tmp_path: Path, start_driver: StartDriver, undisturbed: dict[str, dict[str, bytes]]
) -> None:
    # Two processes, killed with all that belongs to them, then told to stop, then one process.
    for number, code in ((signal.SIGKILL, -9), (signal.SIGTERM, 130)):
        before = _finished(tmp_path)
        driver = start_driver(kind="fill", folder=tmp_path, processes=2, seconds=0.4)
        wait_until(lambda least=before + 4: _finished(tmp_path) >= least, "four more blocks")  # type: ignore[misc]
        os.killpg(driver.pid, number)
        driver.communicate(timeout=30)
        assert driver.returncode == code
    finished = _finished(tmp_path)
    assert 8 <= finished < BLOCKS
    run = fill(tmp_path)
    assert (run.done, run.skipped, run.count) == (BLOCKS - finished, finished, FOREGROUND)
    _require_same(tmp_path, undisturbed)


def test_a_run_on_two_processes_leaves_the_same_bytes(
    tmp_path: Path, undisturbed: dict[str, dict[str, bytes]]
) -> None:
    run = fill(tmp_path, workers=Workers(processes=2))
    assert (run.done, run.count) == (BLOCKS, FOREGROUND)
    _require_same(tmp_path, undisturbed)


def test_a_resumed_output_tells_the_story_of_the_run_that_began_it(
    tmp_path: Path, start_driver: StartDriver
) -> None:
    assert result(start_driver(kind="fill", folder=tmp_path, die="write 9"))[0] == -9
    fill(tmp_path, attributes={"made": "by the second command"})
    assert read_attributes(tmp_path / "mask.ome.zarr")["made"] == "by hand"


def test_bad_blocks_leave_no_output_until_they_are_done(
    tmp_path: Path, undisturbed: dict[str, dict[str, bytes]]
) -> None:
    class Bad(Fill):
        def compute(self, block: Block, data: Any) -> Any:
            if block.index == 11:
                raise ValueError("a corrupt chunk")
            return super().compute(block, data)

    with pytest.raises(BlocksFailedError, match=r"1 of 18 blocks failed: 11 .*a corrupt chunk"):
        fill_outputs(make_job(tmp_path), Bad)
    assert [f.name for f in tmp_path.iterdir()] == ["mask.ome.zarr.work"]
    run = fill(tmp_path)
    assert (run.done, run.skipped, run.count) == (1, 17, FOREGROUND)
    _require_same(tmp_path, undisturbed)


# ------------------------------------------------------------------------------------ whose output


def test_another_job_is_refused_with_what_changed(
    tmp_path: Path, start_driver: StartDriver, undisturbed: dict[str, dict[str, bytes]]
) -> None:
    assert result(start_driver(kind="fill", folder=tmp_path, die="write 24"))[0] == -9
    other = {**FINGERPRINT, "threshold": 0.25, "input": "abd"}
    with pytest.raises(OutputError) as caught:
        fill(tmp_path, fingerprint=other)
    assert str(caught.value) == (
        f"'{tmp_path / 'mask.ome.zarr'}' was begun by a run that differs: input was \"abc\" and is "
        '"abd"; threshold was 0.5 and is 0.25. Run the earlier command to finish it, choose '
        "another name, or start anew with --overwrite"
    )
    # Nothing was touched: the earlier one goes on, and the other one may begin anew.
    assert _finished(tmp_path) >= 10
    run = fill(tmp_path, fingerprint=other, overwrite=True)
    assert (run.done, run.skipped) == (BLOCKS, 0)
    mask = "mask.ome.zarr"
    job = read_attributes(tmp_path / mask)["job"]
    assert job.encode() not in undisturbed[mask]["zarr.json"]
    assert contents(tmp_path / mask)["0/zarr.json"] == undisturbed[mask]["0/zarr.json"]


def test_an_output_that_exists_is_replaced_only_when_told_and_only_when_done(
    tmp_path: Path, start_driver: StartDriver, undisturbed: dict[str, dict[str, bytes]]
) -> None:
    fill(tmp_path, attributes={"made": "earlier"})
    before = {name: contents(tmp_path / name) for name in NAMES}
    with pytest.raises(OutputError) as caught:
        fill(tmp_path)
    assert str(caught.value) == (
        f"'{tmp_path / 'prob.ome.zarr'}' exists already; pass --overwrite to replace it, or choose "
        "another name"
    )
    assert not (tmp_path / "mask.ome.zarr.work").exists()
    for stage in ("write 30", "write_coarse 7", "finish 1"):
        driver = start_driver(kind="fill", folder=tmp_path, overwrite=True, die=stage)
        assert result(driver)[0] == -9
        assert {name: contents(tmp_path / name) for name in NAMES} == before
    # With the new one under its name and the old one still there, the run goes on as well.
    assert result(start_driver(kind="fill", folder=tmp_path, overwrite=True, die="finish 2"))[0]
    run = fill(tmp_path, overwrite=True)
    assert run.done == 0
    _require_same(tmp_path, undisturbed)


def test_what_is_no_zarr_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "prob.ome.zarr").mkdir()
    (tmp_path / "prob.ome.zarr" / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="exists already"):
        fill(tmp_path)
    with pytest.raises(OutputError, match="is not a zarr folder, so --overwrite does not touch it"):
        fill(tmp_path, overwrite=True)
    assert contents(tmp_path / "prob.ome.zarr") == {"thesis.txt": b"years of work"}


def test_a_second_run_while_the_first_lives_is_refused(
    tmp_path: Path, start_driver: StartDriver, undisturbed: dict[str, dict[str, bytes]]
) -> None:
    first = start_driver(kind="fill", folder=tmp_path, seconds=0.2)
    wait_until(lambda: _finished(tmp_path) >= 2, "two blocks are finished")
    for options in ({}, {"overwrite": True}, {"part": Part(1, 2)}):
        with pytest.raises(BusyError, match=rf"another run is writing .*\(process {first.pid} on"):
            fill(tmp_path, **options)
    code, last = result(first)
    assert (code, last) == (0, f"done 18 skipped 0 count {FOREGROUND}")
    _require_same(tmp_path, undisturbed)


def test_a_lost_partial_output_is_not_taken_for_a_finished_one(
    tmp_path: Path, start_driver: StartDriver
) -> None:
    assert result(start_driver(kind="fill", folder=tmp_path, die="finish 1"))[0] == -9
    subprocess.run(["rm", "-r", tmp_path / "mask.ome.zarr.work" / "prob.partial"], check=True)
    with pytest.raises(OutputError, match=r"cannot be continued from .*level 0 is not there"):
        fill(tmp_path)


# ------------------------------------------------------------------------------------------- parts


def test_parts_one_after_the_other(
    tmp_path: Path, undisturbed: dict[str, dict[str, bytes]]
) -> None:
    third = fill(tmp_path, part=Part(3, 3))
    assert (third.done, third.missing, third.complete) == (6, 12, False)
    assert fill(tmp_path, part=Part(1, 3)).missing == 6
    again = fill(tmp_path, part=Part(1, 3))
    assert (again.done, again.skipped, again.missing) == (0, 6, 6)
    assert not (tmp_path / "mask.ome.zarr").exists()
    last = fill(tmp_path, part=Part(2, 3))
    assert (last.done, last.missing, last.count) == (6, 0, FOREGROUND)
    _require_same(tmp_path, undisturbed)
    # One that is run again by mistake finds its work done, one of something else does not.
    late = fill(tmp_path, part=Part(2, 3))
    assert (late.done, late.skipped, late.missing, late.elsewhere) == (0, 6, 0, True)
    with pytest.raises(OutputError, match="exists already"):
        fill(tmp_path, part=Part(2, 3), fingerprint={"other": 1})
    _require_same(tmp_path, undisturbed)


def test_parts_in_processes_of_their_own_at_the_same_time(
    tmp_path: Path, start_driver: StartDriver, undisturbed: dict[str, dict[str, bytes]]
) -> None:
    parts = [
        start_driver(kind="fill", folder=tmp_path, part=f"{k}/3", seconds=0.02) for k in (1, 2, 3)
    ]
    ends = [result(part) for part in parts]
    assert [code for code, _ in ends] == [0, 0, 0], ends
    assert all(last.startswith("done 6 skipped 0 ") for _, last in ends)
    _require_same(tmp_path, undisturbed)


class _InThread(threading.Thread):
    """A part of the job in a thread; ``at_end`` is called when its last block is noted."""

    def __init__(self, folder: Path, part: Part, at_end: Callable[[], object]) -> None:
        super().__init__()
        self._folder, self._part, self._at_end = folder, part, at_end
        self.run_of: Run | None = None

    def run(self) -> None:
        left = [len(self._part.of(BLOCKS))]

        def on_done(block: Block, done: BlockDone) -> None:
            left[0] -= 1
            if not left[0]:
                self._at_end()

        self.run_of = fill_outputs(make_job(self._folder, part=self._part), Fill, on_done)


def test_of_two_parts_that_end_at_the_same_time_one_finishes(
    tmp_path: Path,
    undisturbed: dict[str, dict[str, bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed = []
    close = WorkFolder.close
    monkeypatch.setattr(WorkFolder, "close", lambda *a: (closed.append(1), close(*a)))
    barrier = threading.Barrier(2, timeout=60)
    both = [_InThread(tmp_path, Part(k, 2), barrier.wait) for k in (1, 2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    runs = [thread.run_of for thread in both]
    assert [run is not None and run.complete for run in runs] == [True, True]
    assert closed == [1]
    _require_same(tmp_path, undisturbed)


def test_a_part_that_looks_after_the_last_has_cleared_the_ledger(
    tmp_path: Path, undisturbed: dict[str, dict[str, bytes]]
) -> None:
    gone = threading.Event()
    slow = _InThread(tmp_path, Part(1, 2), lambda: gone.wait(60))
    slow.start()
    wait_until(lambda: _finished(tmp_path) == 9, "the slow part has done its blocks")
    quick = fill(tmp_path, part=Part(2, 2))
    assert (quick.missing, quick.count, quick.elsewhere) == (0, FOREGROUND, False)
    gone.set()
    slow.join()
    run = slow.run_of
    assert run is not None
    assert (run.done, run.missing, run.elsewhere) == (9, 0, True)
    _require_same(tmp_path, undisturbed)


# ------------------------------------------------------------------------------------------ places


def test_an_output_in_an_object_store_goes_on_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: dict[str, dict[str, bytes]]
) -> None:
    monkeypatch.chdir(tmp_path)
    here = make_job(tmp_path)
    outputs = {
        name: Output(f"memory://engine/{name}.ome.zarr", output.layout, output.attributes)
        for name, output in here.outputs.items()
    }
    work = WorkFolder(Path("mask.ome.zarr.work"), "memory://engine/mask.ome.zarr")

    class Stops(Fill):
        def compute(self, block: Block, data: Any) -> Any:
            if block.index == 10:
                raise KeyboardInterrupt
            return super().compute(block, data)

    job = make_job(tmp_path, outputs=outputs, work=work)
    with pytest.raises(KeyboardInterrupt):
        fill_outputs(job, Stops)
    assert "ome" not in zarr.open_group("memory://engine/mask.ome.zarr", mode="r").attrs
    run = fill_outputs(job, Fill)
    assert run.skipped >= 9
    assert run.count == FOREGROUND
    import fsspec

    store = fsspec.filesystem("memory")
    for name in NAMES:
        root = f"/engine/{name}"
        found = {path[len(root) + 1 :]: store.cat(path) for path in store.find(root)}
        expected = undisturbed[name]
        shards = {key for key in expected if not key.endswith("zarr.json")}
        assert {key for key in found if not key.endswith("zarr.json")} == shards
        assert all(found[key] == expected[key] for key in shards)
        assert json.loads(found["zarr.json"]) == json.loads(expected["zarr.json"])
    assert [f.name for f in tmp_path.iterdir()] == ["mask.ome.zarr.log.jsonl"]
    with pytest.raises(OutputError, match=r"'memory://engine/prob\.ome\.zarr' exists already"):
        fill_outputs(job, Fill)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_ends_the_run_and_room_lets_it_go_on(
    small_disk: Path, undisturbed: dict[str, dict[str, bytes]]
) -> None:
    with pytest.raises(OutputError, match=r"No space left on device.*: make room"):
        fill(small_disk)
    assert not (small_disk / "mask.ome.zarr").exists()
    finished = _finished(small_disk)
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    run = fill(small_disk)
    assert (run.skipped, run.count) == (finished, FOREGROUND)
    _require_same(small_disk, undisturbed)
