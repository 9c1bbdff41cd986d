"""The predictor of any net: windows through the shared tiler, precision, refusals."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vpbsd.compare.deployed.predictor import NetPredictor, predictor_of
from vpbsd.compare.nets.windowed import Windowed
from vpbsd.config import StudentConfig
from vpbsd.errors import ConfigError, DataError
from vpbsd.geometry import Box
from vpbsd.models import Student
from vpbsd.segment import TorchRuntime, predict_volume
from vpbsd.volumes import ArrayVolume, IntensityScale

PATCH = (8, 16, 16)


class Smooth(nn.Module):
    """Logits that are a mean over 3 x 3 x 3 voxels; notes the shapes it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(1, 1, 3, padding=1)
        nn.init.constant_(self.conv.weight, 1 / 27)
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, x: Tensor) -> Tensor:
        assert not self.training
        self.shapes.append(tuple(x.shape[2:]))
        out: Tensor = self.conv(x)
        return out


def windowed(net: nn.Module | None = None) -> Windowed:
    return Windowed(
        net or Smooth(), channels=1, patch=PATCH, multiple=(1, 1, 1), bytes_per_voxel=50
    )


def unscaled() -> IntensityScale:
    """A scale that leaves small values nearly as they are."""
    from vpbsd.volumes import estimate_intensity

    return estimate_intensity(volume())


def volume(shape: tuple[int, int, int] = (13, 30, 21)) -> ArrayVolume:
    rng = np.random.default_rng(0)
    return ArrayVolume(rng.normal(100, 20, shape).astype(np.float32))


def test_windows_cover_a_volume_as_one_pass_would() -> None:
    net = Smooth()
    predictor = NetPredictor(windowed(net).train())
    scale = unscaled()
    found = predict_volume(volume(), predictor, scale=scale, block_voxels=predictor.block)
    assert set(net.shapes) == {PATCH}
    x = torch.from_numpy(scale.apply(volume().read(Box.whole((13, 30, 21)))))[None]
    with torch.inference_mode():
        whole = torch.sigmoid(net.conv(x))[0, 0].numpy()
    # Where the halo of one voxel is enough, and the border of the volume is not near.
    inner = (slice(1, -1),) * 3
    np.testing.assert_allclose(found[inner], whole[inner], atol=1e-5)


def test_probability_is_the_sigmoid_in_the_crop() -> None:
    predictor = NetPredictor(windowed())
    block = np.random.default_rng(0).normal(size=(1, *PATCH)).astype(np.float32)
    whole = predictor.predict(block)
    assert whole.shape == PATCH
    assert whole.dtype == np.float32
    assert whole[4, 8, 8] == pytest.approx(1 / (1 + np.exp(-block[0, 3:6, 7:10, 7:10].mean())))
    crop = Box((1, 2, 3), (5, 9, 10))
    np.testing.assert_array_equal(predictor.predict(block, crop), whole[crop.slices])


def test_a_block_may_be_read_only_or_turned_round() -> None:
    predictor = NetPredictor(windowed())
    block = np.random.default_rng(0).normal(size=(1, *PATCH)).astype(np.float32)
    expected = predictor.predict(np.ascontiguousarray(block[:, ::-1]))
    block.flags.writeable = False
    np.testing.assert_array_equal(predictor.predict(block[:, ::-1]), expected)


def test_bf16_is_near_and_not_the_same() -> None:
    torch.manual_seed(0)
    net = windowed(nn.Sequential(nn.Conv3d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv3d(8, 1, 1)))
    block = np.random.default_rng(0).normal(size=(1, *PATCH)).astype(np.float32)
    exact = NetPredictor(net, "fp32").predict(block)
    rough = NetPredictor(net, "bf16").predict(block)
    assert 0 < np.abs(exact - rough).max() < 0.01


def test_training_on_shows() -> None:
    net = Smooth()
    predictor = NetPredictor(windowed(net))
    block = np.ones((1, *PATCH), np.float32)
    before = predictor.predict(block)[4, 8, 8]
    with torch.no_grad():
        net.conv.weight.mul_(3)
    assert predictor.predict(block)[4, 8, 8] > before


def test_our_student_is_evaluated_as_it_is_deployed() -> None:
    torch.manual_seed(0)
    student = Student(StudentConfig(widths=(8, 16), downsampling=((2, 2, 2),) * 2)).eval()
    predictor = predictor_of(student)
    assert isinstance(predictor, TorchRuntime)
    assert isinstance(predictor_of(windowed()), NetPredictor)
    x = np.random.default_rng(0).normal(size=(1, 16, 16, 16)).astype(np.float32)
    with torch.inference_mode():
        expected = torch.sigmoid(student(torch.from_numpy(x)[None]))[0, 0].numpy()
    np.testing.assert_allclose(predictor.predict(x), expected, atol=1e-5)


def test_what_does_not_fit() -> None:
    predictor = NetPredictor(windowed())
    with pytest.raises(DataError, match="1 channel"):
        predictor.predict(np.zeros((2, *PATCH), np.float32))
    with pytest.raises(DataError, match="sticks out"):
        predictor.predict(np.zeros((1, *PATCH), np.float32), Box((0, 0, 0), (9, 1, 1)))
    with pytest.raises(ConfigError, match="windows of up to"):
        predictor.predict(np.zeros((1, 9, 16, 16), np.float32))
    with pytest.raises(ConfigError, match=r"Conv3d does not declare halo_voxels, channels"):
        NetPredictor(nn.Conv3d(1, 1, 1))


# ------------------------------------------------------------------------------------------ memory

PEAK = """
import json, sys
import numpy as np, torch
torch.set_num_threads(1)
from vpbsd.compare.nets import build_net
from vpbsd.compare.deployed.predictor import NetPredictor
from vpbsd.config import parse_config

name, patch, first, precision = json.loads(sys.argv[1])
stage = {"patch_voxels": patch, "simulated_share": 0}
down = [first, [2, 2, 2], [2, 2, 2]]
config = parse_config({
    "data": {"labelled": [{"image": "a", "label": "b"}]},
    "teacher": {"downsampling": down},
    "student": {"downsampling": down},
    **{s: stage for s in ("pretrain", "finetune", "distill")},
})
predictor = NetPredictor(build_net(name, config), precision)
edges = patch if predictor.block else [64, 64, 64]
small = np.zeros((1, *(n if predictor.block else 8 for n in edges)), np.float32)
if not predictor.block:
    predictor.predict(small)

def status(key):
    for line in open("/proc/self/status"):
        if line.startswith(key):
            return int(line.split()[1]) * 1024

block = np.random.default_rng(0).random((1, *edges), np.float32)
before = status("VmRSS")
open("/proc/self/clear_refs", "w").write("5")
predictor.predict(block)
print(json.dumps([status("VmHWM") - before, predictor.bytes_per_voxel * block.size]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from Linux's /proc")
@pytest.mark.parametrize(
    "name",
    [
        *("unet", "basic_unet", "vnet", "attention_unet", "segresnet"),
        *("dynunet", "unetr", "swin_unetr", "vessap_fcn", "hp_vsp"),
    ],
)
def test_peak_stays_below_what_is_declared(name: str) -> None:
    shapes: list[Any] = [[[48, 64, 64], [2, 2, 2]], [[12, 80, 80], [1, 2, 2]]]
    for patch, first in shapes:
        asked = json.dumps([name, patch, first, "fp32"])
        done = subprocess.run(
            [sys.executable, "-c", PEAK, asked], capture_output=True, text=True, check=True
        )
        peak, declared = json.loads(done.stdout)
        assert 0.1 * declared < peak <= declared, (patch, peak, declared)
