"""L_semi: calibrated to the teacher's threshold, weighted by its confidence."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vpbsd.losses.pseudo_label import calibrated, pseudo_label_loss


def volume(*values: float) -> torch.Tensor:
    return torch.tensor(values).view(1, 1, 1, 1, -1)


@pytest.mark.parametrize("threshold", [0.02, 0.1, 0.5, 0.95])
def test_threshold_becomes_one_half(threshold: float) -> None:
    assert float(calibrated(torch.tensor(threshold), threshold)) == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize(
    ("probability", "threshold", "expected"),
    [
        (0.8, 0.5, 0.8),  # nothing to shift
        (0.5, 0.2, 0.8),  # odds 1 over odds 1/4: 4 to 1
        (0.2, 0.8, 1 / 17),  # odds 1/4 over odds 4: 1 to 16
        (1.0, 0.5, 0.999),  # certainty is cut at 0.1 %
        (0.0, 0.5, 0.001),
    ],
)
def test_calibrated_by_hand(probability: float, threshold: float, expected: float) -> None:
    assert float(calibrated(torch.tensor(probability), threshold)) == pytest.approx(expected)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0.01, 0.99))
def test_calibration_keeps_order_and_range(a: float, b: float, threshold: float) -> None:
    low, high = sorted((a, b))
    q_low, q_high = calibrated(torch.tensor([low, high]), threshold).tolist()
    assert 0 < q_low <= q_high < 1


def test_value() -> None:
    # Teacher 0.75 and 0.125: labels 1, 0 with weights 0.5, 0.75.
    # Student undecided, p = 1/2: Dice = (2 * 0.5 * 0.5 + 16) / (0.625 + 0.5 + 16) = 16.5 / 17.125
    # BCE = 1.25 ln 2, over max(sum of weights 1.25, 1)
    loss = pseudo_label_loss(volume(0, 0), volume(0.75, 0.125))
    assert float(loss) == pytest.approx(1 - 16.5 / 17.125 + 0.6931472)


def test_value_of_soft_labels() -> None:
    # Teacher 0.8 and 0.2, student undecided, p = 1/2: the minima are 0.5 and 0.2,
    # Dice = (2 * 0.7 + 16) / (1 + 1 + 16) = 17.4 / 18, BCE = ln 2 for any target
    loss = pseudo_label_loss(volume(0, 0), volume(0.8, 0.2), "soft")
    assert float(loss) == pytest.approx(1 - 17.4 / 18 + 0.6931472)


def test_soft_labels_are_met_where_the_student_says_the_same() -> None:
    teacher = volume(0.9, 0.6, 0.3)
    losses = [
        float(pseudo_label_loss(torch.logit(teacher) + shift, teacher, "soft"))
        for shift in (-1.0, -0.1, 0.0, 0.1, 1.0)
    ]
    assert losses[2] == min(losses)


def test_undecided_teacher_teaches_nothing() -> None:
    logits = volume(-1.0, 2.0).requires_grad_()
    pseudo_label_loss(logits, calibrated(volume(0.3, 0.3), 0.3)).backward()
    assert logits.grad is not None
    assert logits.grad.abs().max() < 1e-5


def test_a_surer_teacher_pulls_harder() -> None:
    logits = volume(0.0, 0.0, 0.0, 0.0).requires_grad_()
    pseudo_label_loss(logits, volume(0.55, 0.9, 0.45, 0.1)).backward()
    assert logits.grad is not None
    weak, strong, weak_down, strong_down = logits.grad.flatten().tolist()
    assert strong < weak < 0 < weak_down < strong_down


def test_no_gradient_reaches_the_teacher() -> None:
    teacher = volume(0.9, 0.2).requires_grad_()
    logits = volume(0.1, 0.1).requires_grad_()
    loss = pseudo_label_loss(logits, teacher)
    loss.backward()
    assert teacher.grad is None
    assert logits.grad is not None
