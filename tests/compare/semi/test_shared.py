"""The moving average that teaches, the rise of the weight, hard labels."""

from __future__ import annotations

import pytest
import torch

from vpbsd.compare.semi.consistency import make_student, pseudo_label, ramp_up
from vpbsd.config import RunConfig, StudentConfig, parse_config
from vpbsd.errors import ConfigError
from vpbsd.models import Student
from vpbsd.models.ema import EmaTeacher

STUDENT = StudentConfig(widths=(8, 16), downsampling=((2, 2, 2), (2, 2, 2)))


def student(value: float | None = None) -> Student:
    """Return a student, with all weights and statistics of one value if given."""
    torch.manual_seed(0)
    net = Student(STUDENT)
    if value is not None:
        with torch.no_grad():
            for tensor in net.state_dict().values():
                tensor.fill_(value)
    return net


def values(teacher: EmaTeacher) -> set[float]:
    return {
        round(v, 6)
        for tensor in teacher.net.state_dict().values()
        if tensor.is_floating_point()
        for v in tensor.flatten().tolist()
    }


def test_teacher_is_the_plain_mean_at_first_and_exponential_later() -> None:
    teacher = EmaTeacher(student(0), decay=0.7)
    seen = []
    for value in (8.0, 4.0, 0.0, 0.0, 0.0):
        teacher.follow(student(value))
        seen.append(values(teacher))
    # 8, (8 + 4) / 2, (8 + 4 + 0) / 3, then 0.7 times the last: 1 - 1/4 would be more.
    assert seen == [{8.0}, {6.0}, {4.0}, {2.8}, {1.96}]
    assert teacher.updates.item() == 5


def test_running_statistics_are_averaged_and_counts_copied() -> None:
    teacher = EmaTeacher(student(0))
    for value in (2.0, 4.0):
        teacher.follow(student(value))
    state = teacher.net.state_dict()
    means = [v for k, v in state.items() if k.endswith("running_mean")]
    counts = [v.item() for k, v in state.items() if k.endswith("num_batches_tracked")]
    assert means
    assert all((m == 3).all() for m in means)
    assert set(counts) == {4}


def test_teacher_stays_in_evaluation_mode_and_has_no_gradient() -> None:
    net = student()
    teacher = EmaTeacher(net)
    teacher.train()
    assert not any(m.training for m in teacher.modules())
    assert not any(p.requires_grad for p in teacher.parameters())
    assert all(p.requires_grad for p in net.parameters())
    x = torch.randn(1, 1, 8, 8, 8, requires_grad=True)
    found = teacher(x)
    assert not found.requires_grad
    torch.testing.assert_close(found, net.eval()(x).sigmoid().detach())
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    teacher(torch.randn(2, 1, 8, 8, 8))
    assert all(torch.equal(v, before[k]) for k, v in teacher.state_dict().items())


def test_teacher_does_not_move_with_the_student_on_its_own() -> None:
    net = student()
    teacher = EmaTeacher(net)
    with torch.no_grad():
        net.down[0].weight.add_(1)
    assert not torch.equal(teacher.net.down[0].weight, net.down[0].weight)


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0.006738), (0.5, 0.286505), (1.0, 1.0)])
def test_weight_rises_from_nearly_nothing_to_one(share: float, expected: float) -> None:
    assert ramp_up(torch.tensor(share)).item() == pytest.approx(expected, abs=1e-6)


def test_hard_labels_carry_no_gradient() -> None:
    logits = torch.tensor([-2.0, -0.1, 0.0, 0.1, 9.0], requires_grad=True)
    decided = pseudo_label(logits)
    assert decided.tolist() == [0, 0, 0, 1, 1]
    assert not decided.requires_grad


def test_without_unlabelled_patches_there_is_nothing_to_agree_on() -> None:
    config: RunConfig = parse_config(
        {
            "distill": {"unlabelled_batch_size": 0, "semi_weight": 0, "simulated_share": 1},
            "finetune": {"simulated_share": 1},
        }
    )
    with pytest.raises(ConfigError, match=r"unlabelled_batch_size is 0.*set it to 1"):
        make_student(config)
