"""Scores by number of labelled patches."""

from __future__ import annotations

from collections.abc import Mapping

from vpbsd.compare.results.labels import REFERENCE, REFERENCE_PATCHES, LabelCurve
from vpbsd.compare.results.pooled import PooledScore
from vpbsd.compare.results.statistics import Difference
from vpbsd.compare.results.summary import OURS, title
from vpbsd.compare.tables.markup import Row, Table
from vpbsd.compare.tables.rows import (
    DIFFERENCE_HEADS,
    SCORES,
    conditions,
    corrected_scores,
    difference_cells,
    legend,
    missing_notes,
    name_cells,
    numbers,
    score_cells,
)
from vpbsd.compare.tables.sentences import counted, sentence

__all__ = ["labels_table"]


def labels_table(curve: LabelCurve, name: str) -> Table:
    """Return table 3, labels: the same methods with more and fewer labelled patches.

    Parameters
    ----------
    curve
        Data sets that differ in the number of labelled patches alone.
    name
        Of the files.
    """
    rows: list[Row] = []
    scores = SCORES[:4]
    notes: list[str] = []
    differences = _differences(curve)
    for method in curve.methods:
        for patches, found in curve.results(method).items():
            contest = curve.contests[patches]
            ahead = differences.get(patches) if method == OURS else None
            cells = [
                title(method),
                str(patches),
                *name_cells(contest, found)[1:],
                *score_cells(found, scores),
                *difference_cells(ahead),
            ]
            values = {"labelled_patches": patches, **numbers(contest, found, ahead)}
            rows.append(Row(cells, values, group=title(method)))
            notes += [f"{_patches(patches)}, {note}" for note in missing_notes(found)]
    every = [m for c in curve.contests.values() for m in c.methods.values() if m.runs]
    largest = curve.contests[max(curve.contests)]
    return Table(
        name=name,
        label=f"{curve.comparison} {curve.name} labels",
        title=f"Number of labelled patches, {curve.name} and its like",
        caption=(
            f"{conditions(largest, every, [c.dataset for c in curve.contests.values()])} "
            "The data sets differ in the number of labelled patches alone. "
            f"{legend(differences, f'{REFERENCE} with as many patches')}"
        ),
        columns=[
            "method",
            "labelled patches",
            "seeds",
            *(s.head for s in scores),
            *DIFFERENCE_HEADS,
        ],
        rows=rows,
        notes=notes,
        sentences=[_needed(curve), *_compared(differences)],
    )


def _differences(curve: LabelCurve) -> dict[int, dict[PooledScore, Difference]]:
    """Return ours minus the supervised-only student at each number of patches, corrected."""
    found = {
        patches: difference
        for patches, contest in curve.contests.items()
        if contest.ours and contest.methods.get(REFERENCE) and contest.methods[REFERENCE].runs
        and (difference := contest.difference(OURS, REFERENCE)) is not None
    }  # fmt: skip
    return corrected_scores(found)


def _compared(differences: Mapping[int, Mapping[PooledScore, Difference]]) -> list[str]:
    return [
        f"{_patches(patches)}: {sentence(difference['cldice'], title(OURS), REFERENCE)}"
        for patches, difference in differences.items()
    ]


def _needed(curve: LabelCurve) -> str:
    if curve.target is None:
        return (
            f"Labels needed to reach {REFERENCE} at {REFERENCE_PATCHES} patches: not measured, "
            f"since {REFERENCE} has no result there."
        )
    goal = f"clDice {curve.target:.3f} of {REFERENCE} at {REFERENCE_PATCHES} patches"
    if curve.needed is None:
        return f"{title(OURS)} does not reach {goal} with any number of patches that was tried."
    tried = ", ".join(str(p) for p in curve.spreads(OURS))
    return (
        f"{title(OURS)} reaches {goal} with {_patches(curve.needed)}, the fewest of those tried "
        f"({tried})."
    )


def _patches(count: int) -> str:
    return counted(count, "labelled patch")
