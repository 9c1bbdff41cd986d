"""The distillation objective: which terms there are, what they weigh, where gradients go."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from vpbsd.config import CodebookConfig, DistillConfig, StudentConfig, TeacherConfig
from vpbsd.losses.pseudo_label import calibrated, pseudo_label_loss
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
    net = objective(self_teaching=0.5)
    net(batch())["loss"].backward()
    learnt = {n: p for n, p in net.named_parameters() if p.requires_grad}
    assert [n for n, p in learnt.items() if p.grad is None or not p.grad.any()] == []
    assert {n.split(".")[0] for n in learnt} == {"student", "projection"}
    assert all(p.grad is None for p in net.average.parameters())
    assert not net.table.requires_grad


def test_without_self_teaching_pseudo_labels_are_the_teachers() -> None:
    net, seen = objective(self_teaching=0, semi_weight=1), batch()
    assert net.average is None
    logits = net.student(torch.cat([seen["image"], seen["unlabelled"]]))[2:]
    expected = pseudo_label_loss(logits, calibrated(seen["probability"], 0.3))
    assert net(seen)["semi"].item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(("ramp", "share"), [(0.0, 0.0), (0.5, 0.2), (1.0, 0.4)])
def test_the_students_average_takes_its_share_of_the_pseudo_labels(
    ramp: float, share: float
) -> None:
    net, seen = objective(self_teaching=0.4, semi_weight=1), batch(ramp=ramp)
    logits = net.student(torch.cat([seen["image"], seen["unlabelled"]]))[2:]
    # At the first step the average is a copy of the student, normalising by running statistics.
    own = net.student.eval()(seen["unlabelled"]).sigmoid().detach()
    mixed = (1 - share) * calibrated(seen["probability"], 0.3) + share * own
    again = objective(self_teaching=0.4, semi_weight=1)(seen)["semi"]
    assert again.item() == pytest.approx(pseudo_label_loss(logits, mixed).item(), rel=1e-5)


def test_the_average_follows_the_student() -> None:
    net = objective(self_teaching=0.5)
    net(batch())
    with torch.no_grad():
        for weight in net.student.parameters():
            weight += 1
    before = [p.clone() for p in net.average.parameters()]
    net(batch())
    # After the second of two steps the average is their mean.
    for old, new in zip(before, net.average.parameters(), strict=True):
        assert torch.allclose(new, old + 0.5)


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
