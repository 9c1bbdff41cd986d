"""Names of regions, and which region is a part of which, from a CSV file.

::

    id,name,parent
    997,brain,
    315,isocortex,997
    385,primary visual area,315

``parent`` may be left out, or be called ``parent_structure_id`` as in the Allen ontology; other
columns are ignored. Id 0 is what lies outside every region.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vpbsd.errors import DataError

__all__ = ["OUTSIDE", "RegionNames", "read_region_names"]

OUTSIDE = 0
"""The label of what belongs to no region."""

_PARENT_COLUMNS = ("parent", "parent_structure_id")


@dataclass(frozen=True, slots=True)
class RegionNames:
    """Names by region id, and the parent of each region that has one.

    Raises
    ------
    DataError
        If a parent is no region of the list, or a region is a part of itself.
    """

    names: Mapping[int, str] = field(default_factory=dict)
    parents: Mapping[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for child, parent in self.parents.items():
            if parent not in self.names or child not in self.names:
                raise DataError(
                    f"region {child} is said to be a part of {parent}, but one of the two is no "
                    "region of the list: add its row, or leave its parent empty"
                )
            if child in self.ancestors(child):
                raise DataError(
                    f"region {child} ('{self.names[child]}') is a part of itself by way of its "
                    "parents; correct the column of parents"
                )

    def name(self, region: int) -> str:
        """Return the name of a region; its number where the list does not know it."""
        return self.names.get(region, str(region))

    def ancestors(self, region: int) -> list[int]:
        """Return what a region is a part of, the nearest first."""
        found: list[int] = []
        parent = self.parents.get(region)
        while parent is not None and parent not in found:
            found.append(parent)
            parent = self.parents.get(parent)
        return found

    def members(self, present: Iterable[int]) -> dict[int, list[int]]:
        """Return every region that has parts, and which ``present`` regions it is the sum of.

        A region that has parts and voxels of its own is the sum of both.
        """
        sums: dict[int, list[int]] = {parent: [] for parent in sorted(set(self.parents.values()))}
        for region in present:
            for whole in (region, *self.ancestors(region)):
                if whole in sums:
                    sums[whole].append(region)
        return sums


def read_region_names(path: Path | str) -> RegionNames:
    """Read names, and parents where there are any, from a CSV file.

    Raises
    ------
    DataError
        If the file cannot be read, lacks a column, or holds an id that is no whole number above
        0 or comes twice.
    """
    file = Path(path)
    names: dict[int, str] = {}
    parents: dict[int, int] = {}
    for line, row in _rows(file):
        region = _whole_number(row["id"], file, line)
        if region in names:
            raise DataError(
                f"'{file}' names region {region} twice, the second time in line {line}; keep one"
            )
        if region <= OUTSIDE:
            raise DataError(
                f"'{file}' names region {region} in line {line}, but regions are numbered from 1: "
                "label 0 is what lies outside all of them"
            )
        names[region] = row["name"].strip() or str(region)
        parent = next((row[column] for column in _PARENT_COLUMNS if row.get(column)), "").strip()
        if parent and parent.lower() != "nan" and _whole_number(parent, file, line) != OUTSIDE:
            parents[region] = _whole_number(parent, file, line)
    try:
        return RegionNames(names, parents)
    except DataError as error:
        raise DataError(f"'{file}': {error}") from error


def _rows(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the number of each line and its cells by column, the columns in lower case."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream)
            columns = [cell.strip().lower() for cell in next(reader, [])]
            missing = [column for column in ("id", "name") if column not in columns]
            if missing:
                raise DataError(
                    f"'{file}' has no column {' or '.join(missing)}, only "
                    f"{', '.join(columns) or 'an empty first line'}: its first line must name the "
                    "columns id and name, with commas between them"
                )
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    filled = cells + [""] * (len(columns) - len(cells))
                    yield reader.line_num, dict(zip(columns, filled, strict=False))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"the region names in '{file}' cannot be read: {error}") from error


def _whole_number(text: str, file: Path, line: int) -> int:
    try:
        # pandas and spreadsheets write whole numbers beside empty cells as 315.0.
        number = float(text)
        if number.is_integer():
            return int(text) if text.strip().lstrip("+-").isdecimal() else int(number)
    except ValueError:
        pass
    raise DataError(
        f"'{file}' holds '{text}' in line {line} where a region's number is expected: ids and "
        "parents are whole numbers, as they stand in the label volume"
    )
