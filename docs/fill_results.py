"""Fill the tables of results.md from those in results/tables, which the result lines make.

    vpbsd compare --tables results
    python docs/fill_results.py

What stands between ``<!-- table: NAME -->`` and ``<!-- end of table -->`` is replaced: by the
methods of ``results/tables/cpu/NAME.md`` in order of clDice, or, for ``table3_labels``, by a row
for each number of labelled patches. Only the columns that a reader compares by are kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["PAGE", "TABLES", "filled"]

PAGE = Path(__file__).with_name("results.md")
TABLES = Path(__file__).parents[1] / "results" / "tables" / "cpu"

_MARKS = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end of table -->)", re.S)
_TITLES = {"VpbSD": "**VpbSD student**", "teacher": "its teacher"}
_NOTHING = "–"
_LABELS = "table3_labels"

_Row = Mapping[str, str]


def filled(page: str, tables: Path = TABLES) -> str:
    """Return a page with every marked table made again.

    Parameters
    ----------
    page
        Markdown with marks.
    tables
        Folder of one comparison's tables, as ``vpbsd compare --tables`` writes them.

    Raises
    ------
    ValueError
        If the page has no marks.
    FileNotFoundError
        If a table is missing.
    """

    def fill(found: re.Match[str]) -> str:
        rows = _rows((tables / f"{found[2]}.md").read_text("utf-8"))
        made = _by_patches(rows) if found[2] == _LABELS else _by_cldice(rows)
        return f"{found[1]}{made}\n{found[3]}"

    text, count = _MARKS.subn(fill, page)
    if not count:
        raise ValueError("the page has no <!-- table: NAME --> … <!-- end of table -->")
    return text


def _rows(table: str) -> list[_Row]:
    """Return the rows of the only table of a Markdown text, without heads of groups and bold."""
    lines = [line for line in table.splitlines() if line.startswith("|")]
    cells = [[cell.strip().replace("**", "") for cell in line[1:-1].split("|")] for line in lines]
    heads, rows = cells[0], cells[2:]
    return [dict(zip(heads, row, strict=True)) for row in rows if any(row[1:])]


def _by_cldice(rows: Sequence[_Row]) -> str:
    scored = [row for row in rows if row["clDice"] != _NOTHING]
    ordered = sorted(scored, key=lambda row: float(row["clDice"].split()[0]), reverse=True)
    return _markdown(
        ["method", "seeds", "Dice", "clDice", "Δ clDice", "Δ Dice"],
        [
            [
                _TITLES.get(row["method"], f"`{row['method']}`"),
                row["seeds"].replace(_NOTHING, ""),
                row["Dice"],
                row["clDice"],
                row["Δ clDice (points)"],
                row["Δ Dice (points)"],
            ]
            for row in ordered
        ],
    )


def _by_patches(rows: Sequence[_Row]) -> str:
    found = {(row["method"], row["labelled patches"]): row for row in rows}
    patches = list(dict.fromkeys(row["labelled patches"] for row in rows))
    ours, other = [
        [found[method, number] for number in patches]
        for method in dict.fromkeys(row["method"] for row in rows)
    ]
    scores = ("Dice", "clDice")
    heads = [f"{s}, {who}" for s in scores for who in ("VpbSD student", "supervised only")]
    return _markdown(
        ["labelled patches", *heads, "Δ clDice"],
        [
            [number, *(row[s] for s in scores for row in pair), pair[0]["Δ clDice (points)"]]
            for number, pair in zip(patches, zip(ours, other, strict=True), strict=True)
        ],
    )


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, *rows]
    shown = [f"| {' | '.join(cells)} |" for cells in lines]
    return "\n".join([shown[0], "|" + "---|" * len(heads), *shown[1:]])


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text("utf-8")), "utf-8")
