"""VesSAP's net: what a cross-hair sees, and that nothing depends on how a volume is cut."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vpbsd.compare.deployed.predictor import NetPredictor
from vpbsd.compare.nets.vessap import CrossHairConv, VessapNet
from vpbsd.segment import predict_volume
from vpbsd.volumes import ArrayVolume


def test_cross_hair_is_the_sum_of_three_planes() -> None:
    # All weights 1: each voxel counts once per plane that holds it, the middle thrice.
    conv = CrossHairConv(1, 1, 3)
    with torch.no_grad():
        for p in conv.parameters():
            p.fill_(1.0)
    x = torch.zeros(1, 1, 5, 5, 5)
    x[0, 0, 2, 2, 2] = 1
    seen = conv(x)[0, 0] - 1  # less the bias
    assert seen[2, 2, 2] == 3
    assert seen[2, 2, 3] == 2  # beside it, in two of the planes
    assert seen[2, 3, 3] == 1  # in the yx plane alone
    assert seen[3, 3, 3] == 0  # in none
    assert seen.sum() == 27


def test_receptive_field_is_the_declared_halo() -> None:
    torch.manual_seed(0)
    net = VessapNet(1)
    x = torch.randn(1, 1, 19, 19, 19, requires_grad=True)
    net(x)[0, 0, 9, 9, 9].backward()
    assert x.grad is not None
    reached = torch.nonzero(x.grad[0, 0])
    assert reached.amin(0).tolist() == [9 - h for h in net.halo_voxels]
    assert reached.amax(0).tolist() == [9 + h for h in net.halo_voxels]


@pytest.mark.parametrize("block", [8, (16, 8, 5)])
def test_the_cut_does_not_show(block: int | tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    image = np.random.default_rng(0).normal(size=(17, 22, 25)).astype(np.float32)
    predictor = NetPredictor(VessapNet(1))
    assert predictor.block is None
    whole = predict_volume(ArrayVolume(image), predictor, block_voxels=32)
    cut = predict_volume(ArrayVolume(image), predictor, block_voxels=block)
    assert whole.std() > 0.01
    np.testing.assert_allclose(cut, whole, atol=1e-5)
