"""The page as HTML: what comes from data stays text, and nothing depends on anything outside."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from vpbsd.errors import OutputError
from vpbsd.report.page.numbers import column_of, number, packed, percent, shown
from vpbsd.report.page.page import (
    Column,
    Facts,
    Finding,
    Folded,
    Heading,
    Page,
    Picture,
    Plot,
    Section,
    Table,
    Text,
    Tile,
    render_page,
    write_page,
)

HOSTILE = "</script><script>document.title='taken'</script><img src=x onerror=alert(1)>\"'&"


class Elements(HTMLParser):
    """Every element with its attributes, and the text in each script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._in_script = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._in_script = tag == "script"
        if self._in_script:
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._in_script = self._in_script and tag != "script"

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts[-1] += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def page(text: str = "brain", *, plots: bool = True) -> Page:
    """A page with one item of every kind, ``text`` in every place that data can reach."""
    table = Table(
        [Column(text, numeric=False), Column("Volume", "mm³")],
        [[text, "2"], ["b", "10"]], text, [[None, 2.0], [None, 10.0]], csv=f"{text[:8]}.csv",
    )  # fmt: skip
    items = [
        Text(text), Heading(text), Facts([(text, text)]), Folded(text, text), table,
        Picture(b"\x89PNG", text, text),
    ]  # fmt: skip
    if plots:
        trace = {"type": "bar", "x": [1, 2], "y": [3, 4], "name": text}
        items.append(Plot([trace], {"title": {"text": text}}, text, text))
    return Page(
        title=text,
        subtitle=text,
        made="2026-01-02 03:04 UTC",
        version="0.1.0",
        tiles=[Tile(text, text, text, text)],
        warnings=[Finding("serious", text, text, text)],
        sections=[Section("part", text, items)],
    )


def test_what_comes_from_data_stays_text() -> None:
    harmless = Elements(render_page(page("brain")))
    hostile = Elements(render_page(page(HOSTILE)))
    assert [tag for tag, _ in hostile.found] == [tag for tag, _ in harmless.found]
    assert len(hostile.scripts) == 3
    plots = json.loads(hostile.scripts[1])
    assert plots[0]["layout"]["title"]["text"] == HOSTILE
    names = {name for _, attributes in hostile.found for name in attributes}
    assert not {n for n in names if n.startswith("on")}


def test_page_asks_for_nothing() -> None:
    found = Elements(render_page(page()))
    for tag, attributes in found.found:
        for name in ("src", "href", "srcset", "data", "action"):
            value = attributes.get(name)
            if value is not None:
                assert value.startswith(("data:", "#", "./")), (tag, value)
    assert found.named("link") == []
    policy = next(m["content"] for m in found.named("meta") if "http-equiv" in m)
    assert policy is not None
    assert policy.startswith("default-src 'none';")
    assert "http" not in policy


def test_page_without_plots_carries_no_plotly() -> None:
    assert len(render_page(page(plots=False))) < 60_000
    assert len(render_page(page())) > 4_000_000


def test_same_page_is_written_twice_alike(tmp_path: Path) -> None:
    first, second = tmp_path / "a.html", tmp_path / "b.html"
    assert write_page(page(), first) == write_page(page(), second) == first.stat().st_size
    assert first.read_bytes() == second.read_bytes()


def test_headings_pictures_and_tables_are_accessible() -> None:
    found = Elements(render_page(page()))
    levels = [int(tag[1]) for tag, _ in found.found if tag in {"h1", "h2", "h3"}]
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
    assert all(picture.get("alt") for picture in found.named("img"))
    assert {head["scope"] for head in found.named("th")} == {"col", "row"}
    assert found.named("html")[0]["lang"] == "en"
    plots = [a for _, a in found.found if "data-plot" in a]
    assert [(a["role"], a["aria-label"]) for a in plots] == [("img", "brain")]
    sections = {a["id"] for a in found.named("section")}
    links = {str(a["href"])[1:] for a in found.named("a") if str(a["href"]).startswith("#")}
    assert links == sections | {"content"}


def test_page_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a folder; name a file for the report"):
        write_page(page(plots=False), tmp_path)
    with pytest.raises(OutputError, match="there is no folder"):
        write_page(page(plots=False), tmp_path / "missing" / "report.html")


# ----------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0, "0"), (1.0, "1"), (0.12345, "0.123"), (12.345, "12.3"),
        (1234567.0, "1\u202f234\u202f567"), (-0.5, "-0.5"),
        (100.0, "100"), (None, "–"), (float("nan"), "–"), (float("inf"), "–"),
        (1.2e-12, "1.20e-12"), (0.99999, "1"),
    ],
)  # fmt: skip
def test_number(value: float | None, expected: str) -> None:
    assert number(value) == expected


@pytest.mark.parametrize(
    ("name", "label", "unit"),
    [
        ("length_density_mm_per_mm3", "Length density", "mm/mm³"),
        ("branch_points_per_mm3", "Branch points", "1/mm³"),
        ("volume_mm3", "Volume", "mm³"),
        ("radius_mean_um", "Mean radius", "µm"),
        ("capillary_length_share", "Capillaries, by length", "%"),
        ("anisotropy", "Anisotropy", ""),
        ("surface_um2", "Surface", "µm²"),
        ("something_new_um3", "Something new", "µm³"),
    ],
)
def test_column_takes_its_unit_from_its_name(name: str, label: str, unit: str) -> None:
    assert (column_of(name).label, column_of(name).unit) == (label, unit)


def test_cells_are_shown_by_their_kind() -> None:
    assert shown("capillary_length_share", 0.875) == "87.5"
    assert shown("region", 1234) == "1234"
    assert shown("edges", 1234) == "1\u202f234"
    assert shown("name", "<b>") == "<b>"
    assert shown("radius_mean_um", None) == "–"
    assert percent(0.02) == "2"


def test_packed_array_is_little_endian_float32() -> None:
    # 1.0 is 0x3f800000, 2.0 is 0x40000000.
    assert packed(np.array([1.0, 2.0])) == {"dtype": "f4", "bdata": "AACAPwAAAEA="}
