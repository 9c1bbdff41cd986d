"""The table of regions: one row a region, the whole volume on top, and the same as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vpbsd.graph.regions.tables import ALL, read_region_table
from vpbsd.provenance import write_text_atomic
from vpbsd.report.page.numbers import column_of, shown
from vpbsd.report.page.page import Column, Section, Table

__all__ = ["RegionTable", "read_regions", "regions_section", "write_regions_csv"]

_NAMES = ("name", "region")


@dataclass(frozen=True, slots=True)
class RegionTable:
    """Column names, and one mapping a region."""

    columns: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]

    @property
    def whole(self) -> Mapping[str, Any] | None:
        """The row of the whole volume."""
        return next((row for row in self.rows if row.get("name") == ALL), None)


def read_regions(folder: Path) -> RegionTable | None:
    """Return the regions of a graph folder; None where there are none.

    Raises
    ------
    DataError
        If the table is damaged, or lacks regions and their names.
    """
    if not any((folder / f"regions.{suffix}").is_file() for suffix in ("parquet", "csv")):
        return None
    rows = [{k: _clean(v) for k, v in row.items()} for row in read_region_table(folder)]
    rows.sort(key=lambda row: row["name"] != ALL)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    first = [n for n in _NAMES if n in columns]
    return RegionTable((*first, *(n for n in columns if n not in _NAMES)), tuple(rows))


def regions_section(table: RegionTable, name: str, number_of: int, csv_name: str | None) -> Section:
    """Return the table of one graph's regions.

    Parameters
    ----------
    table
        The regions.
    name
        Of the graph.
    number_of
        Which graph of the page it is, from 0.
    csv_name
        Name of the CSV file beside the page, where one is written.
    """
    columns = [_column(n) for n in table.columns]
    rows = [[_cell(n, row.get(n)) for n in table.columns] for row in table.rows]
    keys = [[_key(row.get(n)) for n in table.columns] for row in table.rows]
    count = len(table.rows) - (table.whole is not None)
    caption = f"{name}: {count} regions. A click on a heading sorts by it, a second turns it round."
    if not count:
        caption = f"{name}: the whole volume; no regions were given when the tables were made."
    return Section(
        f"regions-{number_of}",
        f"Regions: {name}",
        [Table(columns, rows, caption, keys, csv_name)],
    )


def write_regions_csv(table: RegionTable, path: Path) -> None:
    """Write the table as CSV in full precision; an empty cell is a number that is not known.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows(
        ["" if row.get(n) is None else row[n] for n in table.columns] for row in table.rows
    )
    write_text_atomic(path, text.getvalue())


def _clean(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _column(name: str) -> Column:
    if name == "name":
        return Column("Region", numeric=False)
    if name == "is_sum":
        return Column("Sum of others", numeric=False)
    return column_of(name)


def _cell(name: str, value: Any) -> str:
    return "whole volume" if name == "name" and value == ALL else shown(name, value)


def _key(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
