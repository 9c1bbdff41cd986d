"""L_seg against numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vpbsd.losses.segmentation import segmentation_loss, soft_dice_loss

LN2 = 0.6931472


def volume(*values: float) -> Tensor:
    return torch.tensor(values).view(1, 1, 1, 1, -1)


def test_undecided_net() -> None:
    # p = 1/2 on 4 voxels, 2 of them vessel; smoothing 16:
    # Dice = (2 * (1/2 + 1/2) + 16) / (2 + 2 + 16) = 18 / 20; BCE = ln 2
    loss = segmentation_loss(volume(0, 0, 0, 0), volume(1, 1, 0, 0))
    assert float(loss) == pytest.approx(0.1 + LN2)


def test_weights_count_voxels() -> None:
    # Weights 2, 0, 1, 0; p = 1/2; y = 1, 1, 0, 0
    # Dice = (2 * (2 * 1/2) + 16) / ((1 + 1/2) + 2 + 16) = 18 / 19.5; BCE = 3 ln 2 / 3
    loss = segmentation_loss(volume(0, 0, 0, 0), volume(1, 1, 0, 0), volume(2, 0, 1, 0))
    assert float(loss) == pytest.approx(1 - 18 / 19.5 + LN2)


def test_logits_become_probabilities() -> None:
    # logit ln 3 is p = 3/4: Dice = (2 * 3/4 + 16) / (3/4 + 1 + 16) = 17.5 / 17.75, BCE = -ln 3/4
    loss = segmentation_loss(volume(1.0986123), volume(1))
    assert float(loss) == pytest.approx(1 - 17.5 / 17.75 + 0.2876821)


def test_dice_is_taken_per_volume_of_the_batch() -> None:
    # First: 16 of 16 right, (2 * 16 + 16) / (16 + 16 + 16) = 1. Second: nothing in common,
    # 16 / (16 + 16 + 16) = 1/3. Taken together it would be (32 + 16) / (32 + 32 + 16) = 0.6.
    logits = torch.full((2, 1, 1, 1, 32), -60.0)
    target = torch.zeros(2, 1, 1, 1, 32)
    logits[:, ..., :16] = 60.0
    target[0, ..., :16] = 1
    target[1, ..., 16:] = 1
    bce = 60.0 * 32 / 64
    assert float(segmentation_loss(logits, target)) == pytest.approx((1 - 1 + 1 - 1 / 3) / 2 + bce)


@pytest.mark.parametrize("wrong", [0.0, 1.0])
def test_perfect_is_nought_and_worse_is_more(wrong: float) -> None:
    target = volume(1, 1, 0, 0)
    right = (2 * target - 1) * 50
    perfect = segmentation_loss(right, target)
    assert float(perfect) == pytest.approx(0.0, abs=1e-6)
    assert float(segmentation_loss(right, volume(wrong, wrong, wrong, wrong))) > 1.0


def test_empty_patch_is_finite_and_pulls_towards_background() -> None:
    logits = volume(0.0, 1.0, -1.0, 2.0).requires_grad_()
    loss = segmentation_loss(logits, volume(0, 0, 0, 0))
    loss.backward()
    assert torch.isfinite(loss)
    assert logits.grad is not None
    assert (logits.grad > 0).all()


def test_patch_without_weight_is_finite_and_teaches_nothing() -> None:
    logits = volume(0.0, 3.0).requires_grad_()
    loss = segmentation_loss(logits, volume(1, 0), volume(0, 0))
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad is not None
    assert logits.grad.abs().sum() == 0


def test_half_precision_logits_are_summed_in_float32() -> None:
    logits = torch.zeros(1, 1, 16, 64, 64, dtype=torch.bfloat16)
    target = torch.zeros(1, 1, 16, 64, 64)
    # Dice = 16 / (65536 / 2 + 16)
    assert float(segmentation_loss(logits, target)) == pytest.approx(1 - 16 / 32784 + LN2)


def test_soft_dice_alone() -> None:
    # As above without the cross-entropy: 1 - 18 / 20, and 1 - 18 / 19.5 with weights.
    logits, target = volume(0, 0, 0, 0), volume(1, 1, 0, 0)
    assert float(soft_dice_loss(logits, target)) == pytest.approx(0.1)
    found = soft_dice_loss(logits, target, volume(2, 0, 1, 0))
    assert float(found) == pytest.approx(1 - 18 / 19.5)
    assert float(soft_dice_loss(volume(-99, 99), volume(0, 1))) == pytest.approx(0, abs=1e-6)
