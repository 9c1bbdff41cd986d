"""What is found in a folder, and what is not taken for what it is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from graph_folders import small_graph

from vpbsd.errors import DataError
from vpbsd.report.page.build import names_of
from vpbsd.report.page.sources import find_sources, mask_source, merged


def run_folder(path: Path) -> Path:
    (path / "distill").mkdir(parents=True)
    (path / "config.yaml").write_text("name: x\n", encoding="utf-8")
    return path


def test_folder_of_several_things_is_found_whole(tmp_path: Path) -> None:
    run, graph = run_folder(tmp_path / "run"), small_graph(tmp_path / "graph")
    (tmp_path / "student.ome.zarr").mkdir()
    (tmp_path / "data").mkdir()
    found = find_sources(tmp_path)
    assert (found.runs, found.graphs) == ((run,), (graph,))
    assert [m.name for m in found.masks] == ["student"]
    assert find_sources(run).runs == (run,)
    assert find_sources(graph).graphs == (graph,)
    assert merged(found, find_sources(graph)) == found


def test_unfinished_mask_is_found_by_its_work(tmp_path: Path) -> None:
    (tmp_path / "mask.ome.zarr.work").mkdir()
    events = [(0, "done"), (1, "failed"), (2, "failed"), (1, "done")]
    lines = [json.dumps({"block": b, "status": s}) for b, s in events]
    log = tmp_path / "mask.ome.zarr.log.jsonl"
    log.write_text("\n".join(lines) + '\n{"block": 3, "sta', encoding="utf-8")
    for path in (tmp_path, tmp_path / "mask.ome.zarr", tmp_path / "mask.ome.zarr.work"):
        (mask,) = find_sources(path).masks
        assert mask.path == tmp_path / "mask.ome.zarr"
        assert (mask.done, mask.failed, mask.unfinished) == (2, 1, True)


def test_nothing_to_report_is_refused_with_what_would_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds nothing to report.*config\.yaml.*nodes\.parquet"):
        find_sources(tmp_path)
    with pytest.raises(DataError, match="there is no "):
        find_sources(tmp_path / "missing")


def test_names_tell_things_of_one_kind_apart(tmp_path: Path) -> None:
    first, second = small_graph(tmp_path / "a" / "graph"), small_graph(tmp_path / "b" / "graph")
    run = run_folder(tmp_path / "graph")
    names = names_of(merged(merged(find_sources(first), find_sources(second)), find_sources(run)))
    assert names == {first: "a/graph", second: "b/graph", run: "graph"}


@pytest.mark.parametrize(
    ("file", "name"),
    [("m.ome.zarr", "m"), ("m.tif", "m"), ("m.ome.tif", "m"), ("m.nii.gz", "m"), ("m", "m")],
)
def test_mask_is_called_without_its_format(tmp_path: Path, file: str, name: str) -> None:
    assert mask_source(tmp_path / file).name == name
