"""Skeleton recall by hand."""

from __future__ import annotations

import pytest
import torch

from vpbsd.losses.skeleton_recall import skeleton_recall_loss


def volume(*values: float) -> torch.Tensor:
    return torch.tensor(values).view(1, 1, 1, 1, -1)


@pytest.mark.parametrize(
    ("logits", "tube", "expected"),
    [
        ((0, 0, 0, 0), (1, 1, 1, 0), 1 - (1.5 + 1) / (3 + 1)),  # p = 1/2 everywhere
        ((90, 90, 90, -90), (1, 1, 1, 0), 0.0),
        ((-90, -90, 90, 90), (1, 1, 1, 0), 1 - (1 + 1) / (3 + 1)),
        ((90, -90, 90, -90), (0, 0, 0, 0), 0.0),  # no vessel: nothing to miss
    ],
)
def test_loss(logits: tuple[float, ...], tube: tuple[float, ...], expected: float) -> None:
    loss = skeleton_recall_loss(volume(*logits), volume(*tube))
    assert float(loss) == pytest.approx(expected, abs=1e-6)


def test_volumes_of_a_batch_count_alike() -> None:
    logits = torch.cat([volume(90, 90, 90), volume(-90, -90, -90)])
    tube = torch.cat([volume(1, 1, 1), volume(1, 0, 0)])
    # Recalls (3 + 1) / (3 + 1) and (0 + 1) / (1 + 1).
    assert float(skeleton_recall_loss(logits, tube)) == pytest.approx((0 + 0.5) / 2)


def test_only_the_tube_gets_a_gradient() -> None:
    logits = volume(0, 0, 0, 0).float().requires_grad_()
    skeleton_recall_loss(logits, volume(1, 0, 1, 0)).backward()
    assert logits.grad is not None
    assert (logits.grad.flatten() < 0).tolist() == [True, False, True, False]
    assert logits.grad.flatten()[1] == 0
