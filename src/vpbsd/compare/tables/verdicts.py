"""What the method promises, held against the numbers: met, not met, or not measured.

Each bar is checked at equal budget and with at least three seeds that both methods have; where
that is missing, the bar counts as not measured, never as met.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from vpbsd.compare.results.labels import REFERENCE, REFERENCE_PATCHES, LabelCurve
from vpbsd.compare.results.statistics import Difference
from vpbsd.compare.results.summary import OURS, Contest, MethodResults, title
from vpbsd.compare.tables.rows import compared_with
from vpbsd.compare.tables.sentences import counted, points, sentence

__all__ = ["PARTS", "Benchmarks", "Verdict", "verdicts", "verdicts_text"]

Outcome = Literal["met", "not met", "not measured"]

PARTS: Mapping[str, str] = {
    "no_pretraining": "pretraining",
    "no_codebook": "codebook",
    "no_distillation": "distillation",
    "no_pseudo_labels": "pseudo-labels",
    "no_recalibration": "recalibration",
    "no_mirrors": "mirrored looks",
    "labels_only_teacher": "self-teaching of the teacher",
    "homogeneous_teacher": "heterogeneity of the teacher",
}
"""Ablation -> the part that it switches off."""

_SEEDS = 3
_SPEED_RATIO = 20.0
_CLASSICAL_POINTS = 0.05
_MOST_PATCHES = 4
_INTERVALS = 2


@dataclass(frozen=True)
class Benchmarks:
    """Names of the data sets that the bars speak of."""

    simulated: str = "simulated"
    """(a), simulated light sheet with exact truth."""
    light_sheet: str = "lightsheet_few_shot"
    """(b), light sheet, few labels."""
    two_photon: str = "twophoton_few_shot"
    """(c), two-photon, few labels."""

    def letters(self) -> dict[str, str]:
        """Return letter -> name."""
        return {"a": self.simulated, "b": self.light_sheet, "c": self.two_photon}


@dataclass(frozen=True)
class Verdict:
    """One bar and what was found.

    Attributes
    ----------
    claim, bar
        What must be shown, and how much.
    outcome
        Whether it was.
    findings
        The numbers behind it.
    """

    claim: str
    bar: str
    outcome: Outcome
    findings: tuple[str, ...]


@dataclass(frozen=True)
class _Check:
    """One bar on one data set: its outcome, the sentence, and the difference if there is one."""

    outcome: Outcome
    finding: str
    difference: Difference | None = None


def verdicts(
    contests: Sequence[Contest],
    curves: Sequence[LabelCurve],
    benchmarks: Benchmarks | None = None,
) -> list[Verdict]:
    """Hold every bar against the numbers of one comparison."""
    letters = (benchmarks or Benchmarks()).letters()
    by_name = {contest.dataset: contest for contest in contests}
    found = {letter: by_name.get(name) for letter, name in letters.items()}
    return [
        _same_net(found, letters),
        _any_net(found, letters),
        _classical(found, letters),
        _parts(found, letters),
        _labels(curves, letters["a"]),
    ]


def verdicts_text(
    contests: Sequence[Contest],
    curves: Sequence[LabelCurve],
    benchmarks: Benchmarks | None = None,
) -> str:
    """Return the verdicts of one comparison as a page in Markdown."""
    letters = (benchmarks or Benchmarks()).letters()
    found = verdicts(contests, curves, benchmarks)
    named = ", ".join(f"({letter}) {name}" for letter, name in letters.items())
    lines = [
        f"# Verdicts: {contests[0].comparison}",
        "",
        f"Data sets: {named}. Every bar is for equal budget and at least {_SEEDS} seeds.",
        "",
        "| what must be shown | bar | verdict |",
        "|---|---|---|",
        *(f"| {v.claim} | {v.bar} | **{v.outcome}** |" for v in found),
    ]
    for verdict in found:
        lines += ["", f"## {verdict.claim}: {verdict.outcome}", "", f"Bar: {verdict.bar}.", ""]
        lines += [f"- {finding}" for finding in verdict.findings]
    return "\n".join(lines) + "\n"


# ------------------------------------------------------------------------------------ the five bars

Found = Mapping[str, Contest | None]


def _same_net(found: Found, letters: Mapping[str, str]) -> Verdict:
    def rivals(contest: Contest, ours: MethodResults) -> list[MethodResults]:
        deployed = {line.deployed for line in ours.lines}
        chosen = contest.of_family("semi", "distillation", "net")
        return [m for m in chosen if m.runs and {line.deployed for line in m.lines} == deployed]

    def check(letter: str, difference: Difference) -> Outcome:
        return "met" if difference.value > 0 else "not met"

    checks = _each(found, letters, rivals, check, "rival that deploys the same student net")
    outcome = _together(checks)
    clear = sum(c.difference is not None and c.difference.low > 0 for c in checks)
    findings = [c.finding for c in checks]
    if outcome == "met" and clear < _INTERVALS:
        outcome = "not met"
    findings.append(f"The interval lies above 0 on {clear} of {len(checks)} data sets.")
    return Verdict(
        "VpbSD student against the best rival that deploys the same student net",
        f"clDice higher on (a), (b), (c); interval excludes 0 on at least {_INTERVALS}",
        outcome,
        tuple(findings),
    )


def _any_net(found: Found, letters: Mapping[str, str]) -> Verdict:
    def rivals(contest: Contest, ours: MethodResults) -> list[MethodResults]:
        return [m for m in contest.of_family("net") if m.runs]

    def check(letter: str, difference: Difference) -> Outcome:
        above = difference.value > 0 if letter == "b" else difference.value >= 0
        return "met" if above else "not met"

    checks = _each(found, letters, rivals, check, "rival net")
    for letter, contest in found.items():
        if contest is not None and contest.ours is not None:
            best = _best(rivals(contest, contest.ours))
            if best is not None:
                checks.append(_speed(letter, contest.ours, best))
    return Verdict(
        "VpbSD student against the best rival net of any size trained on the same labels",
        f"clDice not below on any, above on (b); at ≥ {_SPEED_RATIO:g}× its voxels/s",
        _together(checks),
        tuple(c.finding for c in checks),
    )


def _classical(found: Found, letters: Mapping[str, str]) -> Verdict:
    def rivals(contest: Contest, ours: MethodResults) -> list[MethodResults]:
        return [m for m in contest.of_family("classical") if m.runs]

    def check(letter: str, difference: Difference) -> Outcome:
        far = difference.value >= _CLASSICAL_POINTS
        enough = far if letter in "ac" else difference.value > 0
        return "met" if enough else "not met"

    checks = _each(found, letters, rivals, check, "classical method")
    return Verdict(
        "VpbSD student against the best classical filter at its oracle setting",
        f"clDice above on all, ≥ {points(_CLASSICAL_POINTS)} points on (a) and (c)",
        _together(checks),
        tuple(c.finding for c in checks),
    )


def _parts(found: Found, letters: Mapping[str, str]) -> Verdict:
    findings: list[str] = []
    shown: set[str] = set()
    for letter, contest in found.items():
        ours = None if contest is None else contest.ours
        if contest is None or ours is None:
            findings.append(f"({letter}) {letters[letter]}: not measured.")
            continue
        ablations = [m for m in contest.of_family("ablation") if m.name in PARTS]
        for name, both in compared_with(contest, ablations, ours).items():
            difference, part = both["cldice"], PARTS[name]
            if len(difference.per_seed) < _SEEDS or not _equal_budget(ours, contest.methods[name]):
                common = counted(len(difference.per_seed), "seed")
                findings.append(
                    f"({letter}) {part}: {common} in common, or other budgets; not counted."
                )
                continue
            shown.add(name)
            told = sentence(difference, title(OURS), name)
            findings.append(f"({letter}) {part}: {_help(difference)}. {told}")
    absent = [part for name, part in PARTS.items() if name not in shown]
    if absent:
        findings.append(f"Not measured on any data set: {', '.join(absent)}.")
    return Verdict(
        "Each part of the method, switched off alone",
        "the loss is shown with its interval, and whether the part helps is said plainly",
        "not measured" if absent else "met",
        tuple(findings),
    )


def _help(difference: Difference) -> str:
    if not difference.significant:
        return "not shown to help"
    return "helps" if difference.value > 0 else "harms"


def _labels(curves: Sequence[LabelCurve], simulated: str) -> Verdict:
    bar = f"≤ {_MOST_PATCHES} patches"
    claim = (
        f"Labels needed to reach the {REFERENCE} student's score at {REFERENCE_PATCHES} patches "
        "on (a)"
    )
    # The curve's data sets bear names of their own; those on the truth of (a) come first.
    ranked = sorted(curves, key=lambda c: simulated not in [k.dataset for k in c.contests.values()])
    for curve in ranked:
        target = curve.target
        if target is None:
            continue
        few = [
            f"{title(method)} at {patches} patches has {spread.count} seeds"
            for method in (OURS, REFERENCE)
            for patches, spread in curve.spreads(method).items()
            if spread.count < _SEEDS
        ]
        scores = ", ".join(f"{p}: {s.mean:.3f}" for p, s in curve.spreads(OURS).items())
        finding = (
            f"{curve.name}: {REFERENCE} at {REFERENCE_PATCHES} patches has clDice {target:.3f}; "
            f"{title(OURS)} by patches: {scores}."
        )
        if few:
            return Verdict(claim, bar, "not measured", (finding, f"{'; '.join(few)}."))
        reached = curve.needed is not None and curve.needed <= _MOST_PATCHES
        needed = "none of those tried is enough" if curve.needed is None else f"{curve.needed}"
        return Verdict(claim, bar, "met" if reached else "not met", (finding, f"Needed: {needed}."))
    return Verdict(claim, bar, "not measured", ("No curve over labelled patches was measured.",))


# ------------------------------------------------------------------------------- what they rest on

Rivals = Callable[[Contest, MethodResults], list[MethodResults]]


def _each(
    found: Found,
    letters: Mapping[str, str],
    rivals: Rivals,
    check: Callable[[str, Difference], Outcome],
    what: str,
) -> list[_Check]:
    """Check ours against the best rival on every data set."""
    checks = []
    for letter, contest in found.items():
        place = f"({letter}) {letters[letter]}"
        ours = None if contest is None else contest.ours
        if contest is None or ours is None:
            checks.append(_Check("not measured", f"{place}: {title(OURS)} was not measured."))
            continue
        best = _best(rivals(contest, ours))
        if best is None:
            checks.append(_Check("not measured", f"{place}: no {what} was measured."))
            continue
        both = contest.difference(ours.name, best.name)
        if both is None or len(both["cldice"].per_seed) < _SEEDS:
            count = 0 if both is None else len(both["cldice"].per_seed)
            checks.append(
                _Check(
                    "not measured",
                    f"{place}: {counted(count, 'seed')} in common with {best.name}, "
                    f"{_SEEDS} are needed.",
                )
            )
            continue
        if not _equal_budget(ours, best):
            checks.append(_Check("not measured", f"{place}: the budget of {best.name} is another."))
            continue
        difference = both["cldice"]
        outcome = check(letter, difference)
        told = sentence(difference, title(OURS), best.name)
        by_mean = outcome == "met" and not difference.excludes_zero
        how = f"{outcome} by the means alone" if by_mean else outcome
        checks.append(_Check(outcome, f"{place}: {how}. {told}", difference))
    return checks


def _speed(letter: str, ours: MethodResults, rival: MethodResults) -> _Check:
    fast, slow = (m.mean_of(lambda line: line.voxels_per_second) for m in (ours, rival))
    if fast is None or not slow:
        return _Check("not measured", f"({letter}) voxels/s of {rival.name}: not measured.")
    machines = [
        {str([line.machine.get(k) for k in ("cpu", "cores", "gpus")]) for line in m.lines}
        for m in (ours, rival)
    ]
    if machines[0] != machines[1] or len(machines[0]) > 1:
        return _Check(
            "not measured", f"({letter}) voxels/s of {rival.name}: timed on another machine."
        )
    ratio = fast / slow
    outcome: Outcome = "met" if ratio >= _SPEED_RATIO else "not met"
    return _Check(
        outcome,
        f"({letter}) {outcome}: {ratio:.1f}× the voxels/s of {rival.name} ({fast / 1e6:.2g} "
        f"against {slow / 1e6:.2g} Mvoxel/s).",
    )


def _best(methods: Sequence[MethodResults]) -> MethodResults | None:
    scored = [(spread.mean, m) for m in methods if (spread := m.spread("cldice")) is not None]
    return max(scored, key=lambda pair: pair[0])[1] if scored else None


def _equal_budget(ours: MethodResults, rival: MethodResults) -> bool:
    """Whether both had the same budget; a method that is not trained needs none."""
    budgets = [
        {(str(b["kind"]), float(b["value"])) for line in m.lines if (b := line.budget) is not None}
        for m in (ours, rival)
    ]
    return rival.family == "classical" or budgets[0] == budgets[1]


def _together(checks: Sequence[_Check]) -> Outcome:
    outcomes = {check.outcome for check in checks}
    if "not met" in outcomes:
        return "not met"
    return "not measured" if "not measured" in outcomes or not outcomes else "met"
