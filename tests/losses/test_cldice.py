"""Soft clDice on tubes whose centreline is known, and the soft skeleton against MONAI's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vpbsd.losses.cldice import soft_cldice_loss, soft_skeleton

SHAPE = (7, 7, 8)


def mask(*boxes: tuple[slice, slice, slice]) -> Tensor:
    volume = torch.zeros(1, 1, *SHAPE)
    for box in boxes:
        volume[(0, 0, *box)] = 1
    return volume


def logits(volume: Tensor) -> Tensor:
    return 100 * (volume - 0.5)


ALL = slice(None)
AXIS = (slice(3, 4), slice(3, 4), ALL)  # one voxel wide, along x from border to border
TUBE = (slice(2, 5), slice(2, 5), ALL)
SIDE = (slice(0, 1), slice(0, 1), ALL)


@pytest.mark.parametrize(("box", "iterations"), [(AXIS, 0), (AXIS, 3), (TUBE, 1), (TUBE, 4)])
def test_a_tube_is_thinned_to_its_axis(box: tuple[slice, slice, slice], iterations: int) -> None:
    assert torch.equal(soft_skeleton(mask(box), iterations), mask(AXIS))


def test_a_tube_thicker_than_the_erosions_has_no_skeleton_yet() -> None:
    assert soft_skeleton(mask(TUBE), 0).sum() == 0


@pytest.mark.parametrize("iterations", [1, 3, 5])
def test_soft_values_are_thinned_as_monai_thins_them(iterations: int) -> None:
    from monai.losses.cldice import soft_skel

    torch.manual_seed(0)
    soft = torch.rand(2, 1, 9, 10, 11)
    torch.testing.assert_close(soft_skeleton(soft, iterations), soft_skel(soft, iterations))


@pytest.mark.parametrize(
    ("predicted", "expected"),
    [
        ((TUBE,), 0.0),
        # Nothing found: precision (0 + 1) / (0 + 1), sensitivity (0 + 1) / (8 + 1);
        # 1 - 2 (1/9) / (10/9)
        ((), 1 - 2 / 10),
        # Half of it: precision (4 + 1) / (4 + 1), sensitivity (4 + 1) / (8 + 1).
        (((slice(3, 4), slice(3, 4), slice(0, 4)),), 1 - 2 * (5 / 9) / (14 / 9)),
        # A line too many: precision (8 + 1) / (16 + 1), sensitivity 1.
        ((AXIS, SIDE), 1 - 2 * (9 / 17) / (26 / 17)),
    ],
    ids=["right", "nothing", "half", "one too many"],
)
def test_loss_by_hand(predicted: tuple[tuple[slice, slice, slice], ...], expected: float) -> None:
    loss = soft_cldice_loss(logits(mask(*predicted)), mask(TUBE))
    assert float(loss) == pytest.approx(expected, abs=1e-6)


def test_volumes_of_a_batch_count_alike() -> None:
    both = torch.cat([mask(TUBE), mask()])
    loss = soft_cldice_loss(logits(torch.cat([mask(TUBE), mask()])), both)
    assert float(loss) == pytest.approx(0, abs=1e-6)
    half = soft_cldice_loss(logits(torch.cat([mask(TUBE), mask(TUBE)])), both)
    # The second volume is empty, with a false line of 8: precision 1 / 9, sensitivity 1.
    assert float(half) == pytest.approx((1 - 2 * (1 / 9) / (10 / 9)) / 2, abs=1e-6)


def test_descending_closes_a_gap() -> None:
    gap = mask((slice(3, 4), slice(3, 4), slice(0, 3)), (slice(3, 4), slice(3, 4), slice(5, 8)))
    x = (4 * (gap - 0.5)).requires_grad_()
    soft_cldice_loss(x, mask(TUBE)).backward()
    assert x.grad is not None
    assert (x.grad[0, 0, 3, 3, 3:5] < 0).all()
    assert torch.isfinite(x.grad).all()


def test_half_precision_logits_are_summed_in_float32() -> None:
    exact = soft_cldice_loss(logits(mask(AXIS, SIDE)), mask(TUBE))
    assert soft_cldice_loss(logits(mask(AXIS, SIDE)).bfloat16(), mask(TUBE)) == exact
