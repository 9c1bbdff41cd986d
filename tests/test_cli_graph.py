"""``vpbsd graph`` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from vpbsd import cli
from vpbsd.graph.files import read_graph


@pytest.fixture
def mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A fork of three vessels, in the current folder."""
    monkeypatch.chdir(tmp_path)
    labels = np.zeros((9, 40, 40), np.uint8)
    labels[3:6, 18:21, 2:38] = 255
    labels[3:6, 20:38, 19:22] = 255
    np.save("mask.npy", labels)
    return "mask.npy"


def lines(text: str) -> dict[str, str]:
    return {line[:22].strip(): line[23:] for line in text.splitlines()}


SIZE = ("--voxel-size", "2", "1", "1")


def test_a_mask_becomes_a_folder(mask: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "graph",
        mask,
        "-o",
        "g",
        *SIZE,
        "--swc",
        "--graphml",
        "--block-voxels",
        "9",
        "15",
        "13",
    ]
    assert cli.main(words) == 0
    shown = capsys.readouterr()
    assert "voxel size z 2, y 1, x 1 µm (as given)" in shown.err
    told = lines(shown.out)
    assert told["wrote"] == "g"
    assert told["graph"] == "4 nodes, 3 edges"
    names = {path.name for path in Path("g").iterdir()}
    assert names == {
        *("nodes.parquet", "edges.parquet", "graph.vtp", "graph.swc", "graph.graphml"),
        *("regions.csv", "regions.parquet", "histograms.json", "summary.json"),
    }
    summary = json.loads(Path("g/summary.json").read_text("utf-8"))
    assert summary["provenance"]["command"].startswith("vpbsd graph mask.npy -o g")
    measures = summary["measures"]
    assert measures["branch_points"] == 1
    assert told["length density"] == f"{measures['length_density_mm_per_mm3']:.1f} mm/mm³"
    mean = measures["extravascular_distance_mean_um"]
    assert told["to the nearest vessel"].startswith(f"{mean:.1f} µm on average, 0.0 % beyond")
    assert sorted(read_graph(Path("g")).node_degree.tolist()) == [1, 1, 1, 3]
    assert sorted(p.name for p in Path().iterdir()) == ["g", "g.log.jsonl", "mask.npy"]


def test_dry_run_tells_the_plan_and_leaves_nothing(
    mask: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["graph", mask, "-o", "g", *SIZE, "--dry-run", "--block-voxels", "9", "20", "20"]
    assert cli.main(words) == 0
    told = lines(capsys.readouterr().out)
    assert told["blocks"] == "4 of 9 x 20 x 20 voxels"
    # 8 voxels of 1 µm: twice the radius and 8 voxels, and 5 for the longest cavity.
    assert told["halo"].startswith("21 x 29 x 29 voxels")
    assert told["memory"].endswith("GiB")
    assert [p.name for p in Path().iterdir()] == ["mask.npy"]


def test_cleaning_and_regions_are_told_by_options(
    mask: str, capsys: pytest.CaptureFixture[str]
) -> None:
    halves = np.ones((9, 40, 40), np.uint16)
    halves[:, :, 20:] = 7
    np.save("halves.npy", halves)
    words = ["graph", mask, "-o", "g", *SIZE, "--quiet", "--spur-factor", "0", "--close-gaps", "3"]
    more = ["--regions", "halves.npy", "--region-voxel-size", "2", "1", "1", "--extravascular", "0"]
    assert cli.main([*words, *more, "--cavity-voxels", "0", "--capillary-radius", "1.5"]) == 0
    summary = json.loads(Path("g/summary.json").read_text("utf-8"))
    steps = [step["step"] for step in summary["cleaning"]]
    assert "gaps" in steps
    assert "spurs" not in steps
    assert summary["options"]["capillary_radius_um"] == 1.5
    assert summary["options"]["cavity_voxels"] == 0
    rows = Path("g/regions.csv").read_text("utf-8").splitlines()
    assert [row.split(",")[0] for row in rows[1:]] == ["0", "1", "7"]


def test_mistakes_are_one_sentence_and_exit_2(
    mask: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["graph", mask, "-o", "g"]) == 2
    assert "--voxel-size Z Y X" in capsys.readouterr().err
    assert cli.main(["graph", mask, "-o", "g", *SIZE, "--quiet"]) == 0
    assert cli.main(["graph", mask, "-o", "g", *SIZE, "--quiet"]) == 2
    assert "pass --overwrite" in capsys.readouterr().err
    assert cli.main(["graph", mask, "-o", "g", *SIZE, "--quiet", "--overwrite"]) == 0
    assert cli.main(["graph", mask, "-o", mask, *SIZE]) == 2
    assert cli.main(["graph", mask, "-o", "h", *SIZE, "--memory", "0.01"]) == 2
    assert "--memory" in capsys.readouterr().err
    assert cli.main(["graph", mask, "-o", "h", *SIZE, "--workers", "0"]) == 2
    assert not Path("h.work").exists()


def test_parts_finish_together(mask: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["graph", mask, "-o", "g", *SIZE, "--quiet", "--block-voxels", "9", "20", "20"]
    assert cli.main([*words, "--part", "2/2"]) == 0
    assert lines(capsys.readouterr().out)["left to other parts"] == "2 blocks"
    assert cli.main([*words, "--part", "1/2"]) == 0
    assert lines(capsys.readouterr().out)["graph"] == "4 nodes, 3 edges"
