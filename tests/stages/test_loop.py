"""The loop on a net of two numbers: schedule, resume, log, stop, collapse."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from vpbsd.config import StageConfig
from vpbsd.errors import CheckpointError, CollapseError, ConfigError
from vpbsd.stages import StopRequested, read_metrics
from vpbsd.stages.loop import StageResult, Validation, learning_rate, run_stage


class Line(nn.Module):
    """Fits y = a x + b, with dropout so that torch's random numbers matter."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(()))
        self.dropout = nn.Dropout(0.2)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        self.seen += len(batch["x"])
        loss = (self.dropout(self.a * batch["x"] + self.b) - batch["y"]).square().mean()
        return {"loss": loss, "seg": loss * 2}


class LineStage:
    """A stage that scores itself by a list, or by how close ``a`` has come."""

    name = "line"

    def __init__(
        self, scores: list[float] | None = None, identity: str = "same", **settings: Any
    ) -> None:
        torch.manual_seed(0)
        self.settings = StageConfig.model_validate(
            {
                **{"steps": 20, "validate_every": 4, "checkpoint_every": 5},
                **{"learning_rate": 0.1, **settings},
            }
        )
        self.objective = Line()
        self.identity = {"settings": {"which": identity}, "seed": 0}
        self.scores = scores
        self.kept: list[int] = []
        self.heeded: list[tuple[float, float]] = []
        self.validated: list[float] = []
        self.modes: list[bool] = []

    def batch(self, step: int, rank: int, ranks: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(step)
        x = torch.randn(8, generator=generator)
        return {"x": x, "y": 3 * x - 1}

    def validate(self) -> Validation:
        self.modes.append(self.objective.training)
        score = -abs(3 - self.objective.a.item()) if self.scores is None else self.scores.pop(0)
        self.validated.append(self.objective.a.item())
        return Validation(score, {"a": self.objective.a.item()}, threshold=len(self.validated) / 10)

    def heed(self, threshold: float) -> None:
        self.heeded.append((threshold, self.objective.a.item()))

    def keep(self, validation: Validation, step: int) -> None:
        self.kept.append(step)


@pytest.fixture
def fabric() -> Fabric:
    fabric = Fabric(accelerator="cpu", devices=1, precision="32-true")
    fabric.launch()
    return fabric


class Steps:
    """Records the loss of each step; sends this process a signal after one of them."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.losses: dict[int, float] = {}
        self.stop_at = stop_at

    def __call__(self, stage: str, step: int, steps: int, losses: Mapping[str, float]) -> None:
        assert 1 <= step <= steps
        self.losses[step] = losses["loss"]
        if step == self.stop_at:
            os.kill(os.getpid(), signal.SIGINT)


def run(
    stage: LineStage, folder: Path, fabric: Fabric, stop_at: int | None = None
) -> tuple[StageResult | None, dict[int, float]]:
    """Train, and stop after a step if told to; return the result and the losses by step."""
    steps = Steps(stop_at)
    if stop_at is None:
        return run_stage(stage, folder, fabric, steps), steps.losses
    with pytest.raises(StopRequested):
        run_stage(stage, folder, fabric, steps)
    return None, steps.losses


# ---------------------------------------------------------------------------------------- schedule


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 0.2),  # 10 steps of rise: 2/10, 4/10, ...
        (4, 1.0),
        (9, 2.0),
        (10, 2.0),
        (55, 2 * (0.01 + 0.99 * 0.5)),  # halfway down the cosine
        (100, 0.02),  # a hundredth
    ],
)
def test_learning_rate(step: int, expected: float) -> None:
    settings = StageConfig(steps=100, warmup_share=0.1, learning_rate=2.0)
    assert learning_rate(step, settings) == pytest.approx(expected)


def test_learning_rate_without_warmup_starts_at_the_top() -> None:
    settings = StageConfig(steps=10, warmup_share=0.0, learning_rate=1.0)
    assert learning_rate(0, settings) == 1.0
    assert [learning_rate(s, settings) for s in range(10)] == sorted(
        (learning_rate(s, settings) for s in range(10)), reverse=True
    )


def test_learning_rate_of_a_single_step() -> None:
    assert learning_rate(0, StageConfig(steps=1, learning_rate=1.0)) == 1.0


# ------------------------------------------------------------------------------------------ resume


@pytest.mark.parametrize("stops", [[1], [5], [7], [19], [4, 8, 12], [3, 4]])
def test_resumed_run_is_the_uninterrupted_run(
    tmp_path: Path, fabric: Fabric, stops: list[int]
) -> None:
    whole, parts = LineStage(), LineStage()
    result, losses = run(whole, tmp_path / "whole", fabric)
    seen: dict[int, float] = {}
    kept: list[int] = []
    for stop in [*stops, None]:
        parts = LineStage()
        resumed, some = run(parts, tmp_path / "parts", fabric, stop)
        assert not seen.keys() & some.keys(), "a step was trained twice"
        seen |= some
        kept += parts.kept
    assert seen == losses
    assert list(losses) == list(range(1, 21))
    for key, value in whole.objective.state_dict().items():
        assert torch.equal(value, parts.objective.state_dict()[key])
    assert result is not None
    assert resumed is not None
    assert (resumed.best_score, resumed.best_step) == (result.best_score, result.best_step)
    assert kept == whole.kept
    assert logged(tmp_path / "parts") == logged(tmp_path / "whole")


def logged(folder: Path) -> list[tuple[Any, ...]]:
    """Return what was logged, times left out."""
    records = read_metrics(folder / "metrics.jsonl")
    return [
        tuple(sorted((k, v) for k, v in r.items() if not k.endswith("seconds"))) for r in records
    ]


def test_killed_run_repeats_what_its_checkpoint_does_not_hold(
    tmp_path: Path, fabric: Fabric
) -> None:
    class Killed(BaseException):
        """Ends the run without any of its own clean-up, as kill -9 does."""

    def kill(stage: str, step: int, steps: int, losses: Mapping[str, float]) -> None:
        if step == 13:
            raise Killed

    with pytest.raises(Killed):
        run_stage(LineStage(), tmp_path / "run", fabric, kill)
    # A record was cut short in the middle of a line.
    log = tmp_path / "run" / "metrics.jsonl"
    log.write_text(log.read_text() + '{"step": 13, "kind": "tr')
    _, seen = run(LineStage(), tmp_path / "run", fabric)
    assert list(seen) == list(range(11, 21)), "the last checkpoint was at step 10"
    _, losses = run(LineStage(), tmp_path / "whole", fabric)
    assert seen == {k: v for k, v in losses.items() if k > 10}
    assert logged(tmp_path / "run") == logged(tmp_path / "whole")


def test_log_has_each_step_once(tmp_path: Path, fabric: Fabric) -> None:
    run(LineStage(), tmp_path, fabric, stop_at=11)
    run(LineStage(), tmp_path, fabric)
    records = read_metrics(tmp_path / "metrics.jsonl")
    train = [r["step"] for r in records if r["kind"] == "train"]
    validation = [r["step"] for r in records if r["kind"] == "validation"]
    assert train == [10, 20]
    assert validation == [4, 8, 12, 16, 20]
    first = records[0]
    assert {"score", "a", "seconds"} <= set(first)
    assert {"loss", "seg", "learning_rate", "gradient_norm", "step_seconds"} <= set(records[2])


def test_finished_stage_is_not_trained_again(tmp_path: Path, fabric: Fabric) -> None:
    first, _ = run(LineStage(), tmp_path, fabric)
    again, losses = run(LineStage(), tmp_path, fabric)
    assert first is not None
    assert again == replace(first, earlier_seconds=first.seconds)
    assert losses == {}


def test_best_step_is_kept(tmp_path: Path, fabric: Fabric) -> None:
    stage = LineStage(scores=[0.1, 0.5, 0.4, 0.5, 0.2])
    result, _ = run(stage, tmp_path, fabric)
    assert result is not None
    # The first of two equal scores stays.
    assert (result.best_score, result.best_step, stage.kept) == (0.5, 8, [4, 8])


def test_last_step_is_kept_where_asked_for(tmp_path: Path, fabric: Fabric) -> None:
    stage = LineStage(scores=[0.1, 0.5, 0.4, 0.5, 0.2], keep="last")
    result, _ = run(stage, tmp_path, fabric)
    assert result is not None
    assert (result.best_score, result.best_step) == (0.2, 20)
    assert stage.kept[-1] == 20


@pytest.mark.parametrize(("decay", "alike"), [(0.0, True), (0.98, False)])
def test_validation_sees_the_averaged_weights(
    tmp_path: Path, fabric: Fabric, decay: float, alike: bool
) -> None:
    class Watched(LineStage):
        seen = 0.0

        def keep(self, validation: Validation, step: int) -> None:
            self.seen = self.objective.a.item()

    stage = Watched(scores=[1.0] * 5, average_decay=decay, keep="last")
    run(stage, tmp_path, fabric)
    assert (stage.seen == stage.objective.a.item()) == alike
    # The average lags behind on the way from 0 up to 3.
    assert 0 < stage.seen <= stage.objective.a.item()


def test_validation_sees_the_net_in_evaluation_mode(tmp_path: Path, fabric: Fabric) -> None:
    stage = LineStage()
    run(stage, tmp_path, fabric)
    assert stage.modes == [False] * 5
    assert stage.objective.training


def test_the_last_step_is_validated_whatever_the_interval(tmp_path: Path, fabric: Fabric) -> None:
    stage = LineStage(scores=[0.3], steps=3, validate_every=1000, checkpoint_every=1000)
    result, _ = run(stage, tmp_path, fabric)
    assert result is not None
    assert (result.best_step, result.steps) == (3, 3)


def test_changed_settings_are_refused_by_name(tmp_path: Path, fabric: Fabric) -> None:
    run(LineStage(), tmp_path, fabric, stop_at=5)
    before = (tmp_path / "last.safetensors").read_bytes()
    with pytest.raises(CheckpointError, match=r"settings\.which: 'same' then, 'other' now"):
        run(LineStage(identity="other"), tmp_path, fabric)
    assert (tmp_path / "last.safetensors").read_bytes() == before


def test_damaged_checkpoint_is_refused(tmp_path: Path, fabric: Fabric) -> None:
    run(LineStage(), tmp_path, fabric, stop_at=5)
    file = tmp_path / "last.safetensors"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(CheckpointError, match="truncated or damaged"):
        run(LineStage(), tmp_path, fabric)


# ---------------------------------------------------------------------------------- stop, collapse


@pytest.fixture
def handlers() -> Iterator[None]:
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    yield
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.usefixtures("handlers")
def test_stop_says_where_it_stands(tmp_path: Path, fabric: Fabric) -> None:
    with pytest.raises(StopRequested, match="stopped line at step 7 of 20; the same command goes"):
        run_stage(LineStage(), tmp_path, fabric, Steps(stop_at=7))
    assert issubclass(StopRequested, KeyboardInterrupt)


@pytest.mark.usefixtures("handlers")
def test_second_interrupt_stops_at_once(tmp_path: Path, fabric: Fabric) -> None:
    def impatient(stage: str, step: int, steps: int, losses: Mapping[str, float]) -> None:
        if step == 7:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as caught:
        run_stage(LineStage(), tmp_path, fabric, impatient)
    assert not isinstance(caught.value, StopRequested)


@pytest.mark.usefixtures("handlers")
def test_interrupt_in_the_last_step_finishes(tmp_path: Path, fabric: Fabric) -> None:
    result = run_stage(LineStage(), tmp_path, fabric, Steps(stop_at=20))
    assert result.steps == 20


def test_training_in_another_thread_leaves_signals_alone(tmp_path: Path, fabric: Fabric) -> None:
    results: list[StageResult] = []
    thread = threading.Thread(
        target=lambda: results.append(run_stage(LineStage(), tmp_path, fabric))
    )
    thread.start()
    thread.join()
    assert [r.steps for r in results] == [20]


class Exploding(LineStage):
    def batch(self, step: int, rank: int, ranks: int) -> dict[str, Tensor]:
        batch = super().batch(step, rank, ranks)
        return batch if step < 7 else {**batch, "y": batch["y"] * float("inf")}


def test_infinite_loss_stops_before_it_reaches_the_weights(tmp_path: Path, fabric: Fabric) -> None:
    stage = Exploding()
    with pytest.raises(CollapseError, match=r"loss of line became (inf|nan) at step 7.*0\.1"):
        run(stage, tmp_path, fabric)
    assert all(torch.isfinite(p).all() for p in stage.objective.parameters())
    assert LineStage().settings.checkpoint_every == 5
    assert (tmp_path / "last.safetensors").exists(), "the checkpoint of step 5 is gone"


def test_an_error_while_drawing_a_batch_comes_out(tmp_path: Path, fabric: Fabric) -> None:
    class Broken(LineStage):
        def batch(self, step: int, rank: int, ranks: int) -> dict[str, Tensor]:
            if step == 3:
                raise OSError("the disk was pulled out")
            return super().batch(step, rank, ranks)

    with pytest.raises(OSError, match="pulled out"):
        run(Broken(), tmp_path, fabric)


def test_missing_log(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no training log"):
        read_metrics(tmp_path / "metrics.jsonl")


def test_thresholds_are_heeded_by_the_net_that_goes_on(tmp_path: Path, fabric: Fabric) -> None:
    stage = LineStage(average_decay=0.9)
    run_stage(stage, tmp_path, fabric)
    assert [threshold for threshold, _ in stage.heeded] == [0.1, 0.2, 0.3, 0.4, 0.5]
    # Averaged weights are validated, and gone again by then.
    assert all(a != b for a, (_, b) in zip(stage.validated, stage.heeded, strict=True))
    assert stage.heeded[-1][1] == stage.objective.a.item()
