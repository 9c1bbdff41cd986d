"""Windows: mirrored padding, refusal."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vpbsd.compare.nets.windowed import Windowed, pad_mirrored
from vpbsd.errors import ConfigError


class Recorder(nn.Module):
    """Notes what it is shown, and gives the voxel's number back."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.shapes.append(tuple(x.shape))
        return x[:, :1]


def windowed(net: nn.Module, patch: tuple[int, int, int] = (6, 16, 16)) -> Windowed:
    return Windowed(net, channels=1, patch=patch, multiple=(4, 8, 8), bytes_per_voxel=100)


@pytest.mark.parametrize("shape", [(3, 4, 5), (3, 9, 5), (7, 9, 11), (12, 4, 23)])
def test_padding_is_numpys_symmetric(shape: tuple[int, int, int]) -> None:
    x = np.random.default_rng(0).normal(size=(2, 1, 3, 4, 5))
    after = [(0, n - m) for n, m in zip(shape, x.shape[2:], strict=True)]
    expected = np.pad(x, [(0, 0), (0, 0), *after], mode="symmetric")
    np.testing.assert_array_equal(pad_mirrored(torch.from_numpy(x), shape).numpy(), expected)


def test_net_sees_windows_alone_and_padding_is_cut_off() -> None:
    net = Recorder()
    whole = windowed(net)
    assert whole.window == (8, 16, 16)
    for shape in [(6, 16, 16), (2, 5, 16), (8, 16, 16)]:
        x = torch.randn(2, 1, *shape)
        assert torch.equal(whole(x), x)
    assert set(net.shapes) == {(2, 1, 8, 16, 16)}


def test_stacked_heads_are_cut_too() -> None:
    class Heads(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([x, -x], dim=1)

    x = torch.randn(1, 1, 6, 16, 12)
    assert torch.equal(windowed(Heads())(x), torch.stack([x, -x], dim=1))


def test_larger_input_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"windows of up to \(8, 16, 16\).*got \(8, 17, 16\)"):
        windowed(Recorder())(torch.zeros(1, 1, 8, 17, 16))


def test_blocks_with_their_halo_are_patches() -> None:
    net = windowed(Recorder(), (12, 80, 64))
    assert net.stride == (1, 1, 1)
    assert net.halo_voxels == (3, 20, 16)
    assert net.block_voxels == (6, 40, 32)


def test_memory_is_that_of_the_window() -> None:
    # 100 bytes a voxel of the window of 8 x 16 x 16, read for a patch of 6 x 16 x 16
    assert windowed(Recorder()).bytes_per_voxel == pytest.approx(100 * 8 / 6)
