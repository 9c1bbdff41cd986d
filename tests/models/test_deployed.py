"""The student as it is deployed: the same net, in any crop, to the last bit."""

from __future__ import annotations

from typing import Any

import hypothesis
import pytest
import torch
from hypothesis import strategies as st
from torch import nn

from vpbsd.config import StudentConfig
from vpbsd.geometry import Box
from vpbsd.models import DeployedStudent, Student

SHAPES: list[dict[str, Any]] = [
    {"widths": (16, 16), "downsampling": ((2, 2, 2), (2, 2, 2))},
    {"widths": (8, 16), "downsampling": ((1, 2, 2), (2, 2, 2))},
    {"widths": (8, 8, 8), "downsampling": ((1, 2, 2), (2, 2, 2), (1, 1, 2))},
    # Cells without pairs of voxels along x, and with two pairs.
    {"widths": (8, 8), "downsampling": ((2, 2, 3), (2, 2, 1))},
    {"widths": (8, 8), "downsampling": ((2, 2, 4), (1, 2, 2))},
]
NETS = [
    {"preset": preset, "channels": channels, **shape}
    for preset in ("fast", "fine")
    for channels, shape in ((1, SHAPES[0]), (2, SHAPES[1]), *((1, s) for s in SHAPES[1:]))
]


def trained(**settings: Any) -> Student:
    torch.manual_seed(1)
    net = Student(StudentConfig(**settings))
    for module in net.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_()
    return net.eval()


def deployed(net: Student, dtype: torch.dtype = torch.float32) -> DeployedStudent:
    return DeployedStudent(net, onednn=True).to(dtype=dtype, memory_format=torch.channels_last_3d)


def image(net: Student, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Any:
    x = torch.randn(1, net.config.channels, *shape)
    return x.to(dtype=dtype, memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("settings", NETS)
@pytest.mark.parametrize("onednn", [True, False])
def test_the_student_up_to_rounding(settings: dict[str, Any], onednn: bool) -> None:
    net = trained(**settings)
    x = image(net, tuple(3 * s for s in net.stride))
    with torch.inference_mode():
        expected = net(x)
        found = DeployedStudent(net, onednn=onednn)(x)
    assert expected.std() > 1e-3
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_the_student_is_left_as_it_is() -> None:
    net = trained(**NETS[0])
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with torch.inference_mode():
        deployed(net, torch.bfloat16)(image(net, (8, 8, 8), torch.bfloat16))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@st.composite
def cropped_blocks(draw: st.DrawFn) -> tuple[dict[str, Any], tuple[int, ...], Box]:
    settings = draw(st.sampled_from(NETS))
    stride = StudentConfig(**settings).stride
    shape = tuple(s * draw(st.integers(1, 48 // s)) for s in stride)
    start = tuple(draw(st.one_of(st.just(0), st.integers(0, n - 1))) for n in shape)
    stop = tuple(
        draw(st.one_of(st.just(n), st.integers(a + 1, n)))
        for a, n in zip(start, shape, strict=True)
    )
    return settings, shape, Box(start, stop)  # type: ignore[arg-type]


@hypothesis.settings(max_examples=60, deadline=None, derandomize=True)
@hypothesis.given(cropped_blocks(), st.sampled_from([torch.float32, torch.bfloat16]))
def test_a_crop_is_bit_for_bit_a_part_of_the_whole(
    case: tuple[dict[str, Any], tuple[int, ...], Box], dtype: torch.dtype
) -> None:
    settings, shape, crop = case
    net = trained(**settings)
    x, own = image(net, shape, dtype), deployed(net, dtype)
    with torch.inference_mode():
        assert torch.equal(own.forward_inside(x, crop), own(x)[(..., *crop.slices)])


@pytest.mark.parametrize("preset", ["fast", "fine"])
def test_full_resolution_is_computed_in_pairs(preset: str) -> None:
    net = trained(preset=preset, **SHAPES[0])
    own = deployed(net)
    # 16 features to a voxel of 1 value: to a pair of 2. (i, o, z, y, x) halves x.
    outputs = 2 if preset == "fast" else 16
    assert own.out_up.weight.shape == (16, outputs, 2, 2, 1)
    # A row of a cell is taken in as channels.
    assert own.down[0].weight.shape == (16, 2, 2, 2, 1)
    if preset == "fine":
        # Two pairs hold the four voxels that two neighbours see; eight features make 16.
        assert own.refine is not None
        assert own.refine.weight.shape == (16, 16, 3, 3, 2)


def test_a_pair_sees_its_own_voxels_and_one_on_each_side() -> None:
    net = trained(preset="fine", **SHAPES[0])
    kernel = net.refine[0].weight
    torch.nn.init.zeros_(kernel)
    with torch.no_grad():
        kernel[0, 0, 1, 1] = torch.tensor([10.0, 20.0, 30.0])
        net.refine[1].running_var.fill_(1 - net.refine[1].eps)
        net.refine[1].weight.fill_(1.0)
    own = deployed(net)
    assert own.refine is not None
    # Channel 8 * voxel + feature; taps of pairs (a b) (c d): the first voxel of the result is b's.
    weight = own.refine.weight[:, :, 1, 1].reshape(2, 8, 2, 8, 2)[:, 0, :, 0]
    first = [weight[0, voxel, pair].item() for pair in (0, 1) for voxel in (0, 1)]
    second = [weight[1, voxel, pair].item() for pair in (0, 1) for voxel in (0, 1)]
    assert first == pytest.approx([10, 20, 30, 0])
    assert second == pytest.approx([0, 10, 20, 30])


def test_memory_by_hand() -> None:
    # widths 16 and 16 on cells of 8 and 64 voxels: 2 and 0.25 values a voxel.
    # Levels: 2 * 2 + 0.25 = 4.25. Fast: 2 + 1.4 (2 + 2 + 1) / 8 = 2.875, and 4 bytes of logits.
    fast = deployed(trained(preset="fast", **SHAPES[0]))
    assert fast.peak_bytes_per_voxel(4) == pytest.approx(4 * 4.25)
    # Fine: 2 + 1.4 (2 * 8 + 2 + 1) / 8 = 5.325 values.
    fine = deployed(trained(preset="fine", **SHAPES[0]))
    assert fine.peak_bytes_per_voxel(2) == pytest.approx(2 * 5.325 + 4)


@pytest.mark.parametrize("shape", [(6, 8, 8), (8, 8, 10)])
def test_wrong_edges_are_refused(shape: tuple[int, ...]) -> None:
    net = trained(**NETS[0])
    with pytest.raises(ValueError, match=r"divisible by \(4, 4, 4\)"):
        deployed(net)(torch.zeros(1, 1, *shape))
