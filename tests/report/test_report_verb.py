"""``vpbsd report`` as a user meets it: a page of what is there, else one sentence."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from graph_folders import small_graph

from vpbsd import cli
from vpbsd.geometry import VoxelSize
from vpbsd.volumes import write_ome_tiff

SIZE = VoxelSize(2, 1, 1)


@pytest.fixture
def volumes(tmp_path: Path) -> dict[str, Path]:
    """A mask of a tube, its image, and a truth that is one voxel thicker."""
    mask = np.zeros((16, 32, 32), np.uint8)
    mask[7:9, 14:18, :] = 1
    truth = mask.copy()
    truth[7:9, 18, :] = 1
    arrays = {"mask": mask, "image": 100 * truth + 20, "truth": truth}
    paths = {name: tmp_path / f"{name}.ome.tif" for name in arrays}
    for name, array in arrays.items():
        write_ome_tiff(paths[name], array, SIZE)
    return paths


def report(*words: str | Path) -> int:
    return cli.main(["report", *(str(w) for w in words), "--quiet"])


def test_graph_with_mask_and_truth(
    tmp_path: Path, volumes: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    graph, out = small_graph(tmp_path / "graph"), tmp_path / "my report.html"
    words = [f"--{name}={volumes[name]}" for name in ("mask", "image", "truth")]
    assert report(graph, *words, "-o", out, "--csv") == 0
    assert f"{out} (" in capsys.readouterr().out
    page = out.read_text(encoding="utf-8")
    for anchor in ("provenance", "volumes", "scores", "graph-0", "histograms-0", "regions-0"):
        assert f'<section id="{anchor}"' in page
    # 2 × 2·4·32 of 2·4·32 + 2·5·32 voxels
    assert "<td" in page and "0.8889" in page
    assert 'href="./my%20report.regions.csv"' in page
    with (tmp_path / "my report.regions.csv").open(encoding="utf-8") as file:
        assert [row["name"] for row in csv.DictReader(file)][:2] == ["all", "cortex"]
    assert "3 edges were shorter than a voxel" in page


def test_graph_and_mask_need_no_run_beside_them(tmp_path: Path, volumes: dict[str, Path]) -> None:
    graph, out = small_graph(tmp_path / "graph"), tmp_path / "report.html"
    assert report("--graph", graph, "--mask", volumes["mask"], "-o", out) == 0
    page = out.read_text(encoding="utf-8")
    for anchor in ("volumes", "graph-0"):
        assert f'<section id="{anchor}"' in page
    assert 'id="graph-1"' not in page
    assert report("--mask", volumes["mask"], "-o", out) == 0
    assert 'id="graph-0"' not in out.read_text(encoding="utf-8")


def test_mask_alone(tmp_path: Path, volumes: dict[str, Path]) -> None:
    out = tmp_path / "report.html"
    assert report(volumes["mask"], "-o", out) == 0
    page = out.read_text(encoding="utf-8")
    assert '<section id="volumes"' in page
    assert 'id="scores"' not in page
    # 2·4·32 of 16·32·32 voxels
    assert '<span class="tile-value">1.56 <span class="tile-unit">%' in page
    assert out.stat().st_size < 1_000_000


def test_name_of_a_folder_stays_text(tmp_path: Path) -> None:
    graph = small_graph(tmp_path / "<script>alert(1)<b>")
    out = tmp_path / "report.html"
    assert report(graph, "-o", out) == 0
    page = out.read_text(encoding="utf-8")
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "give one of the two"),
        (["missing"], "there is no 'missing'"),
        (["."], "holds nothing to report"),
        (["graph", "--graph", "."], "is no folder of a graph"),
        (["graph", "--truth", "truth.tif"], "belong to a mask, and there is none"),
        (["graph", "-o", "."], "is a folder; name a file"),
        (["graph", "--group", "a", "graph"], "give one of the two"),
    ],
)
def test_what_cannot_be_reported_is_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    says: str,
) -> None:
    if "graph" in words:
        small_graph(tmp_path / "graph")
    monkeypatch.chdir(tmp_path)
    assert report(*words) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
