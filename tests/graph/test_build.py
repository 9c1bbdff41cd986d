"""A mask to a folder: the same bytes however it is cut and wherever it is computed."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from vpbsd import build_graph
from vpbsd.blockwise import Part, Workers
from vpbsd.errors import (
    ConfigError,
    DataError,
    OutputError,
    VoxelSizeUnknownError,
    VpbsdError,
)
from vpbsd.geometry import Triplet, VoxelSize
from vpbsd.graph import GraphOptions
from vpbsd.graph.files import read_graph
from vpbsd.graph.fragments import block
from vpbsd.volumes import ArrayVolume, open_volume

from .tubes import MICRON, saved, thicket, tubes, volume

SHAPE = (40, 36, 44)


@pytest.fixture(scope="module")
def mask() -> np.ndarray:
    return thicket(SHAPE, 14, seed=1)


@pytest.fixture(scope="module")
def whole(mask, tmp_path_factory) -> str:
    """The tables of the mask computed as one block."""
    out = tmp_path_factory.mktemp("whole") / "graph"
    build_graph(volume(mask), out, options(block=(64, 64, 64)))
    return digest(out)


def options(block: Triplet | None = (20, 20, 20), **more) -> GraphOptions:
    return GraphOptions(block_voxels=block, progress=False, **more)


def digest(out: Path) -> str:
    tables = (out / name for name in ("nodes.parquet", "edges.parquet", "graph.vtp"))
    return " ".join(hashlib.sha256(path.read_bytes()).hexdigest() for path in tables)


# ---------------------------------------------------------------------------------- the same graph


@pytest.mark.parametrize("edges", [(20, 20, 20), (11, 40, 9), (40, 7, 44), (16, 17, 13)])
def test_any_block_size_gives_the_same_bytes(mask, whole, tmp_path, edges: Triplet) -> None:
    report = build_graph(volume(mask), tmp_path / "g", options(edges))
    assert report.blocks > 3
    assert digest(tmp_path / "g") == whole


def test_blocks_with_little_context_get_more_by_themselves(mask, whole, tmp_path) -> None:
    report = build_graph(volume(mask), tmp_path / "g", options((8, 8, 8), largest_radius_um=0.5))
    assert report.widened_blocks > 10
    assert digest(tmp_path / "g") == whole


@pytest.mark.slow
@pytest.mark.parametrize(
    "size", [MICRON, VoxelSize(3.0, 1.0, 1.0), VoxelSize(0.7, 1.3, 2.9)], ids=str
)
def test_a_larger_mask_too_whatever_its_voxels(tmp_path, size: VoxelSize) -> None:
    found = []
    dense = thicket((90, 120, 110), 80, 5, size)
    for number, edges in enumerate([(200, 200, 200), (45, 45, 45), (31, 64, 77), (90, 29, 33)]):
        out = tmp_path / str(number)
        chosen = options(edges, largest_radius_um=1.0, cavity_voxels=8)
        build_graph(volume(dense, size), out, chosen)
        found.append(digest(out))
    assert len(set(found)) == 1


@pytest.mark.slow
def test_processes_give_the_same_bytes(mask, whole, tmp_path) -> None:
    path = saved(tmp_path / "mask.npy", mask)
    with open_volume(path, voxel_size_um=MICRON) as opened:
        report = build_graph(
            opened, tmp_path / "g", options(workers=Workers(processes=2, threads=1))
        )
    assert report.blocks == 12
    assert digest(tmp_path / "g") == whole


def test_blocks_that_disagree_are_done_again_with_more_context(
    mask, whole, tmp_path, monkeypatch
) -> None:
    # A rule that promises too much: no context but the rim.
    monkeypatch.setattr(block, "halo_voxels", lambda *_: (1, 1, 1))
    chosen = options((20, 20, 20), largest_radius_um=4.0, cavity_voxels=0)
    report = build_graph(volume(mask), tmp_path / "g", chosen)
    assert report.redone_blocks > 0
    assert (
        json.loads((tmp_path / "g" / "summary.json").read_text())["skeleton"]["blocks_redone"]
        == report.redone_blocks
    )
    monkeypatch.undo()
    build_graph(volume(mask), tmp_path / "whole", options((64, 64, 64), cavity_voxels=0))
    assert digest(tmp_path / "g") == digest(tmp_path / "whole")


def test_blocks_that_go_on_to_disagree_are_named(mask, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("vpbsd.graph.fragments.complete.disagreeing", lambda *_: [(0, 1)])
    chosen = options((20, 20, 20))
    with pytest.raises(
        VpbsdError, match=r"halo of \d\d+ voxels: z\[0:20\] y\[0:20\] x\[0:20\] and z\["
    ):
        build_graph(volume(mask), tmp_path / "g", chosen)
    assert not (tmp_path / "g").exists()


# ----------------------------------------------------------------------------- stopped and resumed


class Interrupted(ArrayVolume):
    """A mask that can be read a few times only."""

    reads = 0

    def _read(self, box, channels):
        self.reads += 1
        if self.reads > 5:
            raise KeyboardInterrupt
        return super()._read(box, channels)


def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(mask, whole, tmp_path) -> None:
    chosen = options((20, 20, 20), workers=Workers(lanes=1))
    with pytest.raises(KeyboardInterrupt):
        build_graph(Interrupted(mask, MICRON, "mask"), tmp_path / "g", chosen)
    assert not (tmp_path / "g").exists()
    report = build_graph(volume(mask), tmp_path / "g", chosen)
    assert 0 < report.resumed_blocks < 12
    assert report.blocks + report.resumed_blocks == 12
    assert digest(tmp_path / "g") == whole
    assert sorted(p.name for p in tmp_path.iterdir()) == ["g", "g.log.jsonl"]


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_to_the_same_bytes(mask, whole, tmp_path) -> None:
    path = saved(tmp_path / "mask.npy", mask)
    words = ["graph", str(path), "-o", str(tmp_path / "g"), "--voxel-size", "1", "1", "1"]
    words += ["--block-voxels", "8", "8", "8", "--workers", "1", "--quiet"]
    command = [sys.executable, "-m", "vpbsd", *words]
    running = subprocess.Popen(command)
    until = time.monotonic() + 60
    while len(list((tmp_path / "g.work").rglob("*.fragment"))) < 5:
        assert running.poll() is None, "it was done before it could be killed"
        assert time.monotonic() < until
        time.sleep(0.005)
    running.kill()
    running.wait()
    assert not (tmp_path / "g").exists()
    told = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    assert "blocks were finished before" in told.stdout
    assert digest(tmp_path / "g") == whole


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_fragment_is_made_again(mask, whole, tmp_path, damage, caplog) -> None:
    # Two of three parts: nothing is stitched yet.
    for number in (1, 2):
        build_graph(volume(mask), tmp_path / "g", options(part=Part(number, 3)))
    file = sorted((tmp_path / "g.work").rglob("*.fragment"))[2]
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-9])
    else:
        file.unlink()
    report = build_graph(volume(mask), tmp_path / "g", options(part=Part(3, 3)))
    assert report.missing_blocks == 0
    assert "damaged and made again" in caplog.text
    assert digest(tmp_path / "g") == whole


def test_parts_leave_the_graph_to_whichever_is_last(mask, whole, tmp_path) -> None:
    first = build_graph(volume(mask), tmp_path / "g", options(part=Part(2, 2)))
    assert (first.blocks, first.missing_blocks) == (6, 6)
    assert not (tmp_path / "g").exists()
    last = build_graph(volume(mask), tmp_path / "g", options(part=Part(1, 2)))
    assert last.missing_blocks == 0
    assert digest(tmp_path / "g") == whole
    again = build_graph(volume(mask), tmp_path / "g", options(part=Part(2, 2)))
    assert again.elsewhere


def test_another_setting_in_the_work_folder_is_refused_with_what_changed(mask, tmp_path) -> None:
    build_graph(volume(mask), tmp_path / "g", options(part=Part(1, 2)))
    with pytest.raises(OutputError, match="cavity voxels was 64 and is 3"):
        build_graph(volume(mask), tmp_path / "g", options(cavity_voxels=3))
    build_graph(volume(mask), tmp_path / "g", options(cavity_voxels=3, overwrite=True))
    assert (tmp_path / "g" / "summary.json").exists()


# -------------------------------------------------------------------------------------- the folder


def test_the_folder_tells_what_was_done(mask, tmp_path) -> None:
    report = build_graph(volume(mask), tmp_path / "g", options(command="vpbsd graph x"))
    summary = json.loads((tmp_path / "g" / "summary.json").read_text())
    assert summary["voxel_size_um"] == [1, 1, 1]
    assert summary["shape_voxels"] == list(SHAPE)
    assert summary["provenance"]["command"] == "vpbsd graph x"
    assert summary["provenance"]["machine"]["cores"] >= 1
    assert "torch" not in summary["provenance"]["machine"]
    assert summary["options"]["cavity_voxels"] == 64
    assert summary["options"]["block_voxels"] == [20, 20, 20]
    assert [step["step"] for step in summary["cleaning"]][:2] == ["cavities", "duplicates"]
    graph = read_graph(tmp_path / "g")
    assert (graph.nodes, graph.edges) == (report.nodes, report.edges)
    assert pq.read_metadata(tmp_path / "g" / "nodes.parquet").num_rows == report.nodes
    assert report.vessel_voxels == mask.sum() + report.cavity_voxels


def test_small_cavities_are_filled_and_counted_once(tmp_path) -> None:
    shape = (16, 16, 60)
    mask = tubes(shape, [((8, 8, 4), (8, 8, 55), 5.0)])
    mask[8, 8, 19:21] = 0  # across the face between two blocks
    mask[8, 7, 40] = 0
    report = build_graph(volume(mask), tmp_path / "g", options((16, 16, 20)))
    assert (report.cavities, report.cavity_voxels) == (2, 3)
    assert (report.nodes, report.edges) == (2, 1)
    kept = build_graph(volume(mask), tmp_path / "h", options((16, 16, 20), cavity_voxels=1))
    assert (kept.cavities, kept.cavity_voxels) == (1, 1)
    assert kept.vessel_voxels == mask.sum() + 1


def test_a_finished_graph_is_only_replaced_on_request(mask, tmp_path) -> None:
    build_graph(volume(mask), tmp_path / "g", options())
    with pytest.raises(OutputError, match="--overwrite"):
        build_graph(volume(mask), tmp_path / "g", options())
    line = tubes(SHAPE, [((20, 18, 5), (20, 18, 39), 2.0)])
    report = build_graph(volume(line), tmp_path / "g", options(overwrite=True))
    assert (report.nodes, report.edges) == (2, 1)
    assert read_graph(str(tmp_path / "g")).edges == 1


def test_a_folder_of_something_else_is_never_touched(mask, tmp_path) -> None:
    (tmp_path / "g").mkdir()
    (tmp_path / "g" / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="no graph of ours"):
        build_graph(volume(mask), tmp_path / "g", options(overwrite=True))
    assert [p.name for p in (tmp_path / "g").iterdir()] == ["thesis.txt"]
    assert not (tmp_path / "g.work").exists()


# ------------------------------------------------------------------------------------ odd and wrong


def test_an_empty_mask_gives_an_empty_graph_and_says_so(tmp_path) -> None:
    report = build_graph(volume(np.zeros(SHAPE, np.uint8)), tmp_path / "g", options())
    assert (report.nodes, report.edges, report.vessel_voxels) == (0, 0, 0)
    assert "holds no vessel" in report.warnings[0]
    graph = read_graph(tmp_path / "g")
    assert (graph.nodes, graph.edges) == (0, 0)
    assert json.loads((tmp_path / "g" / "summary.json").read_text())["warnings"]


@pytest.mark.parametrize("shape", [(1, 1, 1), (12, 13, 14)])
def test_a_mask_of_nothing_but_vessel_is_refused(tmp_path, shape) -> None:
    with pytest.raises(DataError, match="nothing but vessel"):
        build_graph(volume(np.ones(shape, np.uint8)), tmp_path / "g", options((5, 5, 5)))


def test_a_mask_of_one_voxel_without_vessel_is_an_empty_graph(tmp_path) -> None:
    report = build_graph(volume(np.zeros((1, 1, 1), np.uint8)), tmp_path / "g", options())
    assert report.nodes == 0


def test_a_line_one_voxel_thin_is_itself(tmp_path) -> None:
    mask = np.zeros((3, 3, 9), np.uint8)
    mask[1, 1, 1:8] = 255
    report = build_graph(volume(mask), tmp_path / "g", options((1, 2, 4)))
    assert (report.nodes, report.edges) == (2, 1)
    assert read_graph(tmp_path / "g").point_position_um[:, 2].tolist() == [1, 2, 3, 4, 5, 6, 7]


def test_masks_of_other_software_give_the_same_graph(mask, whole, tmp_path) -> None:
    labels = np.where(mask, np.random.default_rng(0).integers(1, 900, mask.shape), 0)
    for number, other in enumerate((mask * 255, labels.astype(np.uint16), mask.astype(np.float32))):
        build_graph(volume(other), tmp_path / str(number), options((64, 64, 64)))
        assert digest(tmp_path / str(number)) == whole


@pytest.mark.parametrize(
    ("array", "kind", "message"),
    [
        (np.full((4, 5, 6), 0.5, np.float32), DataError, "probabilities"),
        (np.full((4, 5, 6), -1, np.int16), DataError, "negative"),
        (np.zeros((2, 4, 5, 6), np.uint8), DataError, "2 channels"),
    ],
)
def test_what_is_no_mask_is_refused(tmp_path, array, kind, message: str) -> None:
    with pytest.raises(kind, match=message):
        build_graph(volume(array), tmp_path / "g", options())
    assert not (tmp_path / "g").exists()


def test_a_mask_without_voxel_size_is_refused(tmp_path) -> None:
    with pytest.raises(VoxelSizeUnknownError, match="--voxel-size"):
        build_graph(ArrayVolume(np.zeros((4, 4, 4), np.uint8)), tmp_path / "g", options())


def test_a_block_that_would_take_too_much_is_refused_with_the_number(tmp_path) -> None:
    wide = tubes((64, 64, 64), [((0, 32, 32), (63, 32, 32), 28.0)])
    small = options((16, 16, 16), largest_radius_um=1.0, memory_bytes=130 * 2**20)
    with pytest.raises(ConfigError, match=r"block z\[0:16\].*GiB with a halo of \d+ voxels"):
        build_graph(volume(wide), tmp_path / "g", small)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"cavity_voxels": -1}, "0 for none"),
        ({"largest_radius_um": 0.0}, "positive length"),
        ({"largest_radius_um": float("inf")}, "positive length"),
        ({"memory_bytes": 0}, "positive"),
    ],
)
def test_impossible_options_are_refused(wrong, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        GraphOptions(**wrong)


def test_too_little_memory_for_any_block_is_refused(mask, tmp_path) -> None:
    with pytest.raises(ConfigError, match="--memory"):
        build_graph(volume(mask), tmp_path / "g", options(None, memory_bytes=1000))


def test_a_mask_that_looks_inverted_is_warned_of(mask, tmp_path) -> None:
    inverted = volume((mask == 0).astype(np.uint8))
    report = build_graph(inverted, tmp_path / "g", options((64, 64, 64), regions=None))
    assert "is the mask inverted" in report.warnings[0]
    assert not (tmp_path / "g" / "regions.csv").exists()


def test_regions_that_do_not_fit_are_refused_before_any_block(tmp_path: Path) -> None:
    from vpbsd.errors import DataError
    from vpbsd.graph.regions.run import RegionOptions
    from vpbsd.volumes import write_ome_tiff

    mask = volume(thicket((20, 24, 28), 3, 0))
    wide = tuple(3 * n for n in mask.shape_zyx)
    write_ome_tiff(tmp_path / "regions.ome.tif", np.ones(wide, np.uint8), MICRON)
    options = GraphOptions(
        regions=RegionOptions(regions=tmp_path / "regions.ome.tif"), progress=False
    )
    with pytest.raises(DataError, match="µm"):
        build_graph(mask, tmp_path / "out", options)
    assert not (tmp_path / "out.work").exists()
