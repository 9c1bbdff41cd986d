"""One offline HTML page: what it is made of, and how it is written.

A page is a value: sections of facts, tables, plots and pictures, which know nothing of HTML. The
template escapes whatever comes from files. Plots are drawn by plotly's JavaScript, which stands in
the page once; a Content-Security-Policy in its head forbids the browser every request.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal
from urllib.parse import quote

from vpbsd.errors import OutputError
from vpbsd.provenance import write_text_atomic

__all__ = [
    "Column",
    "Facts",
    "Finding",
    "Folded",
    "Heading",
    "Item",
    "Page",
    "Picture",
    "Plot",
    "Section",
    "Table",
    "Text",
    "Tile",
    "refuse_place",
    "render_page",
    "write_page",
]

_TEMPLATES = "report/page/templates"


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph."""

    text: str
    kind: ClassVar[str] = "text"


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading below that of the section."""

    text: str
    kind: ClassVar[str] = "heading"


@dataclass(frozen=True, slots=True)
class Facts:
    """Names and values, in two columns."""

    rows: Sequence[tuple[str, str]]
    kind: ClassVar[str] = "facts"


@dataclass(frozen=True, slots=True)
class Folded:
    """Long text behind a line that opens it."""

    summary: str
    text: str
    kind: ClassVar[str] = "folded"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its label, its unit, and whether it is sorted as numbers."""

    label: str
    unit: str = ""
    numeric: bool = True


@dataclass(frozen=True, slots=True)
class Table:
    """Rows that can be sorted.

    Attributes
    ----------
    columns
        From left to right.
    rows
        What is shown of each cell.
    caption
        Above the table.
    keys
        What numbers are sorted by, one a cell, None where there is none; by default the cells.
    csv
        Name of a file beside the page that holds the same.
    """

    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    caption: str
    keys: Sequence[Sequence[float | None]] | None = None
    csv: str | None = None
    kind: ClassVar[str] = "table"

    @property
    def href(self) -> str | None:
        """Address of the CSV file, relative to the page."""
        return None if self.csv is None else "./" + quote(self.csv)

    def cells(self) -> list[list[tuple[Column, str, str]]]:
        """Return column, shown text and sorting key of every cell."""
        keys = self.keys or [[None] * len(self.columns)] * len(self.rows)
        return [
            [
                (column, text, "" if key is None else repr(float(key)))
                for column, text, key in zip(self.columns, row, row_keys, strict=True)
            ]
            for row, row_keys in zip(self.rows, keys, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture with what it shows in words."""

    png: bytes
    alt: str
    caption: str
    kind: ClassVar[str] = "picture"

    @property
    def uri(self) -> str:
        """The picture as an address that holds it."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")


@dataclass(frozen=True, slots=True)
class Plot:
    """An interactive plot.

    Attributes
    ----------
    traces, layout
        As plotly.js takes them; colours come from the page's theme where a trace names none.
    alt
        What it shows, in words.
    caption
        Below it.
    height_px
        Of the drawing.
    wide
        Whether it takes the whole width, not half.
    still
        Shown in print and where the browser has no WebGL; only plots in three dimensions need it.
    """

    traces: Sequence[Mapping[str, Any]]
    layout: Mapping[str, Any]
    alt: str
    caption: str = ""
    height_px: int = 300
    wide: bool = False
    still: Picture | None = None
    kind: ClassVar[str] = "plot"


Item = Text | Heading | Facts | Folded | Table | Picture | Plot


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page; ``name`` is its anchor."""

    name: str
    title: str
    items: Sequence[Item]


@dataclass(frozen=True, slots=True)
class Tile:
    """A key number at the top of the page."""

    label: str
    value: str
    unit: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that looks wrong.

    Attributes
    ----------
    level
        ``serious``: results should not be used before it is cleared up; ``notice``: worth a look.
    what
        What was found, with the number and the limit.
    advice
        What to do.
    where
        Which run, mask or graph.
    """

    level: Literal["serious", "notice"]
    what: str
    advice: str
    where: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """All of a report.

    Attributes
    ----------
    title, subtitle
        At the top.
    made
        When, as shown.
    version
        Of vpbsd.
    tiles
        Key numbers.
    warnings
        What looks wrong; None where nothing was looked at.
    sections
        In order.
    """

    title: str
    subtitle: str
    made: str
    version: str
    tiles: Sequence[Tile] = ()
    warnings: Sequence[Finding] | None = ()
    sections: Sequence[Section] = field(default_factory=tuple)


def render_page(page: Page) -> str:
    """Return the page as HTML that needs nothing else."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("vpbsd", _TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    plots = [i for section in page.sections for i in section.items if isinstance(i, Plot)]
    source = environment.loader
    assert source is not None
    script, _, _ = source.get_source(environment, "page.js")
    return environment.get_template("page.html").render(
        page=page,
        numbers={id(plot): number for number, plot in enumerate(plots)},
        identity=id,
        script=script,
        plotly=_plotly() if plots else None,
        plots=_as_json([{"data": p.traces, "layout": p.layout} for p in plots]),
    )


def write_page(page: Page, path: Path) -> int:
    """Write the page and return its size in bytes.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    refuse_place(path)
    text = render_page(page)
    write_text_atomic(path, text)
    return len(text.encode("utf-8"))


def refuse_place(path: Path) -> None:
    """Refuse a place where no page can be written, before anything is computed for it.

    Raises
    ------
    OutputError
        If it is a folder, or lies in none.
    """
    if path.is_dir():
        raise OutputError(f"'{path}' is a folder; name a file for the report: {path}/report.html")
    if not path.parent.is_dir():
        raise OutputError(
            f"the report cannot be written to '{path}': there is no folder '{path.parent}'; make "
            "it, or choose another"
        )


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def _as_json(value: Any) -> str:
    """Return JSON that no text in it can end early: a script element ends at ``</script``."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
