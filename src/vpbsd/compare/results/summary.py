"""Result lines put in order: comparison, data set, method, seed; what is missing is listed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vpbsd.compare.results.lines import COUNTS, Family, ResultLine
from vpbsd.compare.results.pooled import POOLED, PooledScore
from vpbsd.compare.results.seeds import SeedPrior, fit_prior
from vpbsd.compare.results.statistics import (
    Bootstrap,
    Difference,
    Spread,
    paired_difference,
    spread,
)
from vpbsd.errors import DataError

__all__ = ["OURS", "Contest", "MethodResults", "contests", "title"]

OURS = "vpbsd"
"""Name of the method that all others are compared with."""

Seed = int | None


@dataclass(frozen=True)
class MethodResults:
    """All results of one method on one data set.

    Attributes
    ----------
    name, family
        Of the method.
    runs
        Seed -> volume -> line, only seeds with a result on every volume.
    missing
        Seeds that other methods have, with the reason this one has not.
    """

    name: str
    family: Family
    runs: Mapping[Seed, Mapping[str, ResultLine]]
    missing: Mapping[Seed, str]

    @property
    def lines(self) -> list[ResultLine]:
        """Every line that counts, seed by seed."""
        return [line for run in self.runs.values() for line in run.values()]

    @property
    def deterministic(self) -> bool:
        """Whether the method draws no random numbers, so that it has one result for all seeds."""
        return None in self.runs

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds with a result, in order."""
        return tuple(sorted(seed for seed in self.runs if seed is not None))

    @property
    def trained(self) -> bool:
        """Whether chance in training is part of its scores; a tuned threshold has none."""
        return self.family != "classical"

    @property
    def score_names(self) -> list[str]:
        """Names of all scores that are numbers, in the order of the lines."""
        return list(
            dict.fromkeys(
                name
                for line in self.lines
                for name, score in line.scores.items()
                if isinstance(score, float | int)
            )
        )

    def spread(self, score: str, volume: str | None = None) -> Spread | None:
        """Return mean and standard deviation over seeds; None where a line lacks the score.

        The score of a seed is the mean over volumes, or that of one. A distance that is null in a
        line (its name ends in ``_um``) is infinite, and so is then the mean; any other null was not
        taken.
        """
        absent = math.inf if score.endswith("_um") else None
        values = []
        for run in self.runs.values():
            found = []
            for line in run.values() if volume is None else [run[volume]]:
                value = line.scores.get(score, "absent")
                number = absent if value is None else value
                if not isinstance(number, float | int):
                    return None
                found.append(float(number))
            values.append(math.fsum(found) / len(found))
        return spread(values) if values else None

    def mean_of(self, value: Callable[[ResultLine], float | None]) -> float | None:
        """Return the mean over lines of a number; None where no line has it."""
        found = [v for line in self.lines if (v := value(line)) is not None]
        return math.fsum(found) / len(found) if found else None

    def counts(self, volume: str, seeds: Sequence[Seed]) -> NDArray[np.int64]:
        """Return counts (seeds, sub-blocks, 7) on a volume; one seed for all if there is none."""
        chosen: Sequence[Seed] = [None] if self.deterministic else seeds
        return np.stack([self.runs[seed][volume].counts for seed in chosen])


@dataclass(frozen=True)
class Contest:
    """All methods on one data set, in one comparison.

    Attributes
    ----------
    comparison, dataset
        Names.
    volumes
        Test volumes, in order.
    seeds
        All seeds that any method was run with.
    methods
        By name: ours first, then family by family, the best clDice first.
    settings
        How intervals are drawn.
    """

    comparison: str
    dataset: str
    volumes: tuple[str, ...]
    seeds: tuple[int, ...]
    methods: Mapping[str, MethodResults]
    settings: Bootstrap = field(default_factory=Bootstrap)

    @property
    def ours(self) -> MethodResults | None:
        """The method that others are compared with, if it has a result."""
        found = self.methods.get(OURS)
        return found if found is not None and found.runs else None

    @cached_property
    def _differences(self) -> dict[tuple[str, str], dict[PooledScore, Difference] | None]:
        return {}

    @cached_property
    def _trained(self) -> dict[PooledScore, SeedPrior]:
        """What all methods that are trained tell of the spread between seeds.

        A tuned threshold is no training: all that seeds change of it is which patches it saw.
        """
        found: dict[PooledScore, SeedPrior] = {}
        trained = [m for m in self.methods.values() if m.trained]
        for score in POOLED:
            spreads = [s for m in trained if (s := m.spread(score)) is not None]
            several = [s for s in spreads if s.sd is not None]
            found[score] = fit_prior(
                [s.sd**2 for s in several if s.sd is not None], [s.count - 1 for s in several]
            )
        return found

    @property
    def lines(self) -> list[ResultLine]:
        """Every line that counts."""
        return [line for method in self.methods.values() for line in method.lines]

    def of_family(self, *families: Family) -> list[MethodResults]:
        """Return the methods of some families, in order."""
        return [m for m in self.methods.values() if m.family in families]

    def difference(self, first: str, second: str) -> dict[PooledScore, Difference] | None:
        """Return the first method minus the second on the seeds that both have; None if none.

        Raises
        ------
        DataError
            If they were not scored on the same truth.
        """
        if (first, second) not in self._differences:
            self._differences[first, second] = self._compared(
                self.methods[first], self.methods[second]
            )
        return self._differences[first, second]

    def _compared(
        self, first: MethodResults, second: MethodResults
    ) -> dict[PooledScore, Difference] | None:
        if first.deterministic or second.deterministic:
            seeds = first.seeds or second.seeds
            paired = bool(first.runs and second.runs)
        else:
            seeds = tuple(s for s in first.seeds if s in second.seeds)
            paired = bool(seeds)
        if not paired:
            return None
        for volume in self.volumes:
            _require_same_truth(first, second, volume)
        return paired_difference(
            [first.counts(volume, seeds) for volume in self.volumes],
            [second.counts(volume, seeds) for volume in self.volumes],
            self.settings,
            {score: (self._prior(first, score), self._prior(second, score)) for score in POOLED},
        )

    def _prior(self, method: MethodResults, score: PooledScore) -> SeedPrior:
        return self._trained[score] if method.trained else SeedPrior()


def contests(results: Sequence[ResultLine], settings: Bootstrap | None = None) -> list[Contest]:
    """Put result lines in order, one contest for each comparison and data set.

    Parameters
    ----------
    results
        In any order.
    settings
        How intervals are drawn.

    Raises
    ------
    DataError
        If a method has two families in one comparison.
    """
    keys = dict.fromkeys((line.comparison, line.dataset) for line in results)
    return [
        _contest([r for r in results if (r.comparison, r.dataset) == key], settings or Bootstrap())
        for key in keys
    ]


def title(method: str) -> str:
    """Return a method's name as tables write it."""
    return "VpbSD" if method == OURS else method


def _contest(lines: Sequence[ResultLine], settings: Bootstrap) -> Contest:
    volumes = tuple(sorted({line.volume for line in lines}))
    seeds = tuple(sorted({line.seed for line in lines if line.seed is not None}))
    methods = [
        _method([line for line in lines if line.method == name], volumes, seeds)
        for name in dict.fromkeys(line.method for line in lines)
    ]
    order = Family.__args__  # type: ignore[attr-defined]

    def rank(method: MethodResults) -> tuple[bool, int, float]:
        score = method.spread("cldice")
        return (
            method.name != OURS,
            order.index(method.family),
            -score.mean if score is not None else math.inf,
        )

    return Contest(
        comparison=lines[0].comparison,
        dataset=lines[0].dataset,
        volumes=volumes,
        seeds=seeds,
        methods={m.name: m for m in sorted(methods, key=rank)},
        settings=settings,
    )


def _method(
    lines: Sequence[ResultLine], volumes: Sequence[str], seeds: Sequence[int]
) -> MethodResults:
    families = sorted({line.family for line in lines})
    name = lines[0].method
    if len(families) > 1:
        raise DataError(
            f"{name} on {lines[0].dataset} is of the families {' and '.join(families)}: a method "
            "has one; give one of the two another name"
        )
    runs: dict[Seed, dict[str, ResultLine]] = {}
    for line in lines:
        runs.setdefault(line.seed, {})[line.volume] = line
    reasons = {seed: reason for seed, run in runs.items() if (reason := _fault(run, volumes))}
    whole = {seed: run for seed, run in runs.items() if seed not in reasons}
    if None not in runs:
        reasons |= {seed: "not run" for seed in seeds if seed not in runs}
    return MethodResults(name, families[0], whole, reasons)


def _fault(run: Mapping[str, ResultLine], volumes: Sequence[str]) -> str | None:
    for line in run.values():
        if line.failure is not None:
            return f"failed: {line.failure}"
    missing = [volume for volume in volumes if volume not in run]
    return f"no result on {', '.join(missing)}" if missing else None


def _require_same_truth(first: MethodResults, second: MethodResults, volume: str) -> None:
    """Refuse two methods whose counts were taken on different truths or sub-blocks."""
    a, b = (next(iter(m.runs.values()))[volume] for m in (first, second))
    true = [COUNTS.index(name) for name in ("true_positive", "false_negative")]
    line = COUNTS.index("line_true")
    same = (
        a.blocks is not None
        and b.blocks is not None
        and a.blocks["edge_voxels"] == b.blocks["edge_voxels"]
        and a.counts.shape == b.counts.shape
        and np.array_equal(a.counts[:, true].sum(axis=1), b.counts[:, true].sum(axis=1))
        and np.array_equal(a.counts[:, line], b.counts[:, line])
    )
    if not same:
        raise DataError(
            f"{first.name} and {second.name} were not scored on the same truth or the same "
            f"sub-blocks of {volume} ({a.dataset}): score both again"
        )
