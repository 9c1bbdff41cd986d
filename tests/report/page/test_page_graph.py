"""Graph folders on the page: their numbers, what is drawn of them, regions and histograms."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from graph_folders import REGIONS, small_graph, write_graph

from vpbsd.errors import DataError
from vpbsd.report.page.graph import graph_section, graph_tiles, histograms_section
from vpbsd.report.page.graph_file import read_graph_folder
from vpbsd.report.page.page import Facts, Plot, Table, Text
from vpbsd.report.page.regions import read_regions, regions_section, write_regions_csv


def test_numbers_of_a_y_by_hand(tmp_path: Path) -> None:
    numbers = read_graph_folder(small_graph(tmp_path), "g").numbers
    assert (numbers.nodes, numbers.edges, numbers.components) == (4, 3, 1)
    assert (numbers.branch_points, numbers.free_ends, numbers.spurs) == (1, 3, 0)
    assert numbers.length_um == pytest.approx(120.0)
    assert numbers.largest_component_share == pytest.approx(1.0)
    # (30 * 6 + 40 * 3 + 50 * 2) / 120
    assert numbers.radius_mean_um == pytest.approx(400 / 120)
    assert (numbers.radius_max_um, numbers.largest_radius_um) == (6.0, 40.0)


def test_spurs_are_short_edges_with_one_free_end(tmp_path: Path) -> None:
    def line(length: float) -> list[tuple[float, float, float]]:
        return [(0.0, 0.0, 0.0), (0.0, 0.0, length)]

    edges = [
        (0, 1, line(9.0), 5.0),  # shorter than 2 × 5, one free end: a spur
        (1, 2, line(11.0), 5.0),  # long enough
        (1, 3, line(9.0), 5.0),  # no free end
        (3, 1, line(9.0), 5.0),
        (4, 5, line(9.0), 5.0),  # two free ends: a piece of its own
    ]
    folder = write_graph(tmp_path, edges, [1, 4, 1, 2, 1, 1])
    assert read_graph_folder(folder, "g").numbers.spurs == 1


def test_ends_where_the_volume_cuts_vessels_are_not_free(tmp_path: Path) -> None:
    def line(first: float, last: float) -> list[tuple[float, float, float]]:
        return [(50.0, 50.0, first), (50.0, 50.0, last)]

    # Within a radius (1 µm) and two voxels (2 µm) of a face at 0 or 99 µm, or just further in.
    edges = [(0, 1, line(2.0, 50.0), 40.0), (2, 3, line(4.0, 95.0), 40.0)]
    edges += [(4, 5, line(50.0, 97.0), 40.0)]
    folder = write_graph(tmp_path, edges, [1] * 6, shape_voxels=(100, 100, 100))
    numbers = read_graph_folder(folder, "g").numbers
    assert (numbers.free_ends, numbers.border_ends) == (4, 2)
    # An edge with one free end inside, and the other cut, is short for its radius: a spur.
    assert numbers.spurs == 2


def test_all_points_are_drawn_with_gaps_between_edges(tmp_path: Path) -> None:
    drawn = read_graph_folder(small_graph(tmp_path), "g").drawn
    assert drawn is not None
    gap = [np.nan] * 3
    np.testing.assert_array_equal(
        drawn.points_um,
        [
            [0, 0, 0], [0, 0, 10], [0, 0, 20], [0, 0, 30], gap,
            [0, 0, 30], [0, 10, 30], [0, 20, 30], [0, 30, 30], [0, 40, 30], gap,
            [0, 0, 30], [10, 0, 30], [20, 0, 30], [30, 0, 30], [40, 0, 30], [50, 0, 30], gap,
        ],
    )  # fmt: skip
    expected = [6.0] * 4 + [np.nan] + [3.0] * 5 + [np.nan] + [2.0] * 6 + [np.nan]
    np.testing.assert_array_equal(drawn.radius_um, expected)
    assert (drawn.edges_drawn, drawn.edges, drawn.step, drawn.thinnest_um) == (3, 3, 1, None)


def test_edges_are_thinned_but_keep_their_ends(tmp_path: Path) -> None:
    drawn = read_graph_folder(small_graph(tmp_path), "g", most_points=13).drawn
    assert drawn is not None
    assert drawn.step == 2
    xs = drawn.points_um[:4, 2]
    np.testing.assert_array_equal(xs, [0, 20, 30, np.nan])
    assert len(drawn.points_um) == (3 + 1) + (3 + 1) + (4 + 1)


def test_thickest_edges_are_kept_where_not_all_fit(tmp_path: Path) -> None:
    drawn = read_graph_folder(small_graph(tmp_path), "g", most_points=7).drawn
    assert drawn is not None
    # Two points and a gap each, of the edges of 6 and 3 µm.
    assert (drawn.edges_drawn, drawn.edges, drawn.thinnest_um) == (2, 3, 3.0)
    assert len(drawn.points_um) <= 7
    assert set(drawn.radius_um[np.isfinite(drawn.radius_um)]) == {6.0, 3.0}


def test_view_is_in_true_proportion_and_in_micrometres(tmp_path: Path) -> None:
    graph = read_graph_folder(small_graph(tmp_path), "g")
    section = graph_section(tmp_path, graph, 0)
    (view,) = [item for item in section.items if isinstance(item, Plot)]
    scene = view.layout["scene"]
    # 30, 40 and 50 µm along x, y and z, the longest drawn with length 1.
    assert [scene[f"{a}axis"]["range"] for a in "xyz"] == [[0, 30], [0, 40], [0, 50]]
    assert scene["aspectmode"] == "manual"
    assert scene["aspectratio"] == pytest.approx({"x": 0.6, "y": 0.8, "z": 1.0})
    assert [scene[f"{a}axis"]["title"]["text"] for a in "xyz"] == ["x (µm)", "y (µm)", "z (µm)"]
    assert view.traces[0]["connectgaps"] is False
    assert view.still is not None and view.still.png.startswith(b"\x89PNG")
    assert "All 3 segments are drawn" in view.caption
    facts = dict(section.items[0].rows) if isinstance(section.items[0], Facts) else {}
    assert facts["Vessel segments"] == "3"
    assert facts["Volume"] == "8 mm³"


def test_decimated_view_says_so(tmp_path: Path) -> None:
    graph = read_graph_folder(small_graph(tmp_path), "g", most_points=7)
    (view,) = [i for i in graph_section(tmp_path, graph, 0).items if isinstance(i, Plot)]
    assert "Of 3 segments the 2 thickest are drawn (mean radius from 3 µm)" in view.caption


def test_graph_without_edges_has_no_view(tmp_path: Path) -> None:
    graph = read_graph_folder(write_graph(tmp_path, [], []), "g")
    assert graph.drawn is None
    assert graph.numbers.largest_component_share is None
    assert not [i for i in graph_section(tmp_path, graph, 0).items if isinstance(i, Plot)]


def test_tiles_are_of_the_whole_volume(tmp_path: Path) -> None:
    folder = small_graph(tmp_path)
    regions = read_regions(folder)
    assert regions is not None
    tiles = graph_tiles(read_graph_folder(folder, "g"), regions.whole)
    shown = {tile.label: f"{tile.value} {tile.unit}" for tile in tiles}
    assert shown["Length density"] == "910.5 mm/mm³"
    assert shown["Vessel volume"] == "2.1 %"
    assert shown["Capillaries, by length"] == "87 %"
    assert shown["Length of vessels"] == "0.12 mm"


def test_histogram_shows_shares_at_bin_centres(tmp_path: Path) -> None:
    section = histograms_section(read_graph_folder(small_graph(tmp_path), "g"), 0)
    assert section is not None
    plot = section.items[0]
    assert isinstance(plot, Plot)
    assert plot.traces[0]["x"] == [1.0, 3.0, 6.0]
    assert plot.traces[0]["width"] == [2.0, 2.0, 4.0]
    assert plot.traces[0]["y"] == [25.0, 50.0, 25.0]
    assert plot.layout["xaxis"]["title"]["text"] == "Radius (µm)"


def test_distributions_that_the_graph_lacks_are_counted_from_its_edges(tmp_path: Path) -> None:
    folder = small_graph(tmp_path)
    (folder / "histograms.json").unlink()
    counted = read_graph_folder(folder, "g").counted
    assert list(counted) == ["radius_um", "length_um", "tortuosity"]
    # Lengths of 30, 40 and 50 µm weigh the radii of 6, 3 and 2 µm.
    radius = counted["radius_um"]
    assert (radius["counts"][0], radius["counts"][-1]) == (50.0, 30.0)
    assert sum(radius["counts"]) == pytest.approx(120.0)
    assert radius["edges"][0] == 2.0
    assert sum(counted["length_um"]["counts"]) == 3
    assert histograms_section(read_graph_folder(folder, "g"), 0) is not None


def test_cleaning_is_told_in_short(tmp_path: Path) -> None:
    step = {"step": "spurs", "settings": {"ratio": 2}, "edges_removed": 3,
            "length_removed_um": 12.5, "edges_added": 0, "details": [{"edge": 1}] * 9}  # fmt: skip
    folder = small_graph(tmp_path)
    summary = {"cleaning": [step, {"step": "gaps", "edges_added": 0}]}
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    items = graph_section(folder, read_graph_folder(folder, "g"), 0).items
    told = [item.text for item in items if isinstance(item, Text)]
    assert told[0] == (
        "Cleaned, in this order: spurs (edges removed: 3, length removed in µm: 12.5); "
        "gaps (nothing to do)."
    )


def test_damaged_or_foreign_tables_are_refused(tmp_path: Path) -> None:
    folder = small_graph(tmp_path)
    (folder / "nodes.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(DataError, match=r"nodes\.parquet.*cannot be read.*make the graph again"):
        read_graph_folder(folder, "g")
    folder = small_graph(tmp_path)
    pq.write_table(pa.table({"edge": [1]}), folder / "edges.parquet")
    with pytest.raises(DataError, match="no column node_a, node_b"):
        read_graph_folder(folder, "g")
    folder = small_graph(tmp_path)
    (folder / "histograms.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"histograms\.json' is no JSON"):
        read_graph_folder(folder, "g")


# ----------------------------------------------------------------------------------------- regions


def test_whole_volume_comes_first_and_numbers_sort_as_numbers(tmp_path: Path) -> None:
    folder = write_graph(tmp_path, [], [], regions=REGIONS[::-1])
    table = read_regions(folder)
    assert table is not None
    (shown,) = regions_section(table, "g", 0, None).items
    assert isinstance(shown, Table)
    names = ["whole volume", "ventricle", "white matter", "cortex"]
    assert [row[0] for row in shown.rows] == names
    assert [c.label for c in shown.columns[:3]] == ["Region", "Label", "Volume"]
    assert [c.numeric for c in shown.columns[:3]] == [False, True, True]
    assert shown.keys is not None
    assert [row[5] for row in shown.keys] == [3.25, None, 2.9, 3.1]
    assert [row[5] for row in shown.rows] == ["3.25", "–", "2.9", "3.1"]
    assert shown.rows[0][-1] == "87"


def test_csv_holds_the_table_in_full(tmp_path: Path) -> None:
    folder = write_graph(tmp_path, [], [], regions=[*REGIONS, {"region": 1, "name": 'a,"b"'}])
    table = read_regions(folder)
    assert table is not None
    write_regions_csv(table, tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["name"] == "all"
    assert float(rows[2]["length_density_mm_per_mm3"]) == 402.25
    assert rows[3]["radius_mean_um"] == ""
    assert rows[4]["name"] == 'a,"b"'


def test_folder_without_regions_has_none(tmp_path: Path) -> None:
    assert read_regions(write_graph(tmp_path, [], [])) is None
