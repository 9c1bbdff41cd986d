"""Groups of animals on one page: effect sizes, every animal as a dot, corrected tests."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from vpbsd import __version__
from vpbsd.errors import DataError
from vpbsd.graph.regions.groups import GroupComparison, GroupDifference, compare_groups
from vpbsd.graph.regions.tables import ALL, RegionRow, read_region_table
from vpbsd.provenance import write_text_atomic
from vpbsd.report.page.numbers import MISSING, column_of, in_plot, number, percent, shown
from vpbsd.report.page.page import Column, Finding, Item, Page, Plot, Section, Table, Text, Tile

__all__ = ["groups_page", "read_groups"]

SIGNIFICANT = 0.05
_MOST_ROWS = 2000  # of the table: more make a page that no browser sorts at once
_MOST_BARS = 40
_ROW_PX = 24

Tables = Mapping[str, Mapping[str, Sequence[RegionRow]]]
"""Region tables by group and animal."""


def read_groups(groups: Sequence[tuple[str, Sequence[Path]]]) -> Tables:
    """Read the region table of every animal.

    Parameters
    ----------
    groups
        Name of each group and the folders of its animals.

    Raises
    ------
    DataError
        If a group is named twice, a folder stands in two places, or has no table.
    """
    found: dict[str, dict[str, Sequence[RegionRow]]] = {}
    for name, folders in groups:
        if name in found:
            raise DataError(f"two groups are named '{name}': give each its own name")
        found[name] = {animal: read_region_table(f) for animal, f in _animals(folders).items()}
    places = [(name, folder) for name, folders in groups for folder in folders]
    for (name, folder), (other, twin) in combinations(places, 2):
        if folder.resolve() == twin.resolve():
            raise DataError(
                f"'{folder}' stands in '{name}' and in '{other}': an animal counts once, in one "
                "group"
            )
    return found


def _animals(folders: Sequence[Path]) -> dict[str, Path]:
    """Return the folders by a name that tells them apart."""
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        names = [f"{f.resolve().parent.name}/{n}" for f, n in zip(folders, names, strict=True)]
    if len(set(names)) < len(names):
        names = [str(folder) for folder in folders]
    return dict(zip(names, folders, strict=True))


def groups_page(tables: Tables, out: Path, *, made: str, write_csv: bool = False) -> Page:
    """Compare the groups with the first and return the page.

    Parameters
    ----------
    tables
        From :func:`read_groups`; the first group is the reference.
    out, write_csv
        Where the page will lie, and whether to write all differences beside it.
    made
        When, as the page shows it.

    Raises
    ------
    DataError
        If the tables cannot be compared.
    OutputError
        If the CSV file cannot be written.
    """
    found = compare_groups({group: list(animals.values()) for group, animals in tables.items()})
    csv_name = f"{out.stem}.csv" if write_csv else None
    if csv_name is not None:
        _write_csv(found.rows, out.with_name(csv_name))
    sections = [
        _design(tables, found),
        *_whole(tables, found),
        *_by_region(found),
        _table(found, csv_name),
    ]
    reference, *others = tables
    return Page(
        title=f"Groups: {', '.join(others)} against {reference}",
        subtitle=", ".join(f"{group}: {len(a)} animals" for group, a in tables.items()),
        made=made,
        version=__version__,
        tiles=_tiles(tables, found),
        warnings=_warnings(tables, found),
        sections=sections,
    )


# ---------------------------------------------------------------------------------------- in words


def _design(tables: Tables, found: GroupComparison) -> Section:
    reference = next(iter(tables))
    rows = [[group, str(len(a)), ", ".join(a)] for group, a in tables.items()]
    keys = [[None, float(len(a)), None] for a in tables.values()]
    columns = [Column("Group", numeric=False), Column("Animals"), Column("Which", numeric=False)]
    level = percent(found.level)
    return Section(
        "design",
        "What is compared",
        [
            Text(
                "The animal is the unit: every number is one value an animal, and n is the number "
                "of animals. Voxels, vessels and regions of one animal are not independent of each "
                "other, and are never counted as if they were."
            ),
            Table(columns, rows, "Groups", keys),
            Text(
                f"Differences are group minus {reference}, with Welch's {level} % interval; the "
                "effect size is Hedges' g (difference in standard deviations, corrected for small "
                f"groups) with its {level} % interval. p is of Welch's test, and of the exact "
                "permutation test where groups are small; corrected over all regions of one "
                "measure by Holm (chance of any false finding) and by Benjamini and Hochberg "
                "(share of false findings). A filled marker has a Benjamini-Hochberg p below "
                f"{SIGNIFICANT:g}. An interval tells more than a p: it shows which effects the "
                "animals at hand can rule out."
            ),
        ],
    )


def _tiles(tables: Tables, found: GroupComparison) -> list[Tile]:
    tested = [row for row in found.rows if row.p_benjamini_hochberg is not None]
    clear = sum(_significant(row) for row in tested)
    tiles = [Tile(group, str(len(a)), "animals") for group, a in tables.items()]
    tiles.append(Tile("Tests", shown("edges", len(tested)), note="regions × measures × groups"))
    tiles.append(Tile("Differences", shown("edges", clear), note="p corrected below 0.05"))
    return tiles


def _warnings(tables: Tables, found: GroupComparison) -> list[Finding]:
    warnings = [
        Finding("notice", note, "Compare what all animals have, or add animals.")
        for note in found.notes
    ]
    reference, *others = tables
    for group in others:
        a, b = len(tables[reference]), len(tables[group])
        least = 2 / math.comb(a + b, a) if a == b else 1 / math.comb(a + b, a)
        if min(a, b) > 1 and least > SIGNIFICANT:
            warnings.append(
                Finding(
                    "notice",
                    f"with {a} and {b} animals the exact permutation test cannot give a p below "
                    f"{number(least)}",
                    "Read effect sizes and intervals, not p; more animals are needed for a test.",
                    f"{group} against {reference}",
                )
            )
    return warnings


# ---------------------------------------------------------------------------------------- in plots


def _whole(tables: Tables, found: GroupComparison) -> list[Section]:
    """Return effect sizes and dots of the whole volume."""
    rows = [row for row in found.rows if row.name == ALL]
    if not rows:
        return []
    items: list[Item] = []
    for group in list(tables)[1:]:
        chosen = [(column_of(r.measure).label, r) for r in rows if r.group == group]
        items += _forest("Effect sizes", chosen)
    items += [_dots(tables, measure) for measure in dict.fromkeys(row.measure for row in rows)]
    return [Section("whole", "Whole volume", items)]


def _by_region(found: GroupComparison) -> list[Section]:
    items: list[Item] = []
    keys = dict.fromkeys((row.measure, row.group) for row in found.rows)
    for measure, group in keys:
        rows = [
            r
            for r in found.rows
            if (r.measure, r.group) == (measure, group) and r.name != ALL and r.p_welch is not None
        ]
        if len(rows) > _MOST_BARS:
            rows = sorted(rows, key=lambda r: r.p_welch or 0.0)[:_MOST_BARS]
            more = f"The {_MOST_BARS} regions with the smallest p; all are in the table below."
        else:
            more = ""
        items += _forest(column_of(measure).label, [(_region(r), r) for r in rows], more)
    return [Section("regions", "Effect sizes by region", items)] if items else []


def _forest(title: str, rows: Sequence[tuple[str, GroupDifference]], more: str = "") -> list[Plot]:
    """Return Hedges' g with its interval, one line a row, the first on top."""
    drawn = [(label, row) for label, row in rows if row.hedges_g is not None]
    if not drawn:
        return []
    one = drawn[0][1]
    traces = []
    for clear in (True, False):
        chosen = [(label, row) for label, row in drawn if _significant(row) is clear]
        if chosen:
            traces.append(_forest_trace(chosen, clear=clear))
    names = [in_plot(label) for label, _ in drawn]
    layout = {
        "title": {
            "text": in_plot(f"{title}: {one.group} against {one.reference}"),
            "x": 0, "xref": "paper", "font": {"size": 14},
        },
        "xaxis": {
            "title": {"text": in_plot(f"Hedges' g ({one.group} minus {one.reference})")},
            "zeroline": True, "zerolinewidth": 2,
        },
        "yaxis": {"categoryorder": "array", "categoryarray": names[::-1], "type": "category"},
        "showlegend": True,
        "legend": {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0},
        "margin": {"l": 48, "r": 12, "t": 40, "b": 84},
    }  # fmt: skip
    told = "; ".join(f"{label} {number(row.hedges_g)}" for label, row in drawn[:6])
    alt = f"Forest plot of {title}, {one.group} against {one.reference}: {told}."
    caption = f"Lines are intervals. {more}".strip()
    height = 150 + _ROW_PX * len(drawn)
    return [Plot(traces, layout, alt, caption, height_px=height, wide=True)]


def _forest_trace(rows: Sequence[tuple[str, GroupDifference]], *, clear: bool) -> dict[str, Any]:
    g, low, high = (
        [float(getattr(row, name)) for _, row in rows]
        for name in ("hedges_g", "hedges_g_low", "hedges_g_high")
    )
    return {
        "type": "scatter",
        "mode": "markers",
        "name": f"corrected p {'below' if clear else 'not below'} {SIGNIFICANT:g}",
        "x": g,
        "y": [in_plot(label) for label, _ in rows],
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [b - a for a, b in zip(g, high, strict=True)],
            "arrayminus": [a - b for a, b in zip(g, low, strict=True)],
            "thickness": 1.5,
            "width": 0,
        },
        "marker": {"size": 9, "symbol": "circle" if clear else "circle-open", "line": {"width": 2}},
        "meta": {"colour": 0},
    }


def _dots(tables: Tables, measure: str) -> Plot:
    """Return one dot an animal, and the mean of each group as a line."""
    column = column_of(measure)
    share = 100.0 if column.unit == "%" else 1.0
    traces: list[dict[str, Any]] = []
    told = []
    for place, (group, animals) in enumerate(tables.items()):
        values = {a: share * v for a, t in animals.items() if (v := _whole_value(t, measure))}
        if not values:
            continue
        mean = sum(values.values()) / len(values)
        told.append(f"{group} {number(mean)} (n = {len(values)})")
        # Side by side, in the order of their names: no chance decides where a dot stands.
        spread = [place + 0.3 * ((i + 0.5) / len(values) - 0.5) for i in range(len(values))]
        traces.append(
            {
                "type": "scatter", "mode": "markers", "name": in_plot(group), "x": spread,
                "y": list(values.values()), "text": [in_plot(a) for a in values],
                "hovertemplate": "%{text}: %{y:.4~g}<extra></extra>",
                "marker": {"size": 9, "opacity": 0.85}, "meta": {"colour": place},
            }
        )  # fmt: skip
        traces.append(
            {
                "type": "scatter", "mode": "lines", "x": [place - 0.25, place + 0.25],
                "y": [mean, mean], "line": {"width": 2, "color": "#7a8692"}, "hoverinfo": "skip",
                "showlegend": False,
            }
        )  # fmt: skip
    axis = f"{column.label} ({column.unit})" if column.unit else column.label
    layout = {
        "title": {"text": axis, "x": 0, "xref": "paper", "font": {"size": 14}},
        "xaxis": {
            "tickvals": list(range(len(tables))), "ticktext": [in_plot(g) for g in tables],
            "range": [-0.6, len(tables) - 0.4], "showgrid": False, "zeroline": False,
        },
        "yaxis": {"rangemode": "tozero"},
        "showlegend": False,
        "margin": {"l": 48, "r": 12, "t": 40, "b": 40},
    }  # fmt: skip
    alt = f"{column.label}, one dot an animal. Means: {'; '.join(told) or 'none'}."
    return Plot(traces, layout, alt, "One dot an animal; the line is the mean.", height_px=280)


def _whole_value(table: Sequence[RegionRow], measure: str) -> float | None:
    row = next((row for row in table if row["name"] == ALL), {})
    value = row.get(measure)
    return None if value is None or not math.isfinite(value) else float(value)


# -------------------------------------------------------------------------------------- as a table

_COLUMNS = (
    *(Column(label, numeric=False) for label in ("Region", "Measure", "Group")),
    *(Column(label) for label in ("Reference mean", "Mean", "Difference")),
    Column("Its interval"),
    Column("Hedges' g"),
    Column("Its interval"),
    *(Column(label) for label in ("n, reference", "n", "p, Welch", "p, permutation", "p, Holm")),
    Column("p, Benjamini-Hochberg"),
    Column("Note", numeric=False),
)


def _table(found: GroupComparison, csv_name: str | None) -> Section:
    rows = found.rows
    caption = f"{shown('edges', len(rows))} comparisons; a click on a heading sorts."
    if len(rows) > _MOST_ROWS:
        rows = sorted(rows, key=lambda r: 2.0 if r.p_welch is None else r.p_welch)[:_MOST_ROWS]
        caption = (
            f"The {shown('edges', _MOST_ROWS)} comparisons with the smallest p, of "
            f"{shown('edges', len(found.rows))}; --csv writes all of them."
        )
    shown_rows, keys = zip(*(_row(row) for row in rows), strict=True) if rows else ((), ())
    table = Table(_COLUMNS, shown_rows, caption, keys, csv_name)
    return Section("differences", "All differences", [table])


def _row(row: GroupDifference) -> tuple[list[str], list[float | None]]:
    column = column_of(row.measure)
    share = 100.0 if column.unit == "%" else 1.0

    def scaled(value: float | None) -> float | None:
        return None if value is None else share * value

    measured = [scaled(v) for v in (row.reference_mean, row.group_mean, row.difference)]
    tests = [row.p_welch, row.p_permutation, row.p_holm, row.p_benjamini_hochberg]
    n = [float(row.reference_n), float(row.group_n)]
    unit = f"{column.label} ({column.unit})" if column.unit else column.label
    texts = [
        _region(row), unit, row.group, *(number(v) for v in measured),
        _interval(scaled(row.low), scaled(row.high)), number(row.hedges_g),
        _interval(row.hedges_g_low, row.hedges_g_high), *(number(v) for v in n),
        *(number(v) for v in tests), row.note,
    ]  # fmt: skip
    return texts, [
        *(None, None, None), *measured, scaled(row.low), row.hedges_g, row.hedges_g_low, *n,
        *tests, None,
    ]  # fmt: skip


def _region(row: GroupDifference) -> str:
    return "whole volume" if row.name == ALL else row.name


def _interval(low: float | None, high: float | None) -> str:
    return MISSING if low is None or high is None else f"{number(low)} to {number(high)}"


def _significant(row: GroupDifference) -> bool:
    return row.p_benjamini_hochberg is not None and row.p_benjamini_hochberg < SIGNIFICANT


def _write_csv(rows: Sequence[GroupDifference], path: Path) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [field.name for field in dataclasses.fields(GroupDifference)]
    writer.writerow(names)
    for row in rows:
        values = [getattr(row, name) for name in names]
        writer.writerow(["" if value is None else value for value in values])
    write_text_atomic(path, text.getvalue())
