"""Scores on each test volume: which ones a method owes its mean to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile

from vpbsd.compare.results.pooled import POOLED
from vpbsd.compare.results.summary import Contest, MethodResults
from vpbsd.compare.tables.markup import Row, Table
from vpbsd.compare.tables.rows import (
    SCORES,
    Score,
    conditions,
    identity,
    missing_notes,
    name_cells,
    spread_text,
)

__all__ = ["short_names", "volumes_table"]

_SHOWN = tuple(score for score in SCORES if score.key in POOLED)


def volumes_table(contest: Contest) -> Table:
    """Return table 4: the mean over seeds on each volume, with the deviation in the CSV alone.

    Parameters
    ----------
    contest
        All methods on one data set.
    """
    methods = list(contest.methods.values())
    heads, pattern = short_names(contest.volumes)
    named = f" Columns: test volumes {pattern}." if pattern else ""
    shown = f"Cells hold the mean, the CSV file the deviation too.{named}"
    return Table(
        name="table4_volumes",
        label=f"{contest.comparison} {contest.dataset} volumes",
        title=f"Scores on each test volume, {contest.dataset}",
        caption=f"{conditions(contest, methods)} {shown}",
        columns=["method", "seeds", *heads],
        rows=[_row(contest, method, score) for score in _SHOWN for method in methods],
        notes=[note for method in methods for note in missing_notes(method)],
    )


def short_names(names: Sequence[str]) -> tuple[list[str], str]:
    """Return what tells names apart, and what they share.

    A number is kept whole: ``a_00_x`` and ``a_01_x`` are ``00`` and ``01`` of ``a_…_x``.

    Returns
    -------
    names, pattern
        The pattern is empty where nothing is shared.
    """
    start = re.sub(r"\d+$", "", _shared(names))
    rest = [name[len(start) :] for name in names]
    end = re.sub(r"^\d+", "", _shared([name[::-1] for name in rest])[::-1])
    short = [name.removesuffix(end) for name in rest]
    if not (start or end) or not all(short):
        return list(names), ""
    return short, f"{start}…{end}"


def _shared(names: Sequence[str]) -> str:
    """Return the characters that all names begin with."""
    places = zip(*names, strict=False)
    return "".join(found[0] for found in takewhile(lambda found: len(set(found)) == 1, places))


def _row(contest: Contest, method: MethodResults, score: Score) -> Row:
    values = {**identity(contest, method), "score": score.key}
    cells = name_cells(contest, method)
    for volume in contest.volumes:
        found = method.spread(score.key, volume)
        values[f"{volume}_mean"] = None if found is None else found.mean
        values[f"{volume}_sd"] = None if found is None else found.sd
        cells.append(spread_text(found, score, deviation=False))
    return Row(cells=cells, values=values, group=score.head)
