"""The only training loop: steps, schedule, precision, validation, checkpoints, resume.

A stage hands in an objective (a module whose ``forward`` returns the losses of a batch), its
batches as a pure function of the step, and a validation. What is shared stands here once.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from vpbsd.config import StageConfig
from vpbsd.errors import CollapseError, ConfigError
from vpbsd.stages.average import WeightAverage
from vpbsd.stages.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from vpbsd.stages.interrupt import StopRequested, stop_on_signal

__all__ = [
    "CHECKPOINT",
    "OnStep",
    "Stage",
    "StageResult",
    "Validation",
    "learning_rate",
    "read_metrics",
    "run_stage",
]

logger = logging.getLogger(__name__)

_LOG_EVERY = 10
CHECKPOINT = "last.safetensors"
"""Name of the file, in the folder of a stage, that it goes on from."""


@dataclass(frozen=True)
class Validation:
    """What validation found.

    Attributes
    ----------
    score
        Higher is better; the best step is kept.
    metrics
        Numbers for the log, by name.
    threshold
        Probability above which a voxel is vessel; 0.5 where nothing is segmented.
    """

    score: float
    metrics: Mapping[str, float]
    threshold: float = 0.5


class Stage(Protocol):
    """What differs between pretraining, fine-tuning and distillation."""

    name: str

    @property
    def settings(self) -> StageConfig:
        """Steps, batches and the optimiser."""

    @property
    def objective(self) -> nn.Module:
        """Maps a batch to its losses, ``loss`` the sum to descend."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """Everything that decides the result; a checkpoint with another identity is refused."""

    def batch(self, step: int, rank: int, ranks: int) -> Any:
        """Return the batch of ``step``: tensors in a dictionary."""

    def validate(self) -> Validation:
        """Score the objective's net as it is, on whole volumes."""

    def heed(self, threshold: float) -> None:
        """Let the threshold that validation found change how training goes on; on every rank."""

    def keep(self, validation: Validation, step: int) -> None:
        """Save the net as the best so far."""


@dataclass(frozen=True)
class StageResult:
    """Outcome of a stage.

    Attributes
    ----------
    best_score, best_step
        Of the net that was kept.
    steps
        Steps trained.
    seconds, earlier_seconds
        Wall-clock time of all sessions together, and of those before this one.
    """

    best_score: float
    best_step: int
    steps: int
    seconds: float
    earlier_seconds: float


OnStep = Callable[[str, int, int, Mapping[str, float]], None]
"""Told the stage, the step just finished, the number of steps, and the losses."""


def learning_rate(step: int, settings: StageConfig) -> float:
    """Return the rate of ``step``: a linear rise, then a cosine down to a hundredth."""
    warmup = max(1, round(settings.steps * settings.warmup_share))
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, settings.steps - warmup)
    return settings.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


def run_stage(
    stage: Stage, folder: Path, fabric: Fabric, on_step: OnStep | None = None
) -> StageResult:
    """Train ``stage`` in ``folder``, from its last checkpoint if there is one.

    Raises
    ------
    CollapseError
        If the loss is no longer finite, or validation finds a degenerate net.
    CheckpointError
        If the folder holds a checkpoint of other settings, or a damaged one.
    StopRequested
        After Ctrl-C or SIGTERM, once the step is finished and saved.
    """
    optimiser = torch.optim.AdamW(
        [p for p in stage.objective.parameters() if p.requires_grad],
        lr=stage.settings.learning_rate,
        weight_decay=stage.settings.weight_decay,
    )
    average = WeightAverage(stage.objective, stage.settings.average_decay)
    state = load_checkpoint(
        folder / CHECKPOINT, stage.objective, optimiser, average, stage.identity
    )
    log = _MetricsLog(folder / "metrics.jsonl", state.step, active=fabric.is_global_zero)
    earlier = state.seconds
    if state.step >= stage.settings.steps:
        return _result(state, earlier)
    module, optimiser = fabric.setup(stage.objective, optimiser)
    average.to(fabric.device)
    trainer = _Trainer(stage, fabric, module, optimiser, average, log)
    module.train()
    with stop_on_signal() as stop, ThreadPoolExecutor(1) as ahead:
        pending = ahead.submit(stage.batch, state.step, fabric.global_rank, fabric.world_size)
        began = time.monotonic() - earlier
        for step in range(state.step, stage.settings.steps):
            batch, following = pending.result(), step + 1
            if following < stage.settings.steps:
                pending = ahead.submit(
                    stage.batch, following, fabric.global_rank, fabric.world_size
                )
            losses = trainer.step(batch, step)
            if on_step is not None and fabric.is_global_zero:
                on_step(stage.name, following, stage.settings.steps, losses)
            last = following == stage.settings.steps
            if last or following % stage.settings.validate_every == 0:
                state = trainer.validate(state, following)
            due = last or following % stage.settings.checkpoint_every == 0
            if due or stop.requested:
                state = state.at(following, time.monotonic() - began)
                fabric.barrier()
                if fabric.is_global_zero:
                    trainer.save(folder / CHECKPOINT, state)
            if stop.requested and not last:
                raise StopRequested(stage.name, following, stage.settings.steps)
    return _result(state, earlier)


def _result(state: Checkpoint, earlier: float) -> StageResult:
    return StageResult(state.best_score, state.best_step, state.step, state.seconds, earlier)


@dataclass
class _Trainer:
    """One step and one validation, bound to what they work on."""

    stage: Stage
    fabric: Fabric
    module: Any
    optimiser: Any
    average: WeightAverage
    log: _MetricsLog

    def step(self, batch: dict[str, Tensor], step: int) -> dict[str, float]:
        settings = self.stage.settings
        rate = learning_rate(step, settings)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        began = time.monotonic()
        batch = {k: self.fabric.to_device(v) for k, v in batch.items()}
        losses: dict[str, Tensor] = self.module(batch)
        self.fabric.backward(losses["loss"])
        norm = self.fabric.clip_gradients(
            self.module, self.optimiser, max_norm=settings.gradient_clip, error_if_nonfinite=False
        )
        numbers = {k: float(v.detach()) for k, v in losses.items()}
        if not math.isfinite(numbers["loss"]):
            raise CollapseError(
                f"the loss of {self.stage.name} became {numbers['loss']} at step {step}: lower "
                f"{self.stage.name}.learning_rate (now {settings.learning_rate:g}), or set "
                "machine.precision to fp32"
            )
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.average.update(step + 1)
        if (step + 1) % _LOG_EVERY == 0 or step + 1 == settings.steps:
            timing = {
                "learning_rate": rate,
                "gradient_norm": float(norm) if norm is not None else float("nan"),
                "step_seconds": time.monotonic() - began,
            }
            self.log.write(step + 1, "train", {**numbers, **timing})
        return numbers

    def validate(self, state: Checkpoint, step: int) -> Checkpoint:
        began = time.monotonic()
        if not self.fabric.is_global_zero:
            self.stage.heed(self.fabric.broadcast(0.5))
            return state
        # Validation is cheap against training and draws random numbers on no account: one rank
        # does it, the others wait.
        self.stage.objective.eval()
        with self.average.in_place():
            result = self.stage.validate()
            if result.score > state.best_score or self.stage.settings.keep == "last":
                self.stage.keep(result, step)
                state = state.with_best(result.score, step)
        self.stage.objective.train()
        # Not before, since the averaged weights take the place of all state.
        self.stage.heed(self.fabric.broadcast(result.threshold))
        seconds = time.monotonic() - began
        self.log.write(
            step, "validation", {"score": result.score, **result.metrics, "seconds": seconds}
        )
        return state

    def save(self, path: Path, state: Checkpoint) -> None:
        stage = self.stage
        save_checkpoint(path, stage.objective, self.optimiser, self.average, stage.identity, state)


class _MetricsLog:
    """JSON lines; what lies beyond the checkpoint that a run goes on from is dropped."""

    def __init__(self, path: Path, step: int, *, active: bool) -> None:
        self._path, self._active = path, active
        if not active:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = []
        if path.exists():
            for line in path.read_text("utf-8").splitlines():
                # A killed process may leave half a line.
                with suppress(json.JSONDecodeError):
                    if json.loads(line)["step"] <= step:
                        kept.append(line + "\n")
        path.write_text("".join(kept), "utf-8")

    def write(self, step: int, kind: str, numbers: Mapping[str, float]) -> None:
        if self._active:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, "kind": kind, **numbers}) + "\n")


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the records of a ``metrics.jsonl``.

    Raises
    ------
    ConfigError
        If there is no such file.
    """
    if not path.exists():
        raise ConfigError(f"no training log at {path}: give the folder of a run")
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
