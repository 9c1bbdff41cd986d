"""Parameters and multiply-accumulates against a count by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vpbsd.config import CodebookConfig, StudentConfig, TeacherConfig
from vpbsd.errors import ConfigError
from vpbsd.models import Student, Teacher, cost
from vpbsd.models.cost import forward_without_numbers

# Two levels of 8 and 16 features, each half the edge of the one before; layer by layer, as
# (parameters, multiply-accumulates per voxel). A level-0 position stands for 8 voxels, a level-1
# position for 64.
SHARED = [
    (64 + 8, 64 / 8),  # down 1 -> 8, 2x2x2
    (1728 + 16, 1728 / 8),  # 8 -> 8, 3x3x3, batch norm; twice
    (1728 + 16, 1728 / 8),
    (1024 + 16, 1024 / 64),  # down 8 -> 16
    (6912 + 32, 6912 / 64),  # 16 -> 16
    (1024 + 8, 1024 / 64),  # up 16 -> 8
    (1728 + 16, 1728 / 8),  # 8 -> 8, twice
    (1728 + 16, 1728 / 8),
]
FAST = [(64 + 1, 64 / 8)]  # up 8 -> 1
FINE = [
    (512 + 8, 512 / 8),  # up 8 -> 8
    (216 + 8, 216),  # 1 -> 8 at full resolution
    (1728 + 16, 1728),  # 8 -> 8
    (8 + 1, 8),  # 8 -> 1
]


@pytest.mark.parametrize(
    ("preset", "layers", "parameters", "mac"),
    [("fast", SHARED + FAST, 16129, 1020.0), ("fine", SHARED + FINE, 18561, 3028.0)],
)
def test_two_level_student(
    preset: str, layers: list[tuple[int, float]], parameters: int, mac: float
) -> None:
    assert sum(p for p, _ in layers) == parameters
    assert sum(m for _, m in layers) == mac
    two = ((2, 2, 2), (2, 2, 2))
    found = cost(Student(StudentConfig(preset=preset, widths=(8, 16), downsampling=two)))
    assert found.parameters == parameters
    assert found.mac_per_voxel == pytest.approx(mac)


def teacher() -> Teacher:
    torch.manual_seed(0)
    config = TeacherConfig(widths=(8, 16, 16, 16), heads=2, attention_blocks=1)
    return Teacher(config, CodebookConfig(size=8, dimension=4))


def test_teacher_is_counted_without_the_decoder_that_segmentation_leaves_out() -> None:
    net = teacher()
    every = sum(p.numel() for p in net.parameters())
    left_out = sum(p.numel() for p in net.reconstruct.parameters())
    assert left_out > 0
    assert cost(net).parameters == every - left_out
    # The two 3x3x3 convolutions of 8 features at full resolution alone: stem and decoder.
    assert cost(net).mac_per_voxel > 27 * 8 + 3 * 27 * 8 * 8


def test_counting_leaves_the_net_as_it_was() -> None:
    net = teacher().train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    cost(net)
    assert net.training
    # A codebook that has seen nothing would otherwise start from the zeros that are counted on.
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


# ---------------------------------------------------------------------------------------- any net


def other() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv3d(2, 4, 3, padding=1),
        nn.BatchNorm3d(4),
        nn.Conv3d(4, 8, 2, stride=2),
        nn.ConvTranspose3d(8, 1, 2, stride=2),
    )


def test_any_net_by_hand() -> None:
    found = cost(other(), (2, 4, 6, 8))
    assert found.parameters == (2 * 27 * 4 + 4) + 8 + (4 * 8 * 8 + 8) + (8 * 8 + 1)
    # 216 a voxel, 256 and 64 a cell of 8 voxels.
    assert found.mac_per_voxel == 216 + 256 / 8 + 64 / 8


def test_student_on_a_patch_of_its_own_choice_costs_the_same() -> None:
    net = Student(StudentConfig())
    assert cost(net, (1, 16, 24, 32)) == cost(net)


def test_another_net_needs_a_shape() -> None:
    with pytest.raises(ConfigError, match=r"cost of a Sequential depends.*\(c, z, y, x\)"):
        cost(other())


def test_forward_without_numbers_leaves_the_net_as_it_was() -> None:
    net = other().train()
    net[1].eval()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    result = forward_without_numbers(net, (2, 4, 6, 8))
    assert result.shape == (1, 1, 4, 6, 8)
    assert result.device.type == "meta"
    assert [m.training for m in net.modules()] == [True, True, False, True, True]
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_a_net_that_takes_no_memory_to_count() -> None:
    # A terabyte of activations, if they were computed.
    wide = nn.Sequential(nn.Conv3d(1, 256, 1), nn.Conv3d(256, 1, 1))
    assert cost(wide, (1, 1024, 1024, 1024)).mac_per_voxel == 512
