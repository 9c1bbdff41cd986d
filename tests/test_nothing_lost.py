"""Nothing is lost: real processes, real signals, a real full disk; then the same command again.

After each, every file of the output is that of an undisturbed run, byte for byte.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import zarr

from vpbsd import cli
from vpbsd.config import SimulateConfig
from vpbsd.data.simulate import simulate_volume

BLOCKS = 27
CHUNK = 32
OUT, WORK = "mask.ome.zarr", "mask.ome.zarr.work"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="signals and disks as Linux has them"),
]


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory, student_file: Path) -> Path:
    """A folder with a volume of 27 blocks, a model, and ``whole``: an undisturbed run's folder."""
    folder = tmp_path_factory.mktemp("given")
    shutil.copy(student_file, folder / "model.safetensors")
    image = simulate_volume(SimulateConfig(shape_voxels=(96, 96, 96)), 5).image
    array = zarr.create_array(
        folder / "image.zarr", shape=image.shape, chunks=(CHUNK,) * 3, dtype=image.dtype
    )
    array[:] = image
    (folder / "whole").mkdir()
    assert segment(folder / "whole") == 0
    return folder


@pytest.fixture
def here(given: Path) -> Iterator[Path]:
    """A folder beside ``whole``, so that the same command has the same words."""
    folder = given / "here"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def words(*more: str) -> list[str]:
    return [
        *("segment", "../image.zarr", "--model", "../model.safetensors", "-o", OUT),
        *("--voxel-size", "2", "2", "2", "--block-voxels", "32", "32", "32"),
        *("--precision", "fp32", "--probability", *more),
    ]


def segment(folder: Path, *more: str) -> int:
    """Run the command in this process, which has torch loaded already."""
    with contextlib.chdir(folder):
        return cli.main(words("--quiet", *more))


class Started:
    """The command in a process group of its own, with what it said afterwards."""

    def __init__(self, folder: Path, *more: str) -> None:
        self.folder = folder
        self._process = subprocess.Popen(
            [sys.executable, "-m", "vpbsd", *words(*more)],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def until(self, blocks: int) -> None:
        """Wait until so many blocks are finished."""
        wait(lambda: finished(self.folder) >= blocks or self._process.poll() is not None)
        assert self._process.poll() is None, self._process.communicate()
        assert finished(self.folder) < BLOCKS

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill_everything(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self._process.pid).children(recursive=True)

    def end(self) -> tuple[int, str]:
        """Return exit code and stderr."""
        _, err = self._process.communicate(timeout=120)
        return self._process.returncode, err


@pytest.fixture
def start(request: pytest.FixtureRequest) -> Iterator[Callable[..., Started]]:
    """Starts the command in the test's folder; what is left of it at the end is killed."""
    folder = request.getfixturevalue("disk" if "disk" in request.fixturenames else "here")
    started: list[Started] = []

    def begin(*more: str) -> Started:
        started.append(Started(folder, *more))
        return started[-1]

    yield begin
    for one in started:
        with contextlib.suppress(ProcessLookupError):
            one.kill_everything()
        one.end()


def wait(holds: Callable[[], bool], seconds: float = 90.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def finished(folder: Path) -> int:
    """Blocks in the ledger."""
    return len(list((folder / WORK / "blocks" / "done").glob("*/*")))


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def files(folder: Path) -> dict[str, bytes]:
    """Every file of both outputs; of the provenance, all but when it was written and how."""
    found = {}
    for file in sorted(f for f in folder.glob("mask*.ome.zarr/**/*") if f.is_file()):
        found[file.relative_to(folder).as_posix()] = content(file)
    return found


def content(file: Path) -> bytes:
    if file.name != "zarr.json":
        return file.read_bytes()
    metadata: dict[str, Any] = json.loads(file.read_bytes())
    about = metadata.get("attributes", {}).get("vpbsd", {}).get("provenance", {})
    for name in ("time_utc", "command"):
        about.pop(name, None)
    return json.dumps(metadata).encode()


def assert_as_undisturbed(folder: Path) -> None:
    expected, found = files(folder.parent / "whole"), files(folder)
    # 27 shards of each output's finest level at least, as many as hold anything.
    assert len(expected) > 40
    assert found.keys() == expected.keys()
    assert [name for name in expected if expected[name] != found[name]] == []
    logs = {"mask.ome.zarr.log.jsonl"}
    assert {p.name for p in folder.iterdir()} == {OUT, "mask_probability.ome.zarr", *logs}


# -------------------------------------------------------------------------------- ways of dying


def test_kill_a_second_run_and_the_end_of_walltime(
    here: Path, start: Callable[..., Started], capsys: pytest.CaptureFixture[str]
) -> None:
    first = start()
    first.until(blocks=3)
    # Somebody starts the same again while it lives: refused, and the first goes on.
    capsys.readouterr()
    assert segment(here) == 2
    said = capsys.readouterr().err
    assert f"another run is writing '{OUT}' (process {first._process.pid} on " in said
    assert "wait for it, or stop it" in said
    first.until(blocks=6)
    first.send(signal.SIGKILL)
    assert first.end()[0] == -signal.SIGKILL
    kept = finished(here)
    assert 6 <= kept < BLOCKS
    assert {p.name for p in here.iterdir()} == {WORK}

    second = start()
    second.until(blocks=kept + 4)
    second.send(signal.SIGTERM)
    code, err = second.end()
    assert code == 130
    assert err.splitlines()[-1] == (
        f"vpbsd segment: stopped with {finished(here)} of 27 blocks finished; the same command "
        "goes on from there"
    )
    assert "Traceback" not in err
    assert finished(here) < BLOCKS
    assert not (here / OUT).exists()

    assert segment(here) == 0
    assert_as_undisturbed(here)
    lines = [
        json.loads(line) for line in (here / f"{OUT}.log.jsonl").read_text("utf-8").splitlines()
    ]
    # What was finished was never done again, but for what SIGKILL caught between ledger and log.
    assert {line["block"] for line in lines} <= set(range(BLOCKS))
    assert BLOCKS - 2 <= len(lines) <= BLOCKS
    assert len({line["block"] for line in lines}) == len(lines)


def test_kill_with_worker_processes(here: Path, start: Callable[..., Started]) -> None:
    first = start("--workers", "2")
    first.until(blocks=3)
    workers = first.family()
    # Two workers, each with the nanny's process that watches over it or a resource tracker.
    assert len(workers) >= 2
    first.send(signal.SIGKILL)
    assert first.end()[0] == -signal.SIGKILL
    wait(lambda: alive(workers) == [], seconds=20)

    second = start("--workers", "2")
    second.until(blocks=finished(here) + 4)
    workers = second.family()
    second.kill_everything()
    wait(lambda: alive(workers) == [], seconds=5)
    assert second.end()[0] == -signal.SIGKILL

    assert not (here / OUT).exists()
    # One process goes on with what two have begun.
    assert segment(here) == 0
    assert_as_undisturbed(here)


def test_a_chunk_that_goes_bad_meanwhile(
    given: Path, here: Path, start: Callable[..., Started], capsys: pytest.CaptureFixture[str]
) -> None:
    chunk = given / "image.zarr" / "c" / "2" / "2" / "2"
    good = chunk.read_bytes()
    try:
        run = start("--workers", "1")
        run.until(blocks=1)
        run.send(signal.SIGSTOP)
        chunk.write_bytes(b"\0" * len(good))
        run.send(signal.SIGCONT)
        code, err = run.end()
        assert code == 2
        sentence = err.splitlines()[-1]
        # The chunk is that of the last block, and in the halo of seven others.
        assert "vpbsd segment: 8 of 27 blocks failed: 13 (z[32:64] y[32:64] x[32:64]; " in sentence
        assert "image.zarr' cannot be read" in sentence
        assert "all others of this run are finished, and the same command tries only" in sentence
        assert finished(here) == BLOCKS - 8
        assert not (here / OUT).exists()
        # With the chunk as it is, not even the intensities are known; nothing is lost by trying.
        capsys.readouterr()
        assert segment(here) == 2
        assert "image.zarr' cannot be read" in capsys.readouterr().err
        assert finished(here) == BLOCKS - 8
    finally:
        chunk.write_bytes(good)
    assert segment(here) == 0
    assert_as_undisturbed(here)


@pytest.fixture
def disk(given: Path) -> Iterator[Path]:
    """A disk of 2 MB beside ``whole``."""
    folder = given / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False).returncode != 0:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(given: Path, disk: Path, start: Callable[..., Started]) -> None:
    run = start()
    run.until(blocks=3)
    run.send(signal.SIGSTOP)
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 4096)
    run.send(signal.SIGCONT)
    code, err = run.end()
    assert code == 2
    sentence = err.splitlines()[-1]
    assert "No space left on device" in sentence
    assert "make room" in sentence
    assert "Traceback" not in err
    assert 3 <= finished(disk) < BLOCKS
    assert not (disk / OUT).exists()
    ballast.unlink()
    assert segment(disk) == 0
    assert_as_undisturbed(disk)


# ------------------------------------------------------------------------------- shares and changes


def test_parts_that_run_at_the_same_time(here: Path, start: Callable[..., Started]) -> None:
    parts = [start("--part", f"{number}/3") for number in (2, 3, 1)]
    ends = [part.end() for part in parts]
    assert [code for code, _ in ends] == [0, 0, 0], ends
    outputs = files(here)
    assert outputs == files(here.parent / "whole")
    assert not (here / WORK).exists()


def test_what_was_begun_is_only_continued_with_the_same_settings(
    here: Path, start: Callable[..., Started], capsys: pytest.CaptureFixture[str]
) -> None:
    run = start()
    run.until(blocks=2)
    run.send(signal.SIGKILL)
    run.end()
    kept = finished(here)
    for more, said in (
        (["--threshold", "0.75"], "threshold was 0.3 and is 0.75"),
        (["--block-voxels", "32", "32", "64"], "block was [32, 32, 32] and is [32, 32, 64]"),
        (["--voxel-size", "3", "2", "2"], "voxel size was [2.0, 2.0, 2.0] and is [3.0, 2.0, 2.0]"),
    ):
        capsys.readouterr()
        assert segment(here, *more) == 2
        err = capsys.readouterr().err
        assert f"'{OUT}' was begun by a run that differs: {said}. Run the earlier" in err
        assert finished(here) == kept
    assert segment(here, "--threshold", "0.75", "--overwrite") == 0
    with_other = files(here)
    whole = files(here.parent / "whole")
    assert with_other.keys() <= whole.keys()
    assert with_other[f"{OUT}/zarr.json"] != whole[f"{OUT}/zarr.json"]
    # And back: what is there is replaced once the new one is complete.
    assert segment(here) == 2
    assert "exists already; pass --overwrite" in capsys.readouterr().err
    assert segment(here, "--overwrite") == 0
    assert_as_undisturbed(here)
