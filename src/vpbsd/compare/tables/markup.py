"""One table as Markdown, CSV and LaTeX.

What is shown (text, the best in bold) and what is computed with (numbers at full precision) are
kept apart: the first makes Markdown and LaTeX, the second CSV.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vpbsd.errors import OutputError
from vpbsd.provenance import write_text_atomic

__all__ = ["Row", "Table", "escape_latex", "write_table"]

Value = str | int | float | bool | None


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes
    ----------
    cells
        Text of each column.
    values
        The same in numbers, by name; None where there is none.
    best
        Columns in which this row is the best.
    group
        Rows of one group stand together under its name.
    """

    cells: Sequence[str]
    values: Mapping[str, Value]
    best: frozenset[int] = frozenset()
    group: str = ""


@dataclass(frozen=True)
class Table:
    """A table with all that is needed to understand it.

    Attributes
    ----------
    name
        Of its files.
    label
        In LaTeX, after ``tab:``; unlike that of any other table.
    title, caption
        What it shows, and under which conditions.
    columns
        Heads; the first column is text, the others numbers.
    rows
        In order, groups together.
    notes
        What is missing, and what cells do not say.
    sentences
        What the numbers tell.
    """

    name: str
    label: str
    title: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Row]
    notes: Sequence[str] = field(default_factory=tuple)
    sentences: Sequence[str] = field(default_factory=tuple)

    def markdown(self) -> str:
        """Return the table in Markdown, with notes and sentences below."""
        lines = [f"## {self.title}", "", self.caption, "", _markdown_row(self.columns)]
        lines.append("|" + "---|" + "---:|" * (len(self.columns) - 1))
        group = ""
        for row in self.rows:
            if row.group != group:
                group = row.group
                lines.append(_markdown_row([f"*{group}*", *[""] * (len(self.columns) - 1)]))
            cells = [f"**{c}**" if i in row.best else c for i, c in enumerate(row.cells)]
            lines.append(_markdown_row(cells))
        for entries in (self.notes, self.sentences):
            if entries:
                lines += ["", *(f"- {entry}" for entry in entries)]
        return "\n".join(lines) + "\n"

    def csv(self) -> str:
        """Return the numbers as comma-separated values (RFC 4180), one line a row."""
        names = list(dict.fromkeys(name for row in self.rows for name in row.values))
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\r\n")
        writer.writerow(names)
        for row in self.rows:
            values = [row.values.get(name) for name in names]
            writer.writerow(["" if v is None else v for v in values])
        return text.getvalue()

    def latex(self) -> str:
        """Return the table in LaTeX; needs the packages booktabs and graphicx."""
        width = len(self.columns)
        lines = [
            r"\begin{table*}",
            r"  \centering",
            rf"  \caption{{{escape_latex(f'{self.title}. {self.caption}')}}}",
            rf"  \label{{tab:{re.sub(r'[^A-Za-z0-9]+', '-', self.label)}}}",
            r"  \resizebox{\textwidth}{!}{%",
            rf"  \begin{{tabular}}{{l{'r' * (width - 1)}}}",
            r"    \toprule",
            _latex_row([escape_latex(c) for c in self.columns]),
            r"    \midrule",
        ]
        group = ""
        for number, row in enumerate(self.rows):
            if row.group != group:
                group = row.group
                lines += [r"    \midrule"] if number else []
                lines.append(
                    rf"    \multicolumn{{{width}}}{{l}}{{\textit{{{escape_latex(group)}}}}} \\"
                )
            cells = [escape_latex(c) for c in row.cells]
            bold = [rf"\textbf{{{c}}}" if i in row.best else c for i, c in enumerate(cells)]
            lines.append(_latex_row(bold))
        lines += [r"    \bottomrule", r"  \end{tabular}}"]
        if self.notes:
            notes = "; ".join(escape_latex(note) for note in self.notes)
            lines += ["", rf"  \vspace{{2pt}}\footnotesize {notes}."]
        return "\n".join([*lines, r"\end{table*}"]) + "\n"


def write_table(table: Table, folder: Path) -> list[Path]:
    """Write ``name.md``, ``name.csv`` and ``name.tex``; returns their paths.

    Raises
    ------
    OutputError
        If the folder or a file cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make {folder}: {error.strerror}; choose another") from error
    texts = {"md": table.markdown(), "csv": table.csv(), "tex": table.latex()}
    written = []
    for suffix, text in texts.items():
        path = folder / f"{table.name}.{suffix}"
        write_text_atomic(path, text)
        written.append(path)
    return written


def escape_latex(text: str) -> str:
    """Return text that LaTeX prints as it is."""
    return "".join(_LATEX.get(character, character) for character in text)


_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "%": r"\%",
    "#": r"\#", "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''",
    "±": r"$\pm$", "−": "$-$", "×": r"$\times$", "∞": r"$\infty$", "≥": r"$\geq$", "≤": r"$\leq$",
    "µ": r"$\mu$", "Δ": r"$\Delta$", "α": r"$\alpha$", "β": r"$\beta$", "λ": r"$\lambda$",
    "–": "--", "—": "---", "\u2009": r"\,", "\u00a0": "~", "\n": " ",
}  # fmt: skip


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(c.replace("|", r"\|").replace("\n", " ") for c in cells) + " |"


def _latex_row(cells: Sequence[str]) -> str:
    return "    " + " & ".join(cells) + r" \\"
