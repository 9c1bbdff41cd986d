"""From a comparison to jobs: what is trained and scored, in which folder, and after what.

::

    OUT/DATASET/teacher/seed_N/          teacher    pretraining, fine-tuning, what it says (labels/)
    OUT/DATASET/METHOD/timing.json       timing     where the budget is in seconds: steps that fit
    OUT/DATASET/METHOD/seed_N/           train      the deployed net
                                         evaluate   masks/, results.jsonl

Each folder with a seed is an ordinary run. A teacher is trained once for all methods whose
settings of the first two stages are equal; other teachers lie in ``teacher_HASH``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from vpbsd.compare.methods import Method, choose_methods
from vpbsd.compare.runner.datasets import Dataset
from vpbsd.config import BudgetConfig, CompareConfig, RunConfig, change_settings, parse_config
from vpbsd.errors import ConfigError
from vpbsd.geometry import Triplet
from vpbsd.stages.run import stage_identity

__all__ = ["Job", "JobKind", "plan_jobs"]

JobKind = Literal["teacher", "timing", "train", "evaluate"]

_TEACHER_SECTIONS = ("teacher", "codebook", "pretrain", "finetune")


@dataclass(frozen=True, kw_only=True)
class Job:
    """One piece of work; may be sent to another process.

    Attributes
    ----------
    kind
        What is done.
    comparison, dataset
        Names.
    method
        The one that is trained or scored; of a teacher, the first that needs it.
    seed
        None where nothing depends on one.
    folder
        Where it leaves its traces.
    run
        Effective configuration of the run.
    teacher
        Folder of the teacher that is learnt from.
    labels
        Folder of what that teacher says; None where the run has it said for its own patches.
    timing
        Folder of the timing that gives the number of steps.
    needs
        Names of the jobs that come first.
    identity
        Everything that decides the result.
    budget, tuning_trials, edge_voxels
        As configured.
    """

    kind: JobKind
    comparison: str
    dataset: str
    method: Method
    seed: int | None
    folder: Path
    run: RunConfig
    teacher: Path | None = None
    labels: Path | None = None
    timing: Path | None = None
    needs: tuple[str, ...] = ()
    identity: Mapping[str, Any] = field(default_factory=dict)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    tuning_trials: int = 0
    edge_voxels: Triplet = (32, 32, 32)

    @property
    def name(self) -> str:
        """Names the job in messages."""
        where = "/".join(self.folder.parts[-2 if self.seed is None else -3 :])
        return f"{self.kind} {where}"


def plan_jobs(config: CompareConfig, datasets: Sequence[Dataset], out: Path) -> list[Job]:
    """Return all jobs, each after those that it needs; one seed after the other.

    Raises
    ------
    ConfigError
        If a method is not known or does not fit a data set.
    """
    timings: dict[str, dict[str, Job]] = {dataset.name: {} for dataset in datasets}
    jobs: dict[str, Job] = {}
    for seed in config.seeds:
        for dataset in datasets:
            planner = _Planner(config, dataset.of_seed(seed), seed, out, timings[dataset.name])
            for job in planner.jobs():
                jobs.setdefault(job.name, job)
    return list(jobs.values())


class _Planner:
    """The jobs of one seed on one data set."""

    def __init__(
        self,
        config: CompareConfig,
        dataset: Dataset,
        seed: int,
        out: Path,
        timings: dict[str, Job],
    ) -> None:
        self._config, self._dataset, self._seed = config, dataset, seed
        self._base = dataset.run.model_copy(update={"seed": seed})
        self._folder = out / dataset.name
        self._methods = choose_methods(dataset.methods or config.methods)
        self._timings = timings

    def jobs(self) -> Iterator[Job]:
        """Yield the jobs; the first one asked for, of any seed, is the one that is timed."""
        for method in self._methods:
            if method.how in ("classical", "oracle"):
                yield self._classical(method)
                continue
            run = self._run(method)
            teacher = None
            if _needs_teacher(method, run):
                teacher = self._teacher(method, run)
                yield teacher
            if method.how == "teacher" and teacher is not None:
                yield self._evaluation(replace(teacher, method=method))
                continue
            train = self._training(method, run, teacher)
            if self._config.budget.kind == "seconds":
                _require_steps(method)
                timing = self._timings.setdefault(method.name, _timing(train))
                yield timing
                needs = (*train.needs, timing.name)
                train = replace(train, timing=timing.folder, needs=needs)
            yield train
            yield self._evaluation(train)

    def _run(self, method: Method) -> RunConfig:
        changes = {**method.settings, "name": f"{self._dataset.name}/{method.name}"}
        budget = self._config.budget
        if budget.kind == "steps" and budget.value is not None:
            changes["distill.steps"] = int(budget.value)
        tree = change_settings(self._base.model_dump(mode="json"), changes)
        for key, factor in method.factors.items():
            section, name = key.split(".")
            tree[section][name] *= factor
        return parse_config(tree, source=f"method {method.name} on {self._dataset.name}")

    def _teacher(self, method: Method, run: RunConfig) -> Job:
        sections = {name: getattr(run, name) for name in _TEACHER_SECTIONS}
        # The last stage is that of the data set: whoever shares the teacher also shares what it
        # says, for patches of that shape.
        shared = self._base.model_copy(update=sections)
        identity = self._teacher_identity(shared)
        name = "teacher"
        if identity != self._teacher_identity(self._base):
            name = f"teacher_{_hash({**identity, 'seed': None})}"
        folder = self._folder / name / f"seed_{self._seed}"
        return self._job("teacher", method, self._seed, folder, shared, identity)

    def _teacher_identity(self, run: RunConfig) -> dict[str, Any]:
        identity = stage_identity(run, self._dataset.fingerprints, *_TEACHER_SECTIONS)
        return {**identity, "labels": _labels_of(run)}

    def _training(self, method: Method, run: RunConfig, teacher: Job | None) -> Job:
        identity = {
            "method": method.key or method.how,
            **stage_identity(run, self._dataset.fingerprints, "student", "distill"),
            "budget": self._config.budget.model_dump(mode="json"),
            "teacher": None if teacher is None else dict(teacher.identity),
        }
        folder = self._folder / method.name / f"seed_{self._seed}"
        train = self._job("train", method, self._seed, folder, run, identity)
        if teacher is None:
            return train
        same = _labels_of(run) == _labels_of(teacher.run)
        labels = teacher.folder / "labels" if same else None
        return replace(train, teacher=teacher.folder, labels=labels, needs=(teacher.name,))

    def _evaluation(self, trained: Job) -> Job:
        identity = {"trained": dict(trained.identity), **self._scored()}
        return replace(trained, kind="evaluate", needs=(trained.name,), identity=identity)

    def _classical(self, method: Method) -> Job:
        identity = {
            "method": f"{method.how} {method.key}",
            "settings": dict(method.settings),
            # An oracle sees nothing but what it is scored on.
            "data": self._dataset.fingerprints if method.how == "classical" else {},
            **self._scored(),
        }
        folder, seed = self._folder / method.name, None
        if method.how == "classical" and self._dataset.drawn is not None:
            # Tuned on the volumes that this seed has drawn.
            folder, seed = folder / f"seed_{self._seed}", self._seed
        return self._job("evaluate", method, seed, folder, self._base, identity)

    def _scored(self) -> dict[str, Any]:
        return {
            "scored_on": self._dataset.scored_on,
            "volumes": self._dataset.scored_fingerprints,
            "edge_voxels": list(self._dataset.edge_voxels),
        }

    def _job(
        self,
        kind: JobKind,
        method: Method,
        seed: int | None,
        folder: Path,
        run: RunConfig,
        identity: Mapping[str, Any],
    ) -> Job:
        return Job(
            kind=kind,
            comparison=self._config.name,
            dataset=self._dataset.name,
            method=method,
            seed=seed,
            folder=folder,
            run=run,
            # As it is read back from a file, to be compared with what another run has left.
            identity=json.loads(json.dumps(identity)),
            budget=self._config.budget,
            tuning_trials=self._config.tuning.trials,
            edge_voxels=self._dataset.edge_voxels,
        )


def _labels_of(run: RunConfig) -> dict[str, Any]:
    """Return how what a teacher says is cut and looked at."""
    return {"patch_voxels": list(run.distill.patch_voxels), "mirrors": run.distill.mirrors}


def _needs_teacher(method: Method, run: RunConfig) -> bool:
    if method.how == "stages":
        return run.distill.uses_teacher
    return method.how == "teacher" or method.family == "distillation"


def _require_steps(method: Method) -> None:
    """Refuse a method whose steps are not ours to time.

    Raises
    ------
    ConfigError
        If it is external.
    """
    if method.how == "external":
        raise ConfigError(
            f"method {method.name} is trained by a program of its own, for a number of steps: give "
            "the comparison a budget in steps (budget.kind), or leave the method out"
        )


def _timing(train: Job) -> Job:
    """Return the timing of a few steps of a training, which holds for the other seeds as well."""
    return replace(train, kind="timing", folder=train.folder.parent, seed=None)


def _hash(identity: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]
