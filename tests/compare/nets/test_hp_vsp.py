"""The net after HP-VSP's: three resolutions, and what each of them sees."""

from __future__ import annotations

import pytest
import torch

from vpbsd.compare.nets.hp_vsp import MultiResolutionNet

FACTORS = ((1, 2, 2), (2, 2, 2), (2, 2, 2))


@pytest.mark.parametrize("channels", [1, 3])
def test_branches_come_back_to_full_resolution(channels: int) -> None:
    net = MultiResolutionNet(channels, FACTORS).eval()
    x = torch.randn(1, channels, 8, 16, 24)
    shapes = {
        name: tuple(net.get_submodule(name)(x).shape) for name in ("fine", "middle", "coarse")
    }
    assert shapes == {
        "fine": (1, 32, 8, 16, 24),
        "middle": (1, 32, 8, 16, 24),
        "coarse": (1, 16, 8, 16, 24),
    }
    assert net(x).shape == (1, 1, 8, 16, 24)


def test_coarse_branches_see_cells_only() -> None:
    torch.manual_seed(0)
    net = MultiResolutionNet(1, FACTORS).eval()
    x = torch.randn(1, 1, 8, 16, 16)
    swapped = x.clone()
    swapped[..., 4:6] = x[..., [5, 4]]  # two voxels of one cell of 1 x 2 x 2, and of 2 x 4 x 4
    with torch.no_grad():
        for name, same in (("fine", False), ("middle", True), ("coarse", True)):
            branch = net.get_submodule(name)
            assert torch.allclose(branch(x), branch(swapped), atol=1e-5) == same, name


def test_gates_see_the_whole_window() -> None:
    torch.manual_seed(0)
    net = MultiResolutionNet(1, ((2, 2, 2),) * 3).eval()
    x = torch.randn(1, 1, 8, 8, 64, requires_grad=True)
    net(x)[0, 0, 4, 4, 0].backward()
    assert x.grad is not None
    assert x.grad[..., 63].abs().max() > 0
