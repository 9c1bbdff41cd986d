"""The tables of a comparison, all from result lines; nothing in them is typed by hand.

::

    OUT/COMPARISON/verdicts.md                        each bar against the numbers
    OUT/COMPARISON/table3_labels.{md,csv,tex}         scores by number of labelled patches
    OUT/COMPARISON/DATASET/table1_methods.*           against the state of the art
    OUT/COMPARISON/DATASET/table2_ablation.*          each part switched off
    OUT/COMPARISON/DATASET/table3_design.*            each choice made otherwise
    OUT/COMPARISON/DATASET/table4_volumes.*           every method on each test volume
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from vpbsd.compare.results.labels import label_curves
from vpbsd.compare.results.lines import Family, ResultLine
from vpbsd.compare.results.statistics import Bootstrap
from vpbsd.compare.results.summary import OURS, Contest, MethodResults, contests, title
from vpbsd.compare.tables.labels import labels_table
from vpbsd.compare.tables.markup import Row, Table, write_table
from vpbsd.compare.tables.rows import (
    COSTS,
    DIFFERENCE_HEADS,
    SCORES,
    Differences,
    Score,
    compared_with,
    conditions,
    cost_cells,
    difference_cells,
    legend,
    mark_best,
    missing_notes,
    name_cells,
    numbers,
    score_cells,
)
from vpbsd.compare.tables.sentences import sentence
from vpbsd.compare.tables.verdicts import Benchmarks, verdicts_text
from vpbsd.compare.tables.volumes import volumes_table
from vpbsd.errors import DataError, OutputError
from vpbsd.provenance import write_text_atomic

__all__ = ["FAMILY_TITLES", "comparison_folder", "write_tables"]

FAMILY_TITLES: dict[Family, str] = {
    "ours": "ours",
    "ablation": "one part switched off",
    "design": "one choice made otherwise",
    "net": "nets, trained on the same labels",
    "semi": "semi-supervised, the same student",
    "distillation": "distilled, the same teacher and student",
    "classical": "classical filters and thresholds",
}

_AGAINST: tuple[Family, ...] = ("ours", "net", "semi", "distillation", "classical")
_PARTS_OFF: tuple[Family, ...] = ("ablation",)
_CHOICES: tuple[Family, ...] = ("design",)


def write_tables(
    results: Sequence[ResultLine],
    out: Path,
    *,
    settings: Bootstrap | None = None,
    benchmarks: Benchmarks | None = None,
) -> list[Path]:
    """Write all tables and the verdicts that result lines make.

    Parameters
    ----------
    results
        From `vpbsd.compare.results.lines.read_results`.
    out
        Folder; files of the same names are replaced.
    settings
        How intervals are drawn.
    benchmarks
        Names of the data sets that the bars speak of.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    DataError
        If there are no results, or two methods were scored on different truths.
    OutputError
        If a file cannot be written.
    """
    if not results:
        raise DataError("there are no results to make tables of: run a comparison first")
    found = contests(results, settings)
    written: list[Path] = []
    for name in dict.fromkeys(contest.comparison for contest in found):
        chosen = [contest for contest in found if contest.comparison == name]
        folder = comparison_folder(out, name)
        for contest in chosen:
            for table in _tables(contest):
                written += write_table(table, folder / _slug(contest.dataset))
        curves = label_curves(chosen)
        for number, curve in enumerate(curves):
            suffix = f"_{_slug(curve.name)}" if number else ""
            written += write_table(labels_table(curve, f"table3_labels{suffix}"), folder)
        written.append(_write_verdicts(folder, verdicts_text(chosen, curves, benchmarks)))
    return written


def comparison_folder(out: Path, comparison: str, dataset: str | None = None) -> Path:
    """Return where tables and figures of a comparison, and of one of its data sets, lie."""
    folder = out / _slug(comparison)
    return folder if dataset is None else folder / _slug(dataset)


def _tables(contest: Contest) -> list[Table]:
    tables = [_methods(contest)] if contest.of_family(*_AGAINST) else []
    if contest.of_family(*_PARTS_OFF):
        tables.append(_variants(contest, _PARTS_OFF, "table2_ablation", "Parts switched off"))
    if contest.of_family(*_CHOICES):
        tables.append(_variants(contest, _CHOICES, "table3_design", "Design choices"))
    if len(contest.volumes) > 1:
        tables.append(volumes_table(contest))
    return tables


def _methods(contest: Contest) -> Table:
    """Table 1: against the state of the art."""
    methods = contest.of_family(*_AGAINST)
    ours = contest.ours
    differences = compared_with(contest, methods, ours)
    scores = _measured(contest)
    rows = mark_best(_rows(contest, methods, differences, scores), 2, scores)
    return Table(
        name="table1_methods",
        label=f"{contest.comparison} {contest.dataset} methods",
        title=f"Comparison with the state of the art, {contest.dataset}",
        caption=f"{conditions(contest, methods)} {legend(differences)}",
        columns=_heads(scores),
        rows=rows,
        notes=_notes(contest, methods, scores),
        sentences=_sentences(differences, ours),
    )


def _variants(contest: Contest, families: tuple[Family, ...], name: str, heading: str) -> Table:
    """Tables 2 and 3: ours against ours with one thing changed."""
    ours = contest.ours
    methods = [*([ours] if ours is not None else []), *contest.of_family(*families)]
    differences = compared_with(contest, methods, ours)
    scores = _measured(contest)
    return Table(
        name=name,
        label=f"{contest.comparison} {contest.dataset} {name}",
        title=f"{heading}, {contest.dataset}",
        caption=f"{conditions(contest, methods)} {legend(differences)}",
        columns=_heads(scores),
        rows=mark_best(_rows(contest, methods, differences, scores), 2, scores),
        notes=[*_notes(contest, methods, scores), *_what(methods)],
        sentences=_sentences(differences, ours),
    )


def _rows(
    contest: Contest,
    methods: Sequence[MethodResults],
    differences: Differences,
    scores: Sequence[Score],
) -> list[Row]:
    rows = []
    for method in methods:
        difference = differences.get(method.name)
        rows.append(
            Row(
                cells=[
                    *name_cells(contest, method),
                    *score_cells(method, scores),
                    *cost_cells(method),
                    *difference_cells(difference),
                ],
                values=numbers(contest, method, difference),
                group=FAMILY_TITLES[method.family],
            )
        )
    return rows


def _heads(scores: Sequence[Score]) -> list[str]:
    return [
        "method",
        "seeds",
        *(score.head for score in scores),
        *(cost.head for cost in COSTS),
        *DIFFERENCE_HEADS,
    ]


def _measured(contest: Contest) -> list[Score]:
    return [s for s in SCORES if any(s.key in line.scores for line in contest.lines)]


def _notes(
    contest: Contest, methods: Sequence[MethodResults], scores: Sequence[Score]
) -> list[str]:
    notes = [note for method in methods for note in missing_notes(method)]
    if contest.ours is None:
        notes.append(f"{title(OURS)} has no result here, so that nothing is compared with it")
    absent = [score.head for score in SCORES if score not in scores]
    return [*notes, *([f"not measured: {', '.join(absent)}"] if absent else [])]


def _what(methods: Sequence[MethodResults]) -> list[str]:
    """Say what each method is, where its lines do."""
    found = ((m.name, next((ln.what for ln in m.lines if ln.what), None)) for m in methods)
    return [f"{title(name)}: {what}" for name, what in found if what]


def _sentences(differences: Differences, ours: MethodResults | None) -> list[str]:
    if ours is None:
        return []
    return [
        sentence(found["cldice"], title(ours.name), title(name))
        for name, found in differences.items()
    ]


def _write_verdicts(folder: Path, text: str) -> Path:
    path = folder / "verdicts.md"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make {folder}: {error.strerror}; choose another") from error
    write_text_atomic(path, text)
    return path


def _slug(name: str) -> str:
    """Return a name that is safe as that of a folder."""
    return re.sub(r"[^\w+-]+", "_", name).strip("_") or "unnamed"
