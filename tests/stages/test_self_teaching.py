"""A net's average as its own teacher: where its probabilities are cut."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from vpbsd.config import RunConfig
from vpbsd.stages.loop import read_metrics
from vpbsd.stages.run import Run, train
from vpbsd.stages.self_teaching import SelfTeacher


class Logits(nn.Module):
    """Says the image."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor) -> Tensor:
        return self.gain * images


PROBABILITY = torch.tensor([0.1, 0.25, 0.5, 0.8]).view(1, 1, 1, 1, 4)
IMAGE = torch.logit(PROBABILITY)


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        (0.5, [0.1, 0.25, 0.5, 0.8]),
        # Odds are divided by those of the threshold, 1/3: 1/3, 1, 3 and 12.
        (0.25, [0.25, 0.5, 0.75, 12 / 13]),
        # By those of 0.8, which are 4: 1/36, 1/12, 1/4 and 1.
        (0.8, [1 / 37, 1 / 13, 0.2, 0.5]),
    ],
)
def test_probabilities_are_shifted_to_the_threshold(
    threshold: float, expected: list[float]
) -> None:
    teacher = SelfTeacher(Logits())
    teacher.heed(threshold)
    assert teacher(IMAGE).flatten().tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("threshold", "kept"), [(0.005, 0.02), (0.999, 0.98), (0.9, 0.9)])
def test_thresholds_at_the_rim_are_trusted_no_further(threshold: float, kept: float) -> None:
    teacher = SelfTeacher(Logits())
    teacher.heed(threshold)
    assert teacher.threshold.item() == pytest.approx(kept)


def test_one_half_stays_where_it_is_not_recalibrated() -> None:
    teacher = SelfTeacher(Logits(), recalibrate=False)
    teacher.heed(0.9)
    assert torch.allclose(teacher(IMAGE), PROBABILITY, atol=1e-6)


def test_the_threshold_is_kept_and_no_step_moves_it() -> None:
    teacher = SelfTeacher(Logits())
    teacher.heed(0.25)
    net = Logits()
    with torch.no_grad():
        net.gain.fill_(3.0)
    teacher.follow(net)
    teacher.follow(net)
    assert teacher.threshold.item() == pytest.approx(0.25)
    other = SelfTeacher(Logits())
    other.load_state_dict(teacher.state_dict())
    assert other.threshold.item() == pytest.approx(0.25)


def test_a_run_cuts_at_the_threshold_of_its_last_validation(
    settings: Callable[..., RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[float] = []
    forward = SelfTeacher.forward

    def noted(self: SelfTeacher[nn.Module], images: Tensor) -> Tensor:
        used.append(round(float(self.threshold), 4))
        return forward(self, images)

    monkeypatch.setattr(SelfTeacher, "forward", noted)
    train(Run(settings(), tmp_path))
    # Six steps a stage, validated after the third and the last.
    expected = []
    for stage in ("finetune", "distill"):
        log = read_metrics(tmp_path / stage / "metrics.jsonl")
        (middle, _) = [r["threshold"] for r in log if r["kind"] == "validation"]
        assert middle != 0.5
        expected += [0.5] * 3 + [round(min(max(middle, 0.02), 0.98), 4)] * 3
    assert used == expected
