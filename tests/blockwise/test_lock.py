from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest
from block_processes import StartPython

from vpbsd.blockwise import Part, WorkFolder
from vpbsd.blockwise.lock import BusyError, only_run
from vpbsd.errors import ConfigError, OutputError

HOLD = """
import sys, time
from pathlib import Path
from vpbsd.blockwise import Part, WorkFolder
part = Part.parse(sys.argv[2]) if len(sys.argv) > 2 else None
with WorkFolder(Path(sys.argv[1]), "OUT").claimed(part):
    print("held", flush=True)
    time.sleep(60)
"""


def _hold(start_python: StartPython, *arguments: str) -> int:
    process = start_python("-c", HOLD, *arguments)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process.pid


def _claim(folder: Path, part: str | None = None) -> None:
    with WorkFolder(folder, "OUT").claimed(None if part is None else Part.parse(part)):
        pass


def test_a_second_run_is_told_who_is_there_and_kill_9_frees_the_place(
    tmp_path: Path, start_python: StartPython
) -> None:
    pid = _hold(start_python, str(tmp_path))
    with pytest.raises(BusyError) as caught:
        _claim(tmp_path)
    message = str(caught.value)
    assert message.startswith(
        f"another run is writing 'OUT' (process {pid} on {socket.gethostname()} since 20"
    )
    assert message.endswith("); wait for it, or stop it and run this command again")
    with pytest.raises(BusyError, match=f"process {pid}"):
        _claim(tmp_path, "2/5")
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    _claim(tmp_path)


def test_a_part_keeps_out_itself_and_the_whole_but_not_other_parts(
    tmp_path: Path, start_python: StartPython
) -> None:
    pid = _hold(start_python, str(tmp_path), "2/3")
    with pytest.raises(BusyError, match=rf"another run is writing part 2/3 of 'OUT' .*{pid}"):
        _claim(tmp_path, "2/3")
    with pytest.raises(BusyError, match=rf"another run is writing 'OUT' .*{pid}"):
        _claim(tmp_path)
    for other in ("1/3", "3/3", "2/4"):
        _claim(tmp_path, other)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    _claim(tmp_path, "2/3")
    _claim(tmp_path)


def test_also_within_one_process_only_one_runs(tmp_path: Path) -> None:
    with (
        only_run(tmp_path / "a.lock", "OUT"),
        pytest.raises(BusyError, match=f"process {os.getpid()}"),
        only_run(tmp_path / "a.lock", "OUT"),
    ):
        pytest.fail("both run")
    with only_run(tmp_path / "a.lock", "OUT"):
        assert (tmp_path / "a.holder").exists()
    assert not (tmp_path / "a.holder").exists()


def test_a_folder_in_which_nothing_was_begun_does_not_stay(tmp_path: Path) -> None:
    _claim(tmp_path / "work")
    _claim(tmp_path / "work", "2/3")
    assert not (tmp_path / "work").exists()
    # ... but one that somebody else is about to use does.
    with WorkFolder(tmp_path / "work", "OUT").claimed(Part(1, 2)):
        _claim(tmp_path / "work", "2/2")
        with pytest.raises(BusyError):
            _claim(tmp_path / "work", "1/2")


def test_a_folder_that_cannot_be_made_or_locked_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"cannot make '.*file/work', .*Not a dir.*--work"):
        _claim(tmp_path / "file" / "work")
    (tmp_path / "folder.lock").mkdir()
    with (
        pytest.raises(OutputError, match=r"cannot lock '.*folder\.lock'"),
        only_run(tmp_path / "folder.lock", "OUT"),
    ):
        pytest.fail("a folder is no lock")


def test_overwriting_what_another_job_began_is_not_for_parts(tmp_path: Path) -> None:
    folder = WorkFolder(tmp_path, "OUT")
    folder.begin({"a": 1}, {}, overwrite=False, part=None)
    (tmp_path / "blocks").mkdir()
    with pytest.raises(ConfigError, match="each part remove what the others wrote"):
        folder.begin({"a": 2}, {}, overwrite=True, part=Part(1, 2))
    assert (tmp_path / "blocks").exists()
    folder.begin({"a": 2}, {}, overwrite=True, part=None)
    assert not (tmp_path / "blocks").exists()
    assert folder.earlier() == {"a": 2}
