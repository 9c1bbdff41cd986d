"""Training on labels alone: deep supervision's weights, what is added, when images are changed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vpbsd.compare.loop.supervised import SupervisedObjective
from vpbsd.losses.cldice import soft_cldice_loss
from vpbsd.losses.segmentation import segmentation_loss
from vpbsd.losses.skeleton_recall import skeleton_recall_loss

SHAPE = (2, 1, 6, 8, 8)


class Fixed(nn.Module):
    """Gives what it was told, and notes what it was shown."""

    def __init__(self, out: Tensor) -> None:
        super().__init__()
        self.out = out
        self.shown: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.shown = x
        return self.out


def batch() -> dict[str, Tensor]:
    torch.manual_seed(0)
    label = torch.zeros(SHAPE)
    label[:, :, 2:5, 2:5] = 1
    return {"image": torch.randn(SHAPE), "label": label}


@pytest.mark.parametrize(
    ("heads", "weights"), [(1, [1]), (2, [2 / 3, 1 / 3]), (3, [4 / 7, 2 / 7, 1 / 7])]
)
def test_heads_weigh_half_of_the_one_before(heads: int, weights: list[float]) -> None:
    shown = batch()
    logits = [torch.randn(SHAPE) * (i + 1) for i in range(heads)]
    losses = SupervisedObjective(Fixed(torch.stack(logits, dim=1)))(shown)
    each = [segmentation_loss(h, shown["label"]).item() for h in logits]
    expected = sum(w * e for w, e in zip(weights, each, strict=True))
    assert losses["loss"].item() == pytest.approx(expected, rel=1e-5)
    assert losses["seg"].item() == losses["loss"].item()


def test_cldice_takes_half_of_the_loss() -> None:
    shown, logits = batch(), torch.randn(SHAPE)
    losses = SupervisedObjective(Fixed(logits), topology="cldice")(shown)
    seg, line = segmentation_loss(logits, shown["label"]), soft_cldice_loss(logits, shown["label"])
    assert losses["cldice"].item() == pytest.approx(line.item())
    assert losses["loss"].item() == pytest.approx(0.5 * seg.item() + 0.5 * line.item())


def test_skeleton_recall_stands_beside_the_loss_of_the_finest_head() -> None:
    shown, logits = batch(), torch.randn(SHAPE)
    stacked = torch.stack([logits, torch.zeros(SHAPE)], dim=1)
    losses = SupervisedObjective(Fixed(stacked), topology="skeleton_recall")(shown)
    # The axis of a bar of 3 x 3 x 8 voxels ends one voxel before its faces: two steps from it reach
    # all of the bar but its eight corners.
    target = shown["label"].clone()
    for z in (2, 4):
        for y in (2, 4):
            target[:, :, z, y, [0, 7]] = 0
    line = skeleton_recall_loss(logits, target)
    assert losses["skeleton_recall"].item() == pytest.approx(line.item())
    assert losses["loss"].item() == pytest.approx(losses["seg"].item() + line.item())


def test_images_are_changed_in_training_alone() -> None:
    shown, net = batch(), Fixed(torch.zeros(SHAPE))
    objective = SupervisedObjective(net, augment=lambda image: image + 1)
    objective.train()(shown)
    assert net.shown is not None
    assert torch.equal(net.shown, shown["image"] + 1)
    objective.eval()(shown)
    assert torch.equal(net.shown, shown["image"])


def test_the_net_is_deployed() -> None:
    net = nn.Conv3d(1, 1, 1)
    objective = SupervisedObjective(net)
    assert objective.deployed is net
    assert objective.needs == "label"
