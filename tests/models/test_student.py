"""The student: its receptive field, folding, independence of the cut, and what it is made of."""

from __future__ import annotations

from typing import Any

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from vpbsd.config import StudentConfig
from vpbsd.geometry import Box
from vpbsd.models import Student
from vpbsd.segment import TorchRuntime, predict_volume
from vpbsd.volumes import ArrayVolume, IntensityScale, estimate_intensity

ANISOTROPIC = {"widths": (8, 16), "downsampling": ((1, 2, 2), (2, 2, 2))}
ISOTROPIC = {"widths": (8, 16), "downsampling": ((2, 2, 2), (2, 2, 2))}
THREE_LEVELS = {"widths": (8, 8, 8), "downsampling": ((1, 2, 2), (2, 2, 2), (1, 1, 2))}
NETS = [
    pytest.param({"preset": preset, **shape}, id=f"{preset}-{name}")
    for preset in ("fast", "fine")
    for name, shape in (("isotropic", ISOTROPIC), ("anisotropic", ANISOTROPIC))
] + [pytest.param({"preset": "fine", **THREE_LEVELS}, id="fine-three-levels")]


def student(seed: int = 0, **settings: Any) -> Student:
    torch.manual_seed(seed)
    return Student(StudentConfig(**settings))


def trained(net: Student) -> Student:
    """Give every batch normalisation statistics and weights of its own, as training would."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_()
    return net.eval()


def positive(net: Student) -> Student:
    """Make every weight positive: no ReLU can hide, and no sum cancel, what an input reaches."""
    for module in net.modules():
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            module.weight.data.fill_(1 / 27)
            if module.bias is not None:
                module.bias.data.zero_()
    return net.eval()


def reach(net: Student, shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return the largest distance (z, y, x) between an input voxel and an output it changes.

    Taken over input voxels at every place along the diagonal of a stride cell: every convolution
    is a box, so axes do not mix.
    """
    steps = max(net.stride)
    voxels = np.array(
        [
            [n // 2 // s * s + i * s // steps for n, s in zip(shape, net.stride, strict=True)]
            for i in range(steps)
        ]
    )
    x = torch.zeros(steps, net.config.channels, *shape)
    for i, voxel in enumerate(voxels):
        x[(i, 0, *voxel)] = 1.0
    with torch.inference_mode():
        changed = net(x)[:, 0].nonzero().numpy()
    z, y, x_ = (int(v) for v in np.abs(changed[:, 1:] - voxels[changed[:, 0]]).max(0))
    return (z, y, x_)


# -------------------------------------------------------------------------------- receptive field


@pytest.mark.parametrize(
    ("settings", "by_hand"),
    [
        # fine: 1 at full resolution; level 0: 2 convolutions down and 2 up; level 1: 1; the cell.
        # isotropic: 1 + 4 * 2 + 1 * 4 + 4 - 1 = 16
        ({"preset": "fine", **ISOTROPIC}, (16, 16, 16)),
        # fast: nothing at full resolution: 4 * 2 + 1 * 4 + 4 - 1 = 15
        ({"preset": "fast", **ISOTROPIC}, (15, 15, 15)),
        # z: 1 + 4 * 1 + 1 * 2 + 2 - 1 = 8
        ({"preset": "fine", **ANISOTROPIC}, (8, 16, 16)),
        ({"preset": "fast", **ANISOTROPIC}, (7, 15, 15)),
        # z: 1 + 4 * 1 + 2 * 2 + 1 * 2 + 2 - 1 = 12; y: 1 + 4 * 2 + 2 * 4 + 1 * 4 + 4 - 1 = 24
        # x: 1 + 4 * 2 + 2 * 4 + 1 * 8 + 8 - 1 = 32
        ({"preset": "fine", **THREE_LEVELS}, (12, 24, 32)),
    ],
)
def test_declared_receptive_field(settings: dict[str, Any], by_hand: tuple[int, int, int]) -> None:
    assert student(**settings).receptive_field_voxels == by_hand


@pytest.mark.parametrize("settings", NETS)
def test_declared_receptive_field_is_the_measured_one(settings: dict[str, Any]) -> None:
    net = positive(student(**settings))
    shape = tuple(
        2 * r // s * s + 3 * s for r, s in zip(net.receptive_field_voxels, net.stride, strict=True)
    )
    assert reach(net, shape) == net.receptive_field_voxels  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("preset", "voxel", "first", "last"),
    [
        # Seen from anywhere in the cell 20..23: 4 steps of 2 and 1 of 4 beyond its far end.
        ("fast", 20, 8, 35),
        ("fast", 23, 8, 35),
        # The full-resolution convolution looks one voxel further, here into the next cell or not.
        ("fine", 20, 4, 35),
        ("fine", 21, 8, 35),
        ("fine", 23, 8, 39),
    ],
)
def test_gradient_ends_where_the_receptive_field_does(
    preset: str, voxel: int, first: int, last: int
) -> None:
    net = positive(student(preset=preset, **ISOTROPIC))
    x = torch.ones(1, 1, 44, 44, 44, requires_grad=True)
    net(x)[0, 0, voxel, voxel, voxel].backward()
    assert x.grad is not None
    reached = x.grad[0, 0].nonzero()
    assert reached.min(0).values.tolist() == [first] * 3
    assert reached.max(0).values.tolist() == [last] * 3


@pytest.mark.parametrize("settings", NETS)
def test_a_voxel_changes_nothing_beyond_the_receptive_field(settings: dict[str, Any]) -> None:
    net = trained(student(**settings)).double()
    far = np.array(net.receptive_field_voxels)
    shape = [2 * r // s * s + 3 * s for r, s in zip(far, net.stride, strict=True)]
    x = torch.randn(1, 1, *shape, dtype=torch.float64)
    voxel = np.array([n // 2 for n in shape])
    moved = x.clone()
    moved[(0, 0, *voxel)] += 100.0
    with torch.no_grad():
        changed = (net(x) != net(moved))[0, 0].nonzero().numpy()
    distance = np.abs(changed - voxel).max(0)
    assert (distance <= far).all()
    assert (distance >= far - np.array(net.stride)).all(), "the declared field is far too large"


@pytest.mark.parametrize("settings", NETS)
def test_halo_is_the_receptive_field_in_whole_strides(settings: dict[str, Any]) -> None:
    net = student(**settings)
    for halo, far, stride in zip(
        net.halo_voxels, net.receptive_field_voxels, net.stride, strict=True
    ):
        assert halo % stride == 0
        assert far <= halo < far + stride


# ------------------------------------------------------------------------------- folding, cutting


@pytest.mark.parametrize("settings", NETS)
def test_folded_net_gives_the_same(settings: dict[str, Any]) -> None:
    net = trained(student(**settings))
    folded = net.fold()
    assert not any(isinstance(m, nn.BatchNorm3d) for m in folded.modules())
    assert any(isinstance(m, nn.BatchNorm3d) for m in net.modules()), "the original was folded"
    x = torch.randn(2, 1, 8, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(folded(x), net(x), atol=1e-5, rtol=0)


def test_folding_a_training_net_uses_its_running_statistics() -> None:
    net = trained(student(**ISOTROPIC)).train()
    x = torch.randn(1, 1, 8, 8, 8)
    with torch.no_grad():
        expected = net.eval()(x)
        torch.testing.assert_close(net.train().fold()(x), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("settings", NETS)
@pytest.mark.parametrize("shape", [(24, 40, 32), (13, 37, 21)])
def test_blocks_give_what_the_whole_gives(
    settings: dict[str, Any], shape: tuple[int, int, int]
) -> None:
    net = trained(student(**settings))
    runtime = TorchRuntime(net)
    image = np.random.default_rng(0).integers(0, 1000, shape).astype(np.uint16)
    volume = ArrayVolume(image)
    scale: IntensityScale = estimate_intensity(volume)
    whole = [-(-n // s) * s for n, s in zip(shape, net.stride, strict=True)]
    at_once = predict_volume(volume, runtime, scale=scale, block_voxels=whole)
    in_blocks = predict_volume(volume, runtime, scale=scale, block_voxels=8)
    np.testing.assert_array_equal(in_blocks, at_once)
    assert at_once.std() > 1e-3, "a constant output would equal itself however it is cut"


# ------------------------------------------------------------------------------------- what it is


@pytest.mark.parametrize("settings", NETS)
def test_made_of_convolutions_batch_norm_and_relu_alone(settings: dict[str, Any]) -> None:
    allowed = (nn.Conv3d, nn.ConvTranspose3d, nn.BatchNorm3d, nn.ReLU, nn.Identity)
    leaves = [m for m in student(**settings).modules() if not list(m.children())]
    assert leaves
    assert [m for m in leaves if not isinstance(m, allowed)] == []


def test_state_holds_neither_projection_nor_codebook() -> None:
    names = {key.split(".")[0] for key in student(**ISOTROPIC).state_dict()}
    assert names == {"down", "encoder", "up", "decoder", "detail", "out_up", "refine", "out"}


def test_fine_looks_at_full_resolution_and_fast_does_not() -> None:
    fast, fine = student(preset="fast", **ISOTROPIC), student(preset="fine", **ISOTROPIC)
    at_full_resolution = [
        m for m in fine.modules() if isinstance(m, nn.Conv3d) and m is fine.detail
    ]
    assert len(at_full_resolution) == 1
    assert fast.detail is None
    count = [sum(p.numel() for p in net.parameters()) for net in (fast, fine)]
    assert count[0] < count[1]


@pytest.mark.parametrize("channels", [1, 3])
def test_output_is_one_logit_a_voxel(channels: int) -> None:
    net = student(channels=channels, **ISOTROPIC)
    assert net(torch.randn(2, channels, 8, 12, 16)).shape == (2, 1, 8, 12, 16)


def test_untrained_net_predicts_few_vessels() -> None:
    # The last bias starts at the logit of 10 %: log(0.1 / 0.9) = -2.1972
    for preset in ("fast", "fine"):
        net = student(preset=preset, **ISOTROPIC)
        last = net.out if preset == "fine" else net.out_up
        assert isinstance(last.bias, Tensor)
        assert last.bias.tolist() == pytest.approx([-2.1972246])


def test_features_come_finest_first() -> None:
    net = student(preset="fine", **THREE_LEVELS)
    shapes = [tuple(f.shape) for f in net.features(torch.randn(1, 1, 8, 16, 16))]
    assert shapes == [(1, 8, 8, 8, 8), (1, 8, 4, 4, 4), (1, 8, 4, 4, 2)]


@pytest.mark.parametrize(
    "shape", [(1, 1, 8, 8, 6), (1, 1, 7, 8, 8), (1, 1, 8, 10, 8), (1, 8, 8, 8)]
)
def test_wrong_edges_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"divisible by \(4, 4, 4\)"):
        student(**ISOTROPIC)(torch.zeros(shape))


# ------------------------------------------------------------------------------------- in a crop


@st.composite
def cropped_blocks(draw: st.DrawFn) -> tuple[dict[str, Any], tuple[int, int, int], Box]:
    """Settings of a student, the shape of a block, and a box of it, often at its border."""
    settings = draw(st.sampled_from([p.values[0] for p in NETS]))
    stride = student(**settings).stride
    shape = tuple(s * draw(st.integers(1, 32 // s)) for s in stride)
    start = tuple(draw(st.one_of(st.just(0), st.integers(0, n - 1))) for n in shape)
    stop = tuple(
        draw(st.one_of(st.just(n), st.integers(a + 1, n)))
        for a, n in zip(start, shape, strict=True)
    )
    return settings, shape, Box(start, stop)


@hypothesis.settings(max_examples=40, deadline=None, derandomize=True)
@hypothesis.given(cropped_blocks())
def test_a_crop_is_a_part_of_the_whole(
    case: tuple[dict[str, Any], tuple[int, int, int], Box],
) -> None:
    settings, shape, crop = case
    net = trained(student(**settings)).double()
    x = torch.randn(1, 1, *shape, dtype=torch.float64)
    with torch.no_grad():
        inside = net.forward_inside(x, crop)
        whole = net(x)[(..., *crop.slices)]
    torch.testing.assert_close(inside, whole, atol=1e-12, rtol=0)


def test_a_crop_computes_less() -> None:
    net = student(preset="fine", **ISOTROPIC).eval()
    x, seen = torch.zeros(1, 1, 64, 64, 64), {}
    net.refine[2].register_forward_hook(lambda _m, _i, out: seen.update(refined=out.shape[2:]))
    net.decoder[0][1][2].register_forward_hook(
        lambda _m, _i, out: seen.update(decoded=out.shape[2:])
    )
    with torch.no_grad():
        net.forward_inside(x, Box((16,) * 3, (48,) * 3))
    # 32 voxels are wanted; the last convolution sees 34, which touch 18 cells of 2 voxels.
    assert tuple(seen["refined"]) == (32, 32, 32)
    assert tuple(seen["decoded"]) == (18, 18, 18)
