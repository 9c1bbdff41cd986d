"""How many labels a method needs: data sets with the same truth and other numbers of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vpbsd.compare.results.lines import COUNTS
from vpbsd.compare.results.statistics import Spread
from vpbsd.compare.results.summary import OURS, Contest, MethodResults

__all__ = ["REFERENCE", "REFERENCE_PATCHES", "LabelCurve", "label_curves"]

REFERENCE = "supervised_only"
"""The same student on labels alone."""

REFERENCE_PATCHES = 16

Truth = tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True)
class LabelCurve:
    """Scores of methods by number of labelled patches, all on the same test volumes.

    Attributes
    ----------
    comparison
        Name.
    contests
        Number of labelled patches -> contest, fewest first.
    """

    comparison: str
    contests: Mapping[int, Contest]

    @property
    def name(self) -> str:
        """Names of the data sets, to tell curves apart."""
        return self.contests[min(self.contests)].dataset

    @property
    def methods(self) -> list[str]:
        """Methods with a result at two numbers of patches or more, ours first."""
        names = [m for c in self.contests.values() for m, found in c.methods.items() if found.runs]
        several = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        return sorted(several, key=lambda name: (name != OURS, name != REFERENCE))

    def results(self, method: str) -> dict[int, MethodResults]:
        """Return the results of a method by number of patches, where it has any."""
        return {
            patches: found
            for patches, contest in self.contests.items()
            if (found := contest.methods.get(method)) is not None and found.runs
        }

    def spreads(self, method: str, score: str = "cldice") -> dict[int, Spread]:
        """Return mean and standard deviation of a score by number of patches."""
        found = {p: m.spread(score) for p, m in self.results(method).items()}
        return {patches: spread for patches, spread in found.items() if spread is not None}

    @property
    def target(self) -> float | None:
        """Mean clDice of the supervised-only student at 16 patches; None if not measured."""
        found = self.spreads(REFERENCE).get(REFERENCE_PATCHES)
        return None if found is None else found.mean

    @property
    def needed(self) -> int | None:
        """Fewest patches, of those tried, with which ours reaches the target; None if none does."""
        if self.target is None:
            return None
        reached = [p for p, found in self.spreads(OURS).items() if found.mean >= self.target]
        return min(reached, default=None)


def label_curves(contests: Sequence[Contest]) -> list[LabelCurve]:
    """Find the data sets of each comparison that differ in the number of labelled patches alone.

    Data sets belong together if they are scored on the same truth, which is told by the centreline
    voxels in each sub-block. Where two have the same number of patches, the first counts.
    """
    groups: dict[tuple[str, Truth], dict[int, Contest]] = {}
    for contest in contests:
        patches = {line.labelled_patches for line in contest.lines}
        number = patches.pop() if len(patches) == 1 else None
        if number is not None:
            groups.setdefault((contest.comparison, _truth(contest)), {}).setdefault(number, contest)
    curves = (
        LabelCurve(comparison, dict(sorted(found.items())))
        for (comparison, _), found in groups.items()
        if len(found) > 1
    )
    return [curve for curve in curves if curve.methods]


def _truth(contest: Contest) -> Truth:
    column = COUNTS.index("line_true")
    found = {line.volume: tuple(line.counts[:, column].tolist()) for line in contest.lines}
    return tuple(sorted(found.items()))
