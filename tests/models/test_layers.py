"""Layers: gradients come from the data alone, on small grids and whatever lay in memory before."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from vpbsd.models.layers import SmallGridConv3d, with_safe_convolutions

GRADIENTS = """
import json
import torch
from vpbsd.models.layers import Conv3
torch.set_num_threads(1)
found = []
for depth in (1, 2, 3, 4):
    torch.manual_seed(0)
    conv = Conv3(16, 16)
    x = torch.randn(3, 16, depth, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        y = conv(x)
    y.float().square().sum().backward()
    found.append(conv.weight.grad.flatten()[:64].tolist())
print(json.dumps(found))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is filled by a setting of glibc")
def test_bf16_gradients_do_not_depend_on_what_memory_held() -> None:
    # glibc fills what it hands out with the complement of the byte: 0x7f7f is 3e38 in bf16.
    runs = [
        json.loads(
            subprocess.run(
                [sys.executable, "-c", GRADIENTS],
                env={**os.environ, "MALLOC_PERTURB_": fill},
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for fill in ("0", "128")
    ]
    assert runs[0] == runs[1]


def test_safe_convolutions_change_neither_result_nor_names() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv3d(2, 4, 3, padding=1, stride=(1, 2, 1)),
        nn.Sequential(nn.Conv3d(4, 4, (3, 1, 3), groups=2, bias=False, dilation=2)),
        nn.ConvTranspose3d(4, 1, 2),
    )
    x = torch.randn(1, 2, 9, 9, 9)
    before, keys = net(x), list(net.state_dict())
    weight = net[0].weight
    made = with_safe_convolutions(net)
    assert torch.equal(made(x), before)
    assert list(made.state_dict()) == keys
    assert net[0].weight is weight
    assert isinstance(net[0], SmallGridConv3d)
    assert isinstance(net[1][0], SmallGridConv3d)


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("depth", [2, 3, 4])
def test_gradients_in_bf16_are_those_of_fp32(kernel: int, depth: int) -> None:
    torch.manual_seed(0)
    net = with_safe_convolutions(nn.Sequential(nn.Conv3d(16, 16, kernel, padding=kernel // 2)))
    x = torch.randn(2, 16, depth, 8, 8)
    net(x).square().mean().backward()
    weight = net[0].weight
    assert isinstance(weight, Tensor)
    assert weight.grad is not None
    exact, weight.grad = weight.grad, None
    with torch.autocast("cpu", torch.bfloat16):
        y = net(x)
    y.float().square().mean().backward()
    assert weight.grad is not None
    assert (weight.grad - exact).abs().max() < 0.02 * exact.abs().max()
