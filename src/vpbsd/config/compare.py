"""A comparison: methods x seeds x data sets, under one budget."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, StringConstraints, model_validator

from vpbsd.config.data import SimulateConfig, Specimens
from vpbsd.config.recipes import flat_settings, read_tree, validated
from vpbsd.config.section import Section, Shape

__all__ = [
    "BudgetConfig",
    "CompareConfig",
    "DatasetConfig",
    "MethodConfig",
    "SimulatedDataConfig",
    "SimulatedPart",
    "TuningConfig",
    "load_comparison",
]

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$")]
"""Names a folder too."""

# What the folder of a comparison holds beside its data sets.
_RESERVED = ("data", "tables", "figures")
# The same for every method, or what they reach could not be compared.
_EQUAL_FOR_ALL = ("name", "seed", "data", "simulate", "machine", "distill.steps")


class BudgetConfig(Section):
    """What training may cost, equal for all methods."""

    kind: Literal["steps", "seconds"] = "steps"
    """``steps`` of the stage that trains the deployed net, or ``seconds`` of wall clock on one
    thread, a teacher's training included; these are turned into steps by timing a few."""
    value: PositiveFloat | None = None
    """How many; absent, the steps are those of the data set's recipe (``distill.steps``)."""

    @model_validator(mode="after")
    def _value_fits_kind(self) -> Self:
        if self.kind == "seconds" and self.value is None:
            raise ValueError("budget.kind seconds needs budget.value, the seconds of each method")
        if self.kind == "steps" and self.value is not None and self.value != int(self.value):
            raise ValueError(f"budget.value {self.value} steps is not a whole number")
        return self


class TuningConfig(Section):
    """How much was tried before the comparison; it is noted, not done."""

    trials: int = Field(default=0, ge=0)
    """Settings tried for each method, the same number for all; 0 = as published."""
    note: str = ""
    """On what data, and who chose."""


class SimulatedPart(Section):
    """The simulated volumes of one role."""

    count: PositiveInt
    shape_voxels: Shape | None = None
    """(z, y, x); absent, that of ``volumes``."""
    specimen_seed: Specimens | None = None
    """Tissues and microscopes of this role; absent, those of ``volumes``."""


class SimulatedDataConfig(Section):
    """Volumes with exact truth that anyone makes again from the seed."""

    folder: Name = "simulated"
    """Where they lie, below ``data``; data sets that name the same folder share its volumes."""
    seed: int = Field(default=0, ge=0)
    volumes: SimulateConfig = SimulateConfig()
    """Anatomy, optics and detector."""
    labelled: SimulatedPart = SimulatedPart(count=16, shape_voxels=(48, 64, 64))
    unlabelled: SimulatedPart = SimulatedPart(count=6)
    validation: SimulatedPart = SimulatedPart(count=1)
    test: SimulatedPart | None = SimulatedPart(count=3)
    """None: the validation volumes are scored, as when settings are tuned on them."""


class DatasetConfig(Section):
    """One data set: a run as the methods find it, and what they are scored on."""

    name: Name
    recipe: str | None = None
    """Recipe of the run that all methods start from: a name, or the path of a YAML file."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Changes to the recipe (without one, to the defaults), nested or with dotted keys."""
    simulated: SimulatedDataConfig | None = None
    """Volumes to simulate, in place of a ``data`` section."""
    labelled: PositiveInt | None = None
    """Learn from the first so many labelled volumes; absent = from all."""
    draw_labelled: bool = False
    """Each seed learns from ``labelled`` volumes drawn by itself, so that not one choice of them
    decides; a seed's few are among its many."""
    edge_voxels: Shape = (32, 32, 32)
    """(z, y, x) edge of the sub-blocks that intervals are bootstrapped over."""
    methods: tuple[MethodConfig, ...] = ()
    """In place of those of the comparison."""

    @model_validator(mode="before")
    @classmethod
    def _names_are_methods(cls, tree: Any) -> Any:
        return _with_methods(tree)

    @model_validator(mode="after")
    def _data_come_from_one_place(self) -> Self:
        if self.name in _RESERVED:
            raise ValueError(f"a data set cannot be called {self.name}: that folder is taken")
        changed = flat_settings(self.settings)
        if self.simulated and any(key == "data" or key.startswith("data.") for key in changed):
            raise ValueError(
                f"data set {self.name} is simulated and has a data section: leave out one of the "
                "two"
            )
        if self.draw_labelled and self.labelled is None:
            raise ValueError(f"data set {self.name} draws labelled volumes: set 'labelled' too")
        if "seed" in changed:
            raise ValueError(f"data set {self.name} sets a seed: list seeds in the comparison")
        return self


class MethodConfig(Section):
    """A method of the registry, or all of a family; a bare name will do."""

    name: Name
    label: Name | None = None
    """Another name in tables and folders, for the same method with other settings."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Changes to the data set's run for this method, nested or with dotted keys."""

    @model_validator(mode="after")
    def _same_conditions(self) -> Self:
        for key in flat_settings(self.settings):
            if any(key == equal or key.startswith(f"{equal}.") for equal in _EQUAL_FOR_ALL):
                raise ValueError(
                    f"method {self.name} sets {key}, which must be equal for all methods: set it "
                    "in the data set"
                )
        if self.label is not None and self.label.startswith("teacher"):
            raise ValueError(f"label {self.label}: names that begin with teacher are taken")
        return self


class CompareConfig(Section):
    """Methods x seeds x data sets, each an ordinary run."""

    name: Name
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = (0, 1, 2)
    datasets: tuple[DatasetConfig, ...]
    methods: tuple[MethodConfig, ...] = (MethodConfig(name="vpbsd"),)
    """Names of methods or families, or sections with a name and settings; a list among them stands
    for what is in it, so that lists can share one by a YAML alias."""
    budget: BudgetConfig = BudgetConfig()
    tuning: TuningConfig = TuningConfig()

    @model_validator(mode="before")
    @classmethod
    def _names_are_methods(cls, tree: Any) -> Any:
        return _with_methods(tree)

    @model_validator(mode="after")
    def _names_are_distinct(self) -> Self:
        if not self.seeds or not self.datasets:
            raise ValueError("a comparison needs at least one seed and one data set")
        _refuse_twins("seed", self.seeds)
        _refuse_twins("data set", [d.name for d in self.datasets])
        for methods in (self.methods, *(d.methods for d in self.datasets)):
            _refuse_twins("method", [m.label or m.name for m in methods])
        self._refuse_shared_folders()
        return self

    def _refuse_shared_folders(self) -> None:
        found: dict[str, SimulatedDataConfig] = {}
        for dataset in self.datasets:
            if dataset.simulated is None:
                continue
            first = found.setdefault(dataset.simulated.folder, dataset.simulated)
            if first != dataset.simulated:
                raise ValueError(
                    f"data set {dataset.name}: folder {first.folder} holds simulated volumes of "
                    "other settings; name another simulated.folder, or make the settings equal"
                )


def load_comparison(path: Path | str) -> CompareConfig:
    """Read a comparison from a YAML file.

    Raises
    ------
    ConfigError
        If the file is missing or not YAML, or a key or value is refused.
    """
    return validated(CompareConfig, read_tree(path), source=str(path))


def _with_methods(tree: Any) -> Any:
    """Let a bare name stand for a method without settings, and a list for what is in it."""
    if not isinstance(tree, dict) or not isinstance(tree.get("methods"), list | tuple):
        return tree
    methods = [{"name": m} if isinstance(m, str) else m for m in _flat(tree["methods"])]
    return {**tree, "methods": methods}


def _flat(methods: Iterable[Any]) -> Iterator[Any]:
    for method in methods:
        if isinstance(method, list | tuple):
            yield from _flat(method)
        else:
            yield method


def _refuse_twins(what: str, names: tuple[int, ...] | list[str]) -> None:
    twins = sorted({str(n) for n in names if list(names).count(n) > 1})
    if twins:
        raise ValueError(f"{what} {', '.join(twins)} is listed more than once")
