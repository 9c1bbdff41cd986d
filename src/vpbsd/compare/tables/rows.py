"""What the tables say of one method, and under which conditions it was measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from vpbsd.compare.results.lines import ResultLine
from vpbsd.compare.results.pooled import POOLED, PooledScore
from vpbsd.compare.results.statistics import Difference, Spread, corrected
from vpbsd.compare.results.summary import OURS, Contest, MethodResults, title
from vpbsd.compare.tables.markup import Row, Value
from vpbsd.compare.tables.sentences import counted, points

__all__ = [
    "COSTS",
    "DIFFERENCE_HEADS",
    "SCORES",
    "Score",
    "budget_text",
    "compared_with",
    "conditions",
    "corrected_scores",
    "cost_cells",
    "difference_cells",
    "identity",
    "legend",
    "machine_text",
    "mark_best",
    "missing_notes",
    "name_cells",
    "numbers",
    "score_cells",
    "spread_text",
]

_Key = TypeVar("_Key")
Differences = Mapping[str, Mapping[PooledScore, Difference]]


@dataclass(frozen=True)
class Score:
    """A score as a column: its key in a line, its head, and which way is better."""

    key: str
    head: str
    decimals: int = 3
    higher_is_better: bool = True


@dataclass(frozen=True)
class Cost:
    """What a method costs, as a column: its key, its head, and the number that is shown."""

    key: str
    head: str
    shown: Callable[[float], str]

    def of(self, line: ResultLine) -> float | None:
        """Return the number that a line holds."""
        value: float | None = getattr(line, self.key)
        return value


SCORES = (
    Score("dice", "Dice"),
    Score("cldice", "clDice"),
    Score("surface_dice_1_voxel", "surface Dice, 1 voxel"),
    Score("surface_dice_2_voxels", "surface Dice, 2 voxels"),
    Score("hd95_um", "HD95 (µm)", 1, higher_is_better=False),
    Score("betti_0_error_per_block", "Betti-0 error per block", 1, higher_is_better=False),
    Score("betti_1_error_per_block", "Betti-1 error per block", 1, higher_is_better=False),
)

COSTS = (
    Cost("parameters", "parameters (M)", lambda v: f"{v / 1e6:.2f}"),
    Cost("mac_per_voxel", "kMAC per voxel", lambda v: f"{v / 1e3:.1f}"),
    Cost("peak_memory_bytes", "peak memory (MiB)", lambda v: f"{v / 2**20:.0f}"),
    Cost("voxels_per_second", "Mvoxel/s", lambda v: f"{v / 1e6:.3g}"),
    Cost("training_seconds", "training (min)", lambda v: f"{v / 60:.1f}"),
)

DIFFERENCE_HEADS = ("Δ clDice (points)", "Δ Dice (points)")
_NOTHING = "–"
_MOST_NAMED = 3


def compared_with(
    contest: Contest, methods: Sequence[MethodResults], ours: MethodResults | None
) -> Differences:
    """Return ours minus each method, corrected for the number of methods, each score apart."""
    if ours is None:
        return {}
    found = {
        m.name: difference
        for m in methods
        if m.name != ours.name and (difference := contest.difference(ours.name, m.name)) is not None
    }
    return corrected_scores(found)


def corrected_scores(
    differences: Mapping[_Key, Mapping[PooledScore, Difference]],
) -> dict[_Key, dict[PooledScore, Difference]]:
    """Return differences corrected for their number, each score apart."""
    adjusted = {
        score: corrected([difference[score] for difference in differences.values()])
        for score in POOLED
    }
    return {
        key: {score: adjusted[score][place] for score in POOLED}
        for place, key in enumerate(differences)
    }


def name_cells(contest: Contest, method: MethodResults) -> list[str]:
    """Return the name, and how many of the seeds have a result."""
    if method.deterministic:
        return [title(method.name), _NOTHING]
    count = len(method.seeds)
    whole = count == len(contest.seeds)
    return [title(method.name), f"{count}" if whole else f"{count} of {len(contest.seeds)}"]


def score_cells(method: MethodResults, scores: Sequence[Score]) -> list[str]:
    """Return mean ± standard deviation over seeds of each score."""
    return [spread_text(method.spread(score.key), score) for score in scores]


def spread_text(found: Spread | None, score: Score, *, deviation: bool = True) -> str:
    """Return a mean, with its deviation over seeds if there is one and it is asked for."""
    if found is None:
        return _NOTHING
    if not math.isfinite(found.mean):
        return "∞"
    text = f"{found.mean:.{score.decimals}f}"
    if found.sd is None or not deviation:
        return text
    return f"{text} ± {found.sd:.{score.decimals}f}"


def cost_cells(method: MethodResults, costs: Sequence[Cost] = COSTS) -> list[str]:
    """Return each cost, the mean over seeds and volumes."""
    means = [(cost, method.mean_of(cost.of)) for cost in costs]
    return [_NOTHING if mean is None else cost.shown(mean) for cost, mean in means]


def difference_cells(differences: Mapping[PooledScore, Difference] | None) -> list[str]:
    """Return difference and interval in clDice and in Dice; a star where it is significant."""
    if differences is None:
        return ["", ""]
    return [_difference_text(differences[score]) for score in ("cldice", "dice")]


def legend(
    differences: Mapping[_Key, Mapping[PooledScore, Difference]], other: str = "the method"
) -> str:
    """Say what Δ and a star mean; nothing where nothing is compared."""
    if not differences:
        return ""
    one = next(iter(differences.values()))["cldice"]
    drawn = "volumes and their sub-blocks" if one.volumes > 1 else "sub-blocks"
    many = counted(one.comparisons, "comparison")
    return (
        f"Δ: {title(OURS)} minus {other}, in points, with its {100 * one.level:g} % interval, "
        f"from a paired bootstrap over {drawn} and the spread between seeds; * significant after "
        f"Holm's correction for {many}."
    )


def identity(contest: Contest, method: MethodResults) -> dict[str, Value]:
    """Return what names a row of numbers: method and data set, and its seeds."""
    return {
        "comparison": contest.comparison,
        "dataset": contest.dataset,
        "method": method.name,
        "family": method.family,
        "seeds": " ".join(str(seed) for seed in method.seeds),
        "missing": "; ".join(missing_notes(method)),
    }


def numbers(
    contest: Contest,
    method: MethodResults,
    differences: Mapping[PooledScore, Difference] | None,
) -> dict[str, Value]:
    """Return all numbers of a row at full precision, by name, every score of its lines included."""
    row = identity(contest, method)
    for key in dict.fromkeys([*(s.key for s in SCORES), *method.score_names]):
        found = method.spread(key)
        row[f"{key}_mean"] = None if found is None else found.mean
        row[f"{key}_sd"] = None if found is None else found.sd
    for cost in COSTS:
        row[cost.key] = method.mean_of(cost.of)
    for name in POOLED:
        one = None if differences is None else differences[name]
        for key in ("value", "low", "high", "p_value", "p_corrected"):
            row[f"{name}_difference_{key}"] = None if one is None else getattr(one, key)
    return row


def missing_notes(method: MethodResults) -> list[str]:
    """Say which seeds have no result, and why."""
    by_reason: dict[str, list[str]] = {}
    for seed, reason in method.missing.items():
        by_reason.setdefault(reason, []).append("" if seed is None else str(seed))
    notes = []
    for reason, seeds in by_reason.items():
        named = [seed for seed in seeds if seed]
        which = f" seed{'s' if len(named) > 1 else ''} {', '.join(named)}" if named else ""
        notes.append(f"{title(method.name)}{which}: {reason}")
    return notes


def conditions(
    contest: Contest, methods: Sequence[MethodResults], datasets: Sequence[str] = ()
) -> str:
    """State volumes, sub-blocks, seeds, budget, choice of thresholds and machine.

    Parameters
    ----------
    contest, methods
        Whose conditions.
    datasets
        Names of the data sets that stand in one table, where they are several.
    """
    lines = [line for method in methods for line in method.lines]
    several = len(datasets) > 1
    named = f"Data sets {', '.join(datasets)}" if several else f"Data set {contest.dataset}"
    if not lines:
        return f"{named}: no method has a result on all volumes."
    parts = [
        f"{named}, {_count(contest.volumes, 'test volume')}{' of each' if several else ''}",
        _sub_blocks(contest, lines),
        f"mean ± standard deviation over {_count(contest.seeds, 'seed')}",
        budget_text(lines),
        _choice_text(lines),
        machine_text(lines),
    ]
    return "; ".join(part for part in parts if part) + "."


def budget_text(lines: Sequence[ResultLine]) -> str:
    """State the training budget, or that budgets differ and how."""
    budgets: dict[str, list[str]] = {}
    for line in lines:
        if line.budget is not None:
            kind, value = line.budget["kind"], float(line.budget["value"])
            text = f"{value:g} {'steps' if kind == 'steps' else 'seconds'} of training each"
            if (trials := line.budget.get("tuning_trials")) is not None:
                text += f" after {trials:g} tuning trials"
            budgets.setdefault(text, []).append(line.method)
    if not budgets:
        return "no training budget was noted"
    if len(budgets) == 1:
        return f"budget: {next(iter(budgets))}"
    by_method = (f"{text}: {', '.join(dict.fromkeys(names))}" for text, names in budgets.items())
    return f"budgets differ ({'; '.join(by_method)})"


def machine_text(lines: Sequence[ResultLine]) -> str:
    """Name the machines that the lines come from."""
    machines = dict.fromkeys(_machine(line.machine) for line in lines)
    several = "several machines, whose times do not compare: " if len(machines) > 1 else ""
    return f"{several}{'; '.join(machines)}"


def mark_best(rows: Sequence[Row], first: int, scores: Sequence[Score]) -> list[Row]:
    """Return the rows with the best mean of each score marked; equal as printed is equally best.

    Parameters
    ----------
    first
        Column of the first score.
    """
    best: list[set[int]] = [set() for _ in rows]
    for column, score in enumerate(scores, first):
        means = [row.values.get(f"{score.key}_mean") for row in rows]
        known = [float(m) for m in means if isinstance(m, float | int) and math.isfinite(m)]
        if not known:
            continue
        top = max(known) if score.higher_is_better else min(known)
        shown = f"{top:.{score.decimals}f}"
        for place, mean in enumerate(means):
            if mean is not None and f"{float(mean):.{score.decimals}f}" == shown:
                best[place].add(column)
    return [replace(row, best=frozenset(b)) for row, b in zip(rows, best, strict=True)]


def _difference_text(difference: Difference) -> str:
    star = "*" if difference.significant else ""
    return (
        f"{points(difference.value, signed=True)} ({points(difference.low)} to "
        f"{points(difference.high)}){star}"
    )


def _count(names: Sequence[str | int], what: str) -> str:
    if not names:
        return f"no {what}"
    many = counted(len(names), what)
    listed = ", ".join(str(name) for name in names)
    return many if len(names) > _MOST_NAMED else f"{many} ({listed})"


def _sub_blocks(contest: Contest, lines: Sequence[ResultLine]) -> str:
    found = {line.volume: line for line in lines}
    blocks = sum(len(line.counts) for line in found.values())
    edges = dict.fromkeys(
        "×".join(str(n) for n in line.blocks["edge_voxels"])
        for line in found.values()
        if line.blocks is not None
    )
    return f"{blocks} sub-blocks of {' or '.join(edges)} voxels"


def _choice_text(lines: Sequence[ResultLine]) -> str:
    """Say whether the volumes that choose thresholds are those that are scored."""
    noted = [line for line in lines if line.validation is not None]
    if len(noted) < len(lines):
        return "which volumes chose the thresholds was not noted"
    scored = {line.volume for line in lines}
    chose = dict.fromkeys(name for line in noted for name in line.validation or ())
    both = [name for name in chose if name in scored]
    if both:
        return f"the thresholds were chosen on {_chosen(both)} scored too, for every method alike"
    if not chose:
        return "no volume chose the thresholds"
    return f"the thresholds were chosen on {_chosen(list(chose))} not scored"


def _chosen(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"{names[0]}, which is"
    if len(names) > _MOST_NAMED:
        return f"{len(names)} volumes, which are"
    return f"{', '.join(names)}, which are"


def _machine(machine: Mapping[str, object]) -> str:
    processor = machine.get("cpu", "processor not noted")
    cores = machine.get("cores")
    gpus = machine.get("gpus")
    names = ", ".join(str(g) for g in gpus) if isinstance(gpus, list) and gpus else "no GPU"
    threads = machine.get("torch_threads")
    parts = [str(processor), f"{cores} cores" if cores is not None else "", names]
    parts.append(counted(threads, "thread") if isinstance(threads, int) else "")
    return ", ".join(part for part in parts if part)
