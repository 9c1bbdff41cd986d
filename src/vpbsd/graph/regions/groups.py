"""Groups of animals compared region by region: the animal is the unit, never the voxel or vessel.

::

    {"wild type": [table of animal 1, ...], "mutant": [...]} ──► one row a region, measure and group

The first group named is the reference; every other is compared with it. Corrections for the number
of tests are over all regions and groups of one measure. Regions that are the sum of others are
tested beside them, and count as tests of their own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vpbsd.errors import DataError
from vpbsd.graph.regions.group_statistics import (
    benjamini_hochberg,
    effect_size,
    holm,
    permutation_p,
    welch,
)
from vpbsd.graph.regions.tables import RegionRow

__all__ = ["MEASURES", "GroupComparison", "GroupDifference", "compare_groups"]

MEASURES = (
    "volume_mm3",
    "vessel_volume_fraction",
    "length_density_mm_per_mm3",
    "branch_points_per_mm3",
    "radius_mean_um",
    "radius_p10_um",
    "radius_p50_um",
    "radius_p90_um",
    "capillary_length_share",
    "extravascular_distance_mean_um",
    "extravascular_distance_p50_um",
    "extravascular_distance_p95_um",
    "anisotropy",
)
"""What is compared if nothing is said: densities and means, which do not grow with a region."""

RegionTable = Sequence[RegionRow]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupDifference:
    """One measure of one region in two groups.

    Attributes
    ----------
    region, name, measure
        What is compared.
    reference, group
        Names of the groups.
    reference_n, group_n
        Animals that have a value.
    reference_mean, reference_sd, group_mean, group_sd
        Over animals, n - 1 in the denominator; None where there are too few.
    difference, low, high
        Group minus reference, and Welch's interval.
    hedges_g, hedges_g_low, hedges_g_high
        Effect size and its interval.
    t, degrees, p_welch
        Of Welch's test.
    p_permutation
        Of the exact permutation test, where the groups are small enough.
    p_holm, p_benjamini_hochberg
        ``p_welch`` corrected over all tests of this measure.
    note
        Why there is no test; empty where there is one.
    """

    region: int
    name: str
    measure: str
    reference: str
    group: str
    reference_n: int
    group_n: int
    reference_mean: float | None
    reference_sd: float | None
    group_mean: float | None
    group_sd: float | None
    difference: float | None
    low: float | None = None
    high: float | None = None
    hedges_g: float | None = None
    hedges_g_low: float | None = None
    hedges_g_high: float | None = None
    t: float | None = None
    degrees: float | None = None
    p_welch: float | None = None
    p_permutation: float | None = None
    p_holm: float | None = None
    p_benjamini_hochberg: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class GroupComparison:
    """All differences, and what the reader must know of them.

    Attributes
    ----------
    rows
        By measure, then region, then group.
    level
        Of the intervals.
    tests
        Number of tests by measure: what p was corrected for.
    notes
        Sentences: groups without tests, regions that some animals lack.
    """

    rows: list[GroupDifference]
    level: float
    tests: Mapping[str, int]
    notes: list[str]


def compare_groups(
    tables_by_animal: Mapping[str, Sequence[RegionTable]],
    measures: Sequence[str] | None = None,
    level: float = 0.95,
) -> GroupComparison:
    """Compare groups of animals with the first one.

    Parameters
    ----------
    tables_by_animal
        One region table an animal, by group.
    measures
        Columns to compare; by default those of ``MEASURES`` that the tables have.
    level
        Of the intervals.

    Raises
    ------
    DataError
        If there are fewer than two groups, a group is empty, a measure is in no table, a table
        has a region twice, or a region has two names.
    """
    if not 0.5 <= level < 1:
        raise DataError(f"intervals hold in a share of cases from 0.5 to below 1, got {level}")
    animals = {group: [_by_region(t) for t in ts] for group, ts in tables_by_animal.items()}
    if len(animals) < 2 or not all(animals.values()):
        raise DataError(
            "a comparison needs at least two groups with one table an animal in each, got "
            f"{ {group: len(tables) for group, tables in animals.items()} }"
        )
    chosen = _measures(animals, measures)
    names = _names(animals)
    reference, *others = animals
    rows: list[GroupDifference] = []
    tests: dict[str, int] = {}
    for measure in chosen:
        found = [
            _difference(
                (region, name, measure),
                (reference, _values(animals[reference], region, measure)),
                (group, _values(animals[group], region, measure)),
                level,
            )
            for region, name in names.items()
            for group in others
        ]
        rows += _corrected(found)
        tests[measure] = sum(row.p_welch is not None for row in found)
    return GroupComparison(rows, level, tests, _notes(animals, names))


def _by_region(table: RegionTable) -> dict[int, RegionRow]:
    found: dict[int, RegionRow] = {}
    for row in table:
        region = int(row["region"])
        if region in found:
            raise DataError(f"a region table has region {region} twice; keep one of its rows")
        found[region] = row
    return found


_Animals = Mapping[str, Sequence[Mapping[int, RegionRow]]]


def _measures(animals: _Animals, measures: Sequence[str] | None) -> list[str]:
    columns = {c for tables in animals.values() for t in tables for row in t.values() for c in row}
    if measures is None:
        return [m for m in MEASURES if m in columns]
    unknown = [m for m in measures if m not in columns]
    if unknown:
        raise DataError(
            f"no region table has the column {', '.join(unknown)}; there are "
            f"{', '.join(sorted(columns - {'region', 'name', 'is_sum'}))}"
        )
    return list(measures)


def _names(animals: _Animals) -> dict[int, str]:
    """Return every region of any animal, by number, with its name."""
    names: dict[int, str] = {}
    for tables in animals.values():
        for table in tables:
            for region, row in table.items():
                name = str(row["name"])
                if names.setdefault(region, name) != name:
                    raise DataError(
                        f"region {region} is '{names[region]}' in one table and '{name}' in "
                        "another: the tables are not of the same regions"
                    )
    return dict(sorted(names.items()))


def _values(
    tables: Sequence[Mapping[int, RegionRow]], region: int, measure: str
) -> NDArray[np.float64]:
    """Return the measure of each animal that has it."""
    found = [table[region].get(measure) for table in tables if region in table]
    return np.asarray([v for v in found if v is not None and math.isfinite(v)], np.float64)


def _difference(
    what: tuple[int, str, str],
    first: tuple[str, NDArray[np.float64]],
    second: tuple[str, NDArray[np.float64]],
    level: float,
) -> GroupDifference:
    (reference, a), (group, b) = first, second
    means = [float(v.mean()) if len(v) else None for v in (a, b)]
    spreads = [float(v.std(ddof=1)) if len(v) > 1 else None for v in (a, b)]
    row = GroupDifference(
        region=what[0],
        name=what[1],
        measure=what[2],
        reference=reference,
        group=group,
        reference_n=len(a),
        group_n=len(b),
        reference_mean=means[0],
        reference_sd=spreads[0],
        group_mean=means[1],
        group_sd=spreads[1],
        difference=None if means[0] is None or means[1] is None else means[1] - means[0],
    )
    if min(len(a), len(b)) < 2:
        return replace(row, note="fewer than two animals in a group: no test")
    test, effect = welch(a, b, level), effect_size(a, b, level)
    if test is None or effect is None:
        return replace(row, note="no spread between animals: no test")
    return replace(
        row,
        low=test.low,
        high=test.high,
        hedges_g=effect.g,
        hedges_g_low=effect.low,
        hedges_g_high=effect.high,
        t=test.t,
        degrees=test.degrees,
        p_welch=test.p,
        p_permutation=permutation_p(a, b),
    )


def _corrected(rows: Sequence[GroupDifference]) -> list[GroupDifference]:
    """Return the rows of one measure with p corrected for their number."""
    tested = [row.p_welch for row in rows if row.p_welch is not None]
    adjusted = iter(zip(holm(tested), benjamini_hochberg(tested), strict=True))
    found = []
    for row in rows:
        if row.p_welch is not None:
            by_holm, by_share = next(adjusted)
            row = replace(row, p_holm=by_holm, p_benjamini_hochberg=by_share)
        found.append(row)
    return found


def _notes(animals: _Animals, names: Mapping[int, str]) -> list[str]:
    notes = []
    for group, tables in animals.items():
        if len(tables) < 2:
            notes.append(
                f"group '{group}' has one animal: its numbers are shown without spread or test"
            )
    for region, name in names.items():
        lacking = [
            f"{sum(region not in t for t in tables)} of {len(tables)} in '{group}'"
            for group, tables in animals.items()
            if any(region not in t for t in tables)
        ]
        if lacking:
            notes.append(
                f"region '{name}' ({region}) is missing in {' and '.join(lacking)}; the animals "
                "that have it are compared"
            )
    return notes
