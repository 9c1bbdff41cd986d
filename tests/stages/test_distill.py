"""The distillation objective: which terms there are, what they weigh, where gradients go."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from vpbsd.config import CodebookConfig, DistillConfig, StudentConfig, TeacherConfig
from vpbsd.models import Model, Student, Teacher
from vpbsd.stages.distill import DistillObjective, Guidance

STUDENT = StudentConfig(widths=(8, 16), downsampling=((2, 2, 2), (2, 2, 2)))
TEACHER = TeacherConfig(widths=(8, 8, 8, 8), heads=2, attention_blocks=1)


def objective(guided: bool = True, **settings: Any) -> DistillObjective:
    torch.manual_seed(0)
    guidance = None
    if guided:
        net = Teacher(TEACHER, CodebookConfig(size=8, dimension=4))
        net(torch.randn(2, 1, 16, 16, 16), "segment")
        guidance = Guidance(Model(net, "teacher", 0.3, {}, "fingerprint"), [], [])
    return DistillObjective(Student(STUDENT), DistillConfig(**settings), guidance)


def batch(guided: bool = True, ramp: float = 1.0) -> dict[str, Tensor]:
    torch.manual_seed(1)
    found = {
        "image": torch.randn(2, 1, 8, 8, 8),
        "label": (torch.rand(2, 1, 8, 8, 8) > 0.8).float(),
    }
    if guided:
        found |= {
            "unlabelled": torch.randn(1, 1, 8, 8, 8),
            "probability": torch.rand(1, 1, 8, 8, 8),
            "codes": torch.randint(8, (1, 2, 2, 2)),
            "encodings": torch.randn(1, 4, 2, 2, 2),
            "ramp": torch.tensor(ramp),
        }
    return found


@pytest.mark.parametrize("target", ["code_vectors", "code_assignments", "features"])
@pytest.mark.parametrize("ramp", [0.0, 0.25, 1.0])
def test_loss_is_the_weighted_sum(target: str, ramp: float) -> None:
    losses = objective(target=target, semi_weight=0.5, distill_weight=2.0)(batch(ramp=ramp))
    parts = {k: v.item() for k, v in losses.items()}
    assert set(parts) == {"loss", "seg", "semi", "dis"}
    expected = parts["seg"] + 0.5 * ramp * parts["semi"] + 2.0 * parts["dis"]
    assert parts["loss"] == pytest.approx(expected, rel=1e-5)
    assert all(v > 0 for v in parts.values())


def test_terms_that_are_switched_off_are_absent() -> None:
    assert set(objective(target="none")(batch())) == {"loss", "seg", "semi"}
    assert set(objective(semi_weight=0)(batch())) == {"loss", "seg", "dis"}
    alone = objective(guided=False, semi_weight=0, target="none")(batch(guided=False))
    assert set(alone) == {"loss", "seg"}
    assert alone["loss"].item() == alone["seg"].item()


def test_gradients_reach_every_parameter_and_no_teacher() -> None:
    net = objective()
    net(batch())["loss"].backward()
    without = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []
    assert {n.split(".")[0] for n, _ in net.named_parameters()} == {"student", "projection"}
    assert not net.table.requires_grad


@pytest.mark.parametrize(("target", "kept"), [("code_vectors", True), ("features", False)])
def test_codes_are_kept_with_the_training_state(target: str, kept: bool) -> None:
    assert ("table" in objective(target=target).state_dict()) == kept


def test_right_codes_cost_less_than_wrong_ones() -> None:
    net, shown = objective(target="code_assignments"), batch()
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(60):
        optimiser.zero_grad()
        net(shown)["dis"].backward()
        optimiser.step()
    right = net(shown)["dis"].item()
    wrong = net({**shown, "codes": (shown["codes"] + 1) % 8})["dis"].item()
    assert right < 0.5 < wrong
