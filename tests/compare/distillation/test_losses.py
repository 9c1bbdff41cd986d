"""Each method's own loss: worked out by hand in a small case, 0 where student and teacher agree."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vpbsd.compare.distillation.attention_transfer import attention_transfer_loss
from vpbsd.compare.distillation.cwd import channel_wise_loss
from vpbsd.compare.distillation.fitnets import hint_loss
from vpbsd.compare.distillation.guided import teacher_logits
from vpbsd.compare.distillation.logits import logit_distillation_loss
from vpbsd.compare.distillation.rkd import angle_loss, distance_loss


def grid(*channels: list[float]) -> Tensor:
    """Return (1, C, 1, 1, n) from one list a channel."""
    return torch.tensor(channels)[None, :, None, None]


# ------------------------------------------------------------------------------------------ logits


def test_soft_targets_by_hand() -> None:
    # logit(0.8) = ln 4, over 2: q = 2/3, p = 1/2; 4 (2/3 ln 4/3 + 1/3 ln 2/3)
    found = logit_distillation_loss(grid([0.0]), grid([0.8]), 2.0).item()
    assert found == pytest.approx(0.226532, abs=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_equal_logits_cost_nothing_and_have_no_gradient(temperature: float) -> None:
    probability = grid([0.1, 0.5, 0.97])
    logits = probability.logit().requires_grad_()
    loss = logit_distillation_loss(logits, probability, temperature)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert logits.grad.abs().max().item() < 1e-6


def test_probabilities_at_the_ends_are_half_a_step_away() -> None:
    assert teacher_logits(torch.tensor([0.0, 0.5, 1.0])).tolist() == pytest.approx(
        [-6.232448, 0, 6.232448], abs=1e-4
    )


def test_one_class_of_two_is_what_a_softmax_would_give() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 1, 2, 3, 4), torch.randn(2, 1, 2, 3, 4)
    both = [torch.cat([torch.zeros_like(z), z], 1) / 3 for z in (student, teacher)]
    expected = torch.nn.functional.kl_div(
        both[0].log_softmax(1), both[1].softmax(1), reduction="none"
    ).sum(1)
    found = logit_distillation_loss(student, teacher.sigmoid(), 3.0)
    torch.testing.assert_close(found, 9 * expected.mean())


# ----------------------------------------------------------------------------------------- FitNets


def test_hint_by_hand() -> None:
    assert hint_loss(grid([1.0], [2.0]), grid([0.0], [0.0])).item() == 2.5
    assert hint_loss(grid([1.0], [2.0]), grid([1.0], [2.0])).item() == 0


# ------------------------------------------------------------------------------- attention transfer


def test_attention_by_hand() -> None:
    # Energies 9 and 16 against equal ones: unit vectors (0.490261, 0.871576) and (0.707107, ...).
    found = attention_transfer_loss(grid([3.0, 4.0]), grid([1.0, 0.0], [0.0, 1.0])).item()
    assert found == pytest.approx((0.216846**2 + 0.164469**2) / 2, abs=1e-6)


def test_energy_in_the_same_places_costs_nothing() -> None:
    encodings = grid([1.0, -2.0, 0.0], [1.0, 2.0, 0.0])
    # Half the energy everywhere, in one channel.
    assert attention_transfer_loss(grid([1.0, 2.0, 0.0]), encodings).item() == pytest.approx(
        0, abs=1e-12
    )
    assert attention_transfer_loss(encodings * 7, encodings).item() == pytest.approx(0, abs=1e-12)


def test_maps_are_compared_patch_by_patch() -> None:
    encodings = torch.cat([grid([1.0, 2.0]), grid([3.0, 1.0])])
    louder = encodings * torch.tensor([1.0, 100.0]).view(2, 1, 1, 1, 1)
    assert attention_transfer_loss(louder, encodings).item() == pytest.approx(0, abs=1e-12)


# --------------------------------------------------------------------------------------------- RKD

LINE = torch.tensor([[0.0], [1.0], [3.0]])
TRIANGLE = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, 0.75**0.5]])


def test_distances_by_hand() -> None:
    # 1, 2, 3 over their mean 2 against 1, 1, 1: halves of 0.25, 0 and 0.25.
    assert distance_loss(LINE, TRIANGLE).item() == pytest.approx(0.25 / 3, abs=1e-6)


def test_angles_by_hand() -> None:
    # Cosines 1, -1, 1 on a line, 0.5 in the triangle: 0.125, 1.5 - 0.5 (Huber) and 0.125.
    assert angle_loss(LINE, TRIANGLE).item() == pytest.approx(1.25 / 3, abs=1e-6)


def test_turning_and_scaling_changes_no_relation() -> None:
    torch.manual_seed(0)
    encodings = torch.randn(12, 5)
    turned = 3 * encodings @ torch.linalg.qr(torch.randn(5, 5)).Q + 2
    assert distance_loss(turned, encodings).item() == pytest.approx(0, abs=1e-9)
    assert angle_loss(turned, encodings).item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("loss", [distance_loss, angle_loss])
def test_equal_features_have_a_finite_gradient(loss: object) -> None:
    features = torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0], [0.0, 2.0]], requires_grad=True)
    value = loss(features, torch.randn(4, 3))  # type: ignore[operator]
    value.backward()
    assert features.grad.abs().max().item() < 10
    nothing = torch.zeros(3, 2, requires_grad=True)
    loss(nothing, TRIANGLE).backward()  # type: ignore[operator]
    assert torch.isfinite(nothing.grad).all()


# --------------------------------------------------------------------------------------------- CWD


def test_channel_distribution_by_hand() -> None:
    student, teacher = grid([0.0, 0.0]), grid([0.0, 1.0986123])
    # (1/4, 3/4) against (1/2, 1/2): 0.25 ln 0.5 + 0.75 ln 1.5
    assert channel_wise_loss(student, teacher, 1.0).item() == pytest.approx(0.130812, abs=1e-6)
    # At temperature 2 odds of sqrt(3): (0.366025, 0.633975); times 4
    assert channel_wise_loss(student, teacher, 2.0).item() == pytest.approx(0.145363, abs=1e-6)


def test_channels_are_averaged_and_their_levels_do_not_matter() -> None:
    teacher = grid([0.0, 1.0986123], [5.0, 5.0])
    assert channel_wise_loss(grid([0.0, 0.0], [1.0, 1.0]), teacher, 1.0).item() == pytest.approx(
        0.130812 / 2, abs=1e-6
    )
    assert channel_wise_loss(teacher - 9, teacher, 4.0).item() == pytest.approx(0, abs=1e-6)
