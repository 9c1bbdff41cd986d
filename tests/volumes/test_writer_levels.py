"""Levels made by several writers, in any order, in any process, killed or not: the same bytes."""

from __future__ import annotations

import errno
import json
import os
import pickle
import signal
import stat
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from vpbsd.errors import DataError, OutputError
from vpbsd.geometry import Box, VoxelSize, tile
from vpbsd.volumes import OmeZarrWriter, OutputLayout, durable

SHAPE = (9, 20, 600)
LAYOUT = OutputLayout(
    shape=SHAPE,
    dtype=np.uint8,
    voxel_size_um=VoxelSize(1, 1, 1),
    kind="mask",
    shard=(8, 16, 256),
    chunk=(4, 8, 64),
)
# What a fresh process needs to make the same output.
ELSEWHERE = """
import sys
import numpy as np
from vpbsd.geometry import Box, VoxelSize, tile
from vpbsd.volumes import OmeZarrWriter, OutputLayout

layout = OutputLayout(
    shape=(9, 20, 600), dtype=np.uint8, voxel_size_um=VoxelSize(1, 1, 1), kind="mask",
    shard=(8, 16, 256), chunk=(4, 8, 64),
)
mask = np.load(sys.argv[2])
writer = OmeZarrWriter.attach(sys.argv[1], layout)
"""


def _mask() -> np.ndarray:
    return (np.random.default_rng(5).random(SHAPE) < 0.3).astype(np.uint8)


def _bytes(folder: Path) -> dict[str, bytes]:
    files = (f for f in folder.rglob("*") if f.is_file())
    return {str(f.relative_to(folder)): f.read_bytes() for f in files}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of the mask, written by one process from beginning to end."""
    path = tmp_path_factory.mktemp("undisturbed") / "a.zarr"
    with OmeZarrWriter.create(path, LAYOUT) as writer:
        writer.write(Box.whole(SHAPE), _mask())
    return _bytes(path)


def _write_all(writer: OmeZarrWriter, mask: np.ndarray) -> None:
    for box in tile(SHAPE, LAYOUT.shard):
        writer.write(box, mask[box.slices])


def test_levels_of_the_undisturbed_output(undisturbed: dict[str, bytes]) -> None:
    assert sorted(undisturbed) == [
        *(f"0/c/{z}/{y}/{x}" for z in range(2) for y in range(2) for x in range(3)),
        "0/zarr.json",
        "1/c/0/0/0",
        "1/c/0/0/1",
        "1/zarr.json",
        "2/c/0/0/0",
        "2/zarr.json",
        "zarr.json",
    ]


@settings(max_examples=5)
@given(seed=st.integers(0, 2**32), processes=st.integers(1, 3))
def test_any_order_of_shards_gives_the_same_bytes(
    undisturbed: dict[str, bytes], seed: int, processes: int
) -> None:
    mask = _mask()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.zarr"
        first = OmeZarrWriter.create(path, LAYOUT)
        writers = [pickle.loads(pickle.dumps(first)) for _ in range(processes)]
        rng = np.random.default_rng(seed)
        waiting = [
            (level, box)
            for level in range(len(first.factors))
            for box in tile(first.level_shape(level), first.level_shard(level))
        ]
        rng.shuffle(waiting)
        while waiting:
            # Whatever does not need a shard that is still missing may come next.
            level, box = next(task for task in waiting if not _needs(task, waiting))
            waiting.remove((level, box))
            writer = writers[rng.integers(processes)]
            if level == 0:
                writer.write(box, mask[box.slices])
            else:
                writer.write_coarse(level, box)
        first.finish()
        assert _bytes(path) == undisturbed


def _needs(task: tuple[int, Box], waiting: list[tuple[int, Box]]) -> bool:
    level, box = task
    fine = Box(tuple(2 * a for a in box.start), tuple(2 * b for b in box.stop))
    return any(
        other_level == level - 1 and not fine.intersect(other).is_empty
        for other_level, other in waiting
    )


def test_a_fresh_process_goes_on(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    path = tmp_path / "a.zarr"
    np.save(tmp_path / "mask.npy", _mask())
    writer = OmeZarrWriter.create(path, LAYOUT)
    boxes = list(tile(SHAPE, LAYOUT.shard))
    for box in boxes[:5]:
        writer.write(box, _mask()[box.slices])
    script = ELSEWHERE + (
        "for box in list(tile(layout.shape_zyx, layout.shard))[5:]:\n"
        "    writer.write(box, mask[box.slices])\n"
        "writer.write_coarse(1, Box.whole(writer.level_shape(1)))\n"
    )
    subprocess.run(
        [sys.executable, "-c", script, path, tmp_path / "mask.npy"], check=True, timeout=60
    )
    writer.write_coarse(2, Box.whole(writer.level_shape(2)))
    assert writer.finish() == path
    assert _bytes(path) == undisturbed


def test_a_killed_process_leaves_nothing_that_shows(
    tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    path = tmp_path / "a.zarr"
    np.save(tmp_path / "mask.npy", _mask())
    OmeZarrWriter.create(path, LAYOUT)
    script = ELSEWHERE + (
        "while True:\n"
        "    for box in list(tile(layout.shape_zyx, layout.shard))[:7]:\n"
        "        writer.write(box, 1 - mask[box.slices])\n"
        "    sys.stdout.write('.')\n"
        "    sys.stdout.flush()\n"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", script, path, tmp_path / "mask.npy"], stdout=subprocess.PIPE
    )
    assert worker.stdout is not None
    with worker.stdout:
        assert worker.stdout.read(3) == b"..."
        os.kill(worker.pid, signal.SIGKILL)
    assert worker.wait() == -signal.SIGKILL
    # What zarr leaves behind when it is killed between writing a file and naming it.
    (tmp_path / ".a.zarr.partial/0/c/0/0/0.0123456789abcdef.partial").write_bytes(b"half")
    writer = OmeZarrWriter.attach(path, LAYOUT)
    _write_all(writer, _mask())
    writer.build_levels()
    writer.finish()
    assert _bytes(path) == undisturbed
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zarr", "mask.npy"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": (9, 20, 601)}, r"level 0 has shape \(9, 20, 600\), not \(9, 20, 601\)"),
        ({"dtype": np.uint16}, "level 0 has type uint8, not uint16"),
        ({"chunk": (4, 8, 32)}, r"has chunk \(4, 8, 64\), not \(4, 8, 32\)"),
        ({"shard": (8, 8, 256)}, r"has shard \(8, 16, 256\), not \(8, 8, 256\)"),
        ({"ngff": "0.4"}, r"has shard \(8, 16, 256\), not None"),
        ({"shape": (9, 20, 2000), "shard": (8, 16, 512)}, "has shape"),
    ],
)
def test_other_settings_cannot_go_on(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    OmeZarrWriter.create(tmp_path / "a.zarr", LAYOUT)
    with pytest.raises(OutputError, match=message):
        OmeZarrWriter.attach(tmp_path / "a.zarr", replace(LAYOUT, **changes))


def test_nothing_begun_cannot_go_on(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot be continued from .*level 0 is not there"):
        OmeZarrWriter.attach(tmp_path / "a.zarr", LAYOUT)
    assert list(tmp_path.iterdir()) == []


def test_it_grows_in_the_folder_it_is_given(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    path, partial = tmp_path / "out" / "a.zarr", tmp_path / "work" / "mask"
    OmeZarrWriter.create(path, LAYOUT, partial=partial)
    _write_all(OmeZarrWriter.attach(path, LAYOUT, partial=partial), _mask())
    assert not path.exists()
    writer = OmeZarrWriter.attach(path, LAYOUT, partial=partial)
    writer.build_levels()
    writer.finish()
    assert _bytes(path) == undisturbed
    assert list((tmp_path / "work").iterdir()) == []


def test_a_folder_with_something_else_is_not_cleared(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years")
    with pytest.raises(OutputError, match="what is in it is not zarr"):
        OmeZarrWriter.create(tmp_path / "a.zarr", LAYOUT, partial=tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years"


def test_finishing_makes_no_levels(tmp_path: Path) -> None:
    writer = OmeZarrWriter.create(tmp_path / "a.zarr", LAYOUT)
    writer.write(Box.whole(SHAPE), np.ones(SHAPE, np.uint8))
    writer.write_coarse(1, Box.whole(writer.level_shape(1)))
    writer.finish()
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    assert [int(group[k][:].sum()) for k in "012"] == [9 * 20 * 600, 5 * 10 * 300, 0]


def test_coarse_boxes_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    writer = OmeZarrWriter.create(tmp_path / "a.zarr", LAYOUT)
    assert writer.factors == [(1, 1, 1), (2, 2, 2), (4, 4, 4)]
    assert [writer.level_shape(k) for k in range(3)] == [SHAPE, (5, 10, 300), (3, 5, 150)]
    # Never more chunks than the level has.
    assert [writer.level_shard(k) for k in range(3)] == [(8, 16, 256), (8, 16, 256), (4, 8, 192)]
    for level in (0, 3):
        with pytest.raises(DataError, match="has coarser levels 1 to 2"):
            writer.write_coarse(level, Box.whole((1, 1, 1)))
    with pytest.raises(DataError, match=r"cuts a shard of \(8, 16, 256\) voxels"):
        writer.write_coarse(1, Box((0, 0, 0), (5, 10, 128)))
    with pytest.raises(DataError, match=r"not inside the output \(5, 10, 300\)"):
        writer.write_coarse(1, Box.whole(SHAPE))
    writer.abort()


@pytest.mark.parametrize("ngff", ["0.4", "0.5"])
def test_a_shard_is_on_the_disk_when_it_is_written(
    tmp_path: Path, ngff: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = OmeZarrWriter.create(tmp_path / "a.zarr", replace(LAYOUT, ngff=ngff))
    root = tmp_path / ".a.zarr.partial" / "0"
    kept: list[str] = []
    keep: Callable[[Path], None] = durable._sync_one
    monkeypatch.setattr(
        durable,
        "_sync_one",
        lambda path: (keep(path), kept.append(str(path.relative_to(root)))),
    )
    writer.write(Box((8, 16, 512), SHAPE), np.ones((1, 4, 88), np.uint8))
    names = {
        "0.5": ["c/1/1/2", "c/1/1", "c/1", "c", "."],
        "0.4": ["2/2/8", "2/2/9", "2/2", "2", "."],
    }
    assert sorted(kept) == sorted(names[ngff])


def test_a_disk_that_cannot_sync_folders_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def files_only(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", files_only)
    with OmeZarrWriter.create(tmp_path / "a.zarr", LAYOUT) as writer:
        writer.write(Box.whole(SHAPE), np.ones(SHAPE, np.uint8))

    def failing(handle: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OutputError, match="Input/output error"):
        OmeZarrWriter.create(tmp_path / "b.zarr", LAYOUT)


def test_empty_shards_are_no_files_also_when_written_again(tmp_path: Path) -> None:
    box = Box.whole(LAYOUT.shard)
    writer = OmeZarrWriter.create(tmp_path / "a.zarr", LAYOUT)
    file = tmp_path / ".a.zarr.partial/0/c/0/0/0"
    writer.write(box, np.zeros(box.shape, np.uint8))
    assert not file.exists()
    writer.write(box, np.ones(box.shape, np.uint8))
    assert file.exists()
    writer.write(box, np.zeros(box.shape, np.uint8))
    assert not file.exists()
    writer.abort()


def test_coarse_shards_take_bounded_memory(tmp_path: Path) -> None:
    edge = 512
    layout = OutputLayout(
        shape=(edge,) * 3,
        dtype=np.uint8,
        voxel_size_um=VoxelSize(1, 1, 1),
        kind="probability",
        shard=(256, 256, 256),
    )
    writer = OmeZarrWriter.create(tmp_path / "a.zarr", layout)
    corner = Box.whole((256,) * 3)
    writer.write(corner, np.full((256,) * 3, 7, np.uint8))
    tracemalloc.start()
    writer.write_coarse(1, corner)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The finer level is 134 MB; the shard is 17, and as much is read at a time. zarr holds either
    # twice while it takes them apart or puts them together.
    assert 17e6 < peak_bytes < 80e6
    assert json.loads((tmp_path / ".a.zarr.partial/1/zarr.json").read_text())["shape"] == [256] * 3
    writer.abort()
