"""What trains: a teacher for all that need it, and each method through the one loop."""

from __future__ import annotations

import json
import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from vpbsd.compare.deployed.net import predictor_of, save_deployed
from vpbsd.compare.external import External
from vpbsd.compare.loop.rival import Rival
from vpbsd.compare.loop.stage import RivalData, RivalStage
from vpbsd.compare.runner.jobs import Job
from vpbsd.compare.runner.records import begin, finish, read_facts
from vpbsd.config import RunConfig, parse_config
from vpbsd.data.patches import UnlabelledPatches
from vpbsd.errors import ConfigError
from vpbsd.models import load_model
from vpbsd.provenance import write_json_atomic
from vpbsd.stages.distill import Guidance
from vpbsd.stages.loop import OnStep, Stage, Validation, run_stage
from vpbsd.stages.run import Run, distill_stage, finetune, guide, pretrain

__all__ = ["time_steps", "train_method", "train_teacher"]

logger = logging.getLogger(__name__)

_WARM_UP_STEPS, _TIMED_STEPS = 3, 8


def train_teacher(job: Job, on_step: OnStep) -> None:
    """Pretrain, fine-tune, and let the teacher say what it sees in every volume."""
    begin(job)
    run = Run(job.run, job.folder, on_step)
    seconds = pretrain(run).seconds if job.run.pretrain.enabled else 0.0
    result = finetune(run)
    began = time.monotonic()
    # Encodings cost little on the code grid, and whoever imitates them finds them here.
    guide(run, load_model(job.folder, "teacher"), keep_encodings=True)
    seconds += result.seconds + time.monotonic() - began
    finish(job, seconds=seconds, steps=result.steps, best_step=result.best_step)


def time_steps(job: Job, on_step: OnStep) -> None:
    """Time a few steps and note how many fit into the budget.

    Raises
    ------
    ConfigError
        If the teacher alone took more than the budget.
    """
    begin(job)
    spent = 0.0 if job.teacher is None else float(read_facts(job.teacher, "teacher")["seconds"])
    budget = float(job.budget.value or 0.0)
    if spent >= budget:
        raise ConfigError(
            f"the teacher took {spent:.0f} s, the budget of a method is {budget:.0f} s with its "
            "teacher: raise budget.value, or lower pretrain.steps and finetune.steps"
        )
    seconds = _seconds_per_step(job, on_step)
    steps = max(1, int((budget - spent) / seconds))
    finish(job, seconds_per_step=seconds, teacher_seconds=spent, steps=steps)


def train_method(job: Job, on_step: OnStep) -> None:
    """Train a method for as many steps as the budget allows, from where it stands."""
    begin(job)
    if job.method.how == "external":
        _train_external(job, on_step)
        return
    run = Run(_with_steps(job), job.folder, on_step)
    result = run.execute(make_stage(job, run))
    teacher = 0.0 if job.teacher is None else float(read_facts(job.teacher, "teacher")["seconds"])
    finish(
        job,
        steps=result.steps,
        best_step=result.best_step,
        seconds=result.seconds,
        teacher_seconds=teacher,
    )


def _train_external(job: Job, on_step: OnStep) -> None:
    """Let a program of its own train; the time of earlier runs that were stopped counts too."""
    method = cast(External, job.method.load())
    noted = job.folder / "seconds.json"
    before = json.loads(noted.read_text("utf-8")) if noted.exists() else 0.0
    began = time.monotonic()
    try:
        steps = method.train(Run(job.run, job.folder, on_step), on_step)
    finally:
        seconds = before + time.monotonic() - began
        write_json_atomic(noted, seconds)
    finish(job, steps=steps, best_step=steps, seconds=seconds)


def make_stage(job: Job, run: Run) -> Stage:
    """Return the stage that trains a method, before its first step.

    Raises
    ------
    ConfigError
        If a rival asks for a teacher that it was not given.
    """
    if job.method.how == "stages":
        return distill_stage(run, job.teacher, job.labels)
    return _rival_stage(job, run, cast(Rival, job.method.load()))


def _rival_stage(job: Job, run: Run, rival: Rival) -> RivalStage:
    guidance, upstream = None, "none"
    if job.teacher is not None:
        teacher = load_model(job.teacher, "teacher")
        guidance = guide(run, teacher, job.labels, keep_encodings=True)
        upstream = teacher.fingerprint
    # The same random numbers as our student starts from: where the net is the same, so are its
    # first weights.
    run.begin("distill")
    objective = rival.build(run.config, guidance)
    labelled = run.sampler(run.collection.labelled, "distill")
    unlabelled: UnlabelledPatches | Guidance | None = None
    if objective.needs == "teacher":
        if guidance is None:
            raise ConfigError(
                f"method {rival.name} learns from a teacher, but its family {job.method.family} "
                "has none: list it under distillation"
            )
        unlabelled = guidance
    elif objective.needs == "unlabelled":
        patch = run.config.distill.patch_voxels
        unlabelled = UnlabelledPatches(run.images, patch, labelled.seed)

    def save(validation: Validation, step: int) -> None:
        scores = dict(validation.metrics)
        about = {"stage": "rival", "method": rival.name, "step": step, "scores": scores}
        save_deployed(run, job.method, objective.deployed, validation.threshold, about)

    return RivalStage(
        objective,
        RivalData(labelled, unlabelled, run.validation),
        run.config.distill,
        run.identity("student", "distill", method=rival.name, teacher=upstream),
        predictor=lambda: predictor_of(objective.deployed, run),
        save=save,
    )


def _with_steps(job: Job) -> RunConfig:
    if job.timing is None:
        return job.run
    return _changed_distill(job.run, steps=read_facts(job.timing, "timing")["steps"])


def _changed_distill(config: RunConfig, **changes: Any) -> RunConfig:
    tree = config.model_dump(mode="json")
    tree["distill"].update(changes)
    return parse_config(tree)


class _TimedEnoughError(Exception):
    """Leaves the loop once enough steps were timed."""


@dataclass
class _Clock:
    """Notes when steps end."""

    on_step: OnStep
    ends: list[float]

    def __call__(self, stage: str, step: int, steps: int, losses: Mapping[str, float]) -> None:
        self.ends.append(time.monotonic())
        self.on_step("timing", step, steps, losses)
        if len(self.ends) > _WARM_UP_STEPS + _TIMED_STEPS:
            raise _TimedEnoughError


def _seconds_per_step(job: Job, on_step: OnStep) -> float:
    """Return the median time of a step in the loop itself, batches included."""
    never = _WARM_UP_STEPS + _TIMED_STEPS + 2
    config = _changed_distill(job.run, steps=never, validate_every=never, checkpoint_every=never)
    clock = _Clock(on_step, [])
    with tempfile.TemporaryDirectory(dir=job.folder, prefix=".timing.") as folder:
        run = Run(config, Path(folder))
        stage = make_stage(job, run)
        _run_until_timed(stage, run, clock)
    between = [b - a for a, b in zip(clock.ends, clock.ends[1:], strict=False)]
    return statistics.median(between[_WARM_UP_STEPS:])


def _run_until_timed(stage: Stage, run: Run, clock: Callable[..., None]) -> None:
    try:
        run_stage(stage, run.folder, run.fabric, clock)
    except _TimedEnoughError:
        return
    raise AssertionError("the loop ended before enough steps were timed")
