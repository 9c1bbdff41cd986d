from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vpbsd.blockwise import Ledger, WorkFolder
from vpbsd.blockwise.ledger import (
    MISSING,
    read_job,
    require_same_job,
    results_folder,
    write_job,
)
from vpbsd.errors import ConfigError, OutputError


def test_what_is_recorded_is_found_by_a_ledger_made_later(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "made" / "when needed")
    assert list(ledger.counts(3)) == [MISSING, MISSING, MISSING]
    assert not ledger.folder.exists()  # asking makes nothing
    ledger.record(2, 678)
    ledger.record(0)
    assert list(Ledger(ledger.folder).counts(3)) == [0, MISSING, 678]
    assert sorted(f.name for f in ledger.folder.rglob("*.*")) == ["000000000.0", "000000002.678"]
    ledger.record(0)  # twice is once
    assert list(ledger.counts(3)) == [0, MISSING, 678]


def test_recording_goes_on_after_the_ledger_was_cleared(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.record(7, 1)
    ledger.clear()
    assert list(ledger.counts(8)) == [MISSING] * 8
    ledger.record(7, 5)
    assert ledger.counts(8)[7] == 5


def test_a_ledger_sent_to_another_process_makes_its_folders_itself(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "here")
    ledger.record(0, 1)
    copy: Ledger = pickle.loads(pickle.dumps(ledger))
    ledger.clear()
    copy.record(1, 4)
    assert list(copy.counts(2)) == [MISSING, 4]


@pytest.mark.parametrize("name", ["00000/notes.txt", "00000/000000009.1", "00000/1.x", "stray"])
def test_what_is_no_entry_is_refused(tmp_path: Path, name: str) -> None:
    ledger = Ledger(tmp_path)
    ledger.record(0)
    (tmp_path / "done" / name).touch()
    with pytest.raises(OutputError, match=r"is no entry of a ledger of 9 blocks.*: remove '.*'"):
        ledger.counts(9)


@pytest.mark.parametrize(("index", "count"), [(-1, 0), (0, -1)])
def test_negative_numbers_are_refused(tmp_path: Path, index: int, count: int) -> None:
    with pytest.raises(ConfigError, match="neither may be below 0"):
        Ledger(tmp_path).record(index, count)


@pytest.fixture
def quick_disk() -> Iterator[Path]:
    """A folder in memory, where there is one: what a busy disk adds is not ours."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        yield Path(name)


def test_a_hundred_thousand_blocks_cost_little_more_than_their_files(quick_disk: Path) -> None:
    ledger = Ledger(quick_disk / "ledger")
    bare = quick_disk / "bare"
    bare.mkdir()
    start = time.process_time()
    for index in range(10_000):
        os.close(os.open(f"{bare}/{index:09d}.1", os.O_CREAT | os.O_WRONLY))
    file_seconds = (time.process_time() - start) / 10_000
    start = time.process_time()
    for index in range(100_000):
        ledger.record(index, index % 50)
    recorded = time.process_time() - start
    counts = ledger.counts(100_000)
    seconds = time.process_time() - start
    assert counts.sum() == 2_450_000  # 2000 times 0 + 1 + ... + 49
    assert counts.min() == 0
    assert recorded < 10 * 100_000 * file_seconds
    assert seconds - recorded < recorded


def test_two_processes_record_at_the_same_time(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from vpbsd.blockwise import Ledger\n"
        "ledger = Ledger(Path(sys.argv[1]))\n"
        "sys.stdin.read(1)\n"
        "for i in range(int(sys.argv[2]), 4000, 2): ledger.record(i, 1)\n"
        "for i in range(4000, 4100): ledger.record(i, 1)\n"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", script, tmp_path, str(k)], stdin=subprocess.PIPE)
        for k in (0, 1)
    ]
    for process in both:
        assert process.stdin is not None
        process.stdin.write(b"x")  # so that neither is through before the other begins
        process.stdin.close()
    assert [process.wait(60) for process in both] == [0, 0]
    assert list(Ledger(tmp_path).counts(4100)) == [1] * 4100


@pytest.fixture
def read_only() -> Iterator[Path]:
    """A folder that this process may read but not write, whoever runs the tests."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        Ledger(folder).record(3, 9)
        (folder / "secret").mkdir()
        for one in (folder, folder / "done", folder / "done" / "00000"):
            one.chmod(0o555)
        (folder / "secret").chmod(0)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            yield folder
        finally:
            if root:
                os.seteuid(0)
            for one in (folder, *folder.rglob("*")):
                one.chmod(0o755)


def test_a_folder_that_cannot_be_written_is_said(read_only: Path) -> None:
    ledger = Ledger(read_only)
    assert list(ledger.counts(4)) == [MISSING, MISSING, MISSING, 9]
    with pytest.raises(OutputError) as caught:
        ledger.record(1)
    assert str(caught.value) == (
        f"cannot note in '{read_only}' that block 1 is finished: Permission denied; make room or "
        "check the permissions, then run the same command again"
    )
    with pytest.raises(OutputError, match="Permission denied"):
        ledger.record(5000)  # its folder would have to be made
    with pytest.raises(OutputError, match=r"cannot write .*Permission denied"):
        write_job(read_only, {})


def test_a_folder_that_cannot_be_read_is_said(read_only: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot read the ledger '.*secret': Permission denied"):
        Ledger(read_only / "secret").counts(3)
    with pytest.raises(OutputError, match=r"cannot read '.*job\.json': Permission denied"):
        read_job(read_only / "secret")


# ------------------------------------------------------------------------- the note of what is done


def test_the_note_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_job(tmp_path) is None
    write_job(tmp_path, {"fingerprint": {"threshold": 0.5, "names": ["a", "b"]}})
    assert read_job(tmp_path) == {"fingerprint": {"threshold": 0.5, "names": ["a", "b"]}}
    assert [f.name for f in tmp_path.iterdir()] == ["job.json"]


@pytest.mark.parametrize("text", [b'{"version": 1, "finger', b"\xff\xfe\x00", b"[1, 2]", b""])
def test_a_damaged_note_names_the_folder_to_remove(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "job.json").write_bytes(text)
    with pytest.raises(OutputError, match=rf"job\.json.*; remove '{tmp_path}' to start anew"):
        read_job(tmp_path)


def test_each_change_is_named_with_both_values() -> None:
    earlier = {"model": "m1", "threshold": 0.5, "block": [64, 64, 64], "scale": {"low": 1.0}}
    require_same_job(earlier, dict(earlier), "OUT")
    require_same_job({"block": [64, 64]}, {"block": (64, 64)}, "OUT")  # the same in JSON
    now = {"model": "m1", "threshold": 0.4, "block": (64, 64, 32), "invert": True}
    with pytest.raises(OutputError) as caught:
        require_same_job(earlier, now, "OUT")
    assert str(caught.value) == (
        "'OUT' was begun by a run that differs: block was [64, 64, 64] and is [64, 64, 32]; "
        'invert was null and is true; scale was {"low": 1.0} and is null; threshold was 0.5 and '
        "is 0.4. Run the earlier command to finish it, choose another name, or start anew with "
        "--overwrite"
    )


def test_long_values_are_cut_short() -> None:
    with pytest.raises(OutputError) as caught:
        require_same_job({"files": "a" * 500}, {"files": "b" * 500}, "OUT")
    assert '"' + "a" * 76 + "... and is" in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_note_of_another_version_is_refused(tmp_path: Path) -> None:
    folder = WorkFolder(tmp_path, "OUT")
    folder.begin({"a": 1}, {"mask": {"b": 2}}, overwrite=False, part=None)
    job = json.loads((tmp_path / "job.json").read_text())
    (tmp_path / "job.json").write_text(json.dumps({**job, "version": 99}))
    with pytest.raises(OutputError, match=r"another version of vpbsd \(format 99, not 1\)"):
        folder.begin({"a": 1}, {"mask": {"b": 2}}, overwrite=True, part=None)


def test_results_are_kept_in_a_folder_of_one_job(tmp_path: Path) -> None:
    work = tmp_path / "new" / "counts"
    with results_folder(work, {"mask": "a"}) as folder:
        (folder / "0").write_text("7")
    with results_folder(work, {"mask": "a"}) as folder:
        assert folder == work
        assert (folder / "0").read_text() == "7"
    with (
        pytest.raises(OutputError, match=r'differs: mask was "a" and is "b"; name another'),
        results_folder(work, {"mask": "b"}),
    ):
        pass
    with (
        pytest.raises(OutputError, match="holds something else"),
        results_folder(tmp_path, {"mask": "a"}),
    ):
        pass


def test_results_of_no_named_folder_do_not_stay() -> None:
    with results_folder(None, {"mask": "a"}) as folder:
        assert list(folder.iterdir()) == []
    assert not folder.exists()
