from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from vpbsd.config import StudentConfig
from vpbsd.errors import ConfigError, DataError
from vpbsd.geometry import Box
from vpbsd.models import Student
from vpbsd.segment import RuntimeSpec, TorchRuntime
from vpbsd.segment.runtimes import make_runtime, sigmoid

TWO_LEVELS: dict[str, Any] = {"widths": (16, 16), "downsampling": ((2, 2, 2), (2, 2, 2))}


def block(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_probability_is_the_sigmoid_of_the_logit(constant_net: type) -> None:
    # sigmoid(log 3) = 3 / 4
    for precision, tolerance in (("fp32", 1e-6), ("bf16", 2e-3)):
        runtime = TorchRuntime(constant_net(float(np.log(3))), precision)
        found = runtime.predict(block(1, 4, 5, 6))
        assert found.shape == (4, 5, 6)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, 0.75, atol=tolerance)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 3e-2)])
def test_folding_and_precision_change_nothing_but_rounding(
    small_net: type, precision: str, tolerance: float
) -> None:
    net = small_net(channels=2).eval()
    image = block(2, 12, 10, 14)
    with torch.inference_mode():
        expected = torch.sigmoid(net(torch.from_numpy(image)[None]))[0, 0].numpy()
    assert expected.std() > 0.05
    np.testing.assert_allclose(
        TorchRuntime(net, precision).predict(image), expected, atol=tolerance
    )


def test_the_runtime_keeps_the_weights_it_was_given(small_net: type) -> None:
    net = small_net().train()
    runtime = TorchRuntime(net, "bf16")
    before = runtime.predict(block(1, 8, 8, 8))
    with torch.no_grad():
        for weight in net.parameters():
            weight.zero_()
    np.testing.assert_array_equal(runtime.predict(block(1, 8, 8, 8)), before)
    # The original stays as it was: training, in its own precision.
    assert net.training
    assert {p.dtype for p in net.parameters()} == {torch.float32}
    assert all(p.requires_grad for p in net.parameters())


def test_result_does_not_change_the_input_nor_share_its_memory(small_net: type) -> None:
    image = block(1, 4, 4, 4)
    kept = image.copy()
    first = TorchRuntime(small_net()).predict(image)
    first[:] = 7
    np.testing.assert_array_equal(image, kept)


def test_memory_per_voxel_by_hand(constant_net: type) -> None:
    # Twice (4 bytes in + 4 bytes out) for the only layer, and 4 + 4 bytes of input and output.
    assert TorchRuntime(constant_net(0.0)).bytes_per_voxel == 24
    # bf16 halves the layer, but the input is converted: 2 bytes more.
    assert TorchRuntime(constant_net(0.0), "bf16").bytes_per_voxel == 18


def test_blocks_that_do_not_fit_are_refused(small_net: type) -> None:
    runtime = TorchRuntime(small_net())
    with pytest.raises(DataError, match=r"takes 1 channel.*\(2, 4, 4, 4\)"):
        runtime.predict(block(2, 4, 4, 4))
    with pytest.raises(DataError, match="multiples of the net's stride"):
        runtime.predict(block(1, 4, 5, 4))


def test_nets_that_do_not_say_what_they_need_are_refused(small_net: type) -> None:
    with pytest.raises(ConfigError, match="Identity does not declare 'stride'"):
        TorchRuntime(nn.Identity())
    empty = nn.Identity()
    empty.stride = empty.halo_voxels = 1
    with pytest.raises(ConfigError, match="no 3D convolution"):
        TorchRuntime(empty)
    with pytest.raises(ConfigError, match="precision must be one of"):
        TorchRuntime(small_net(), "fp16")


# ----------------------------------------------------------------------------------------- crops


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_crop_is_a_part_of_the_block(small_net: type, precision: str) -> None:
    crop = Box((2, 0, 5), (7, 10, 9))
    for net in (small_net(), Student(StudentConfig(**TWO_LEVELS)).eval()):
        runtime = TorchRuntime(net, precision)
        image = block(1, 12, 12, 16)
        found = runtime.logits(image, crop)
        assert found.shape == (5, 10, 4)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, runtime.logits(image)[crop.slices])
        np.testing.assert_array_equal(runtime.predict(image, crop), sigmoid(found))


def test_crops_that_do_not_fit_are_refused(small_net: type) -> None:
    runtime = TorchRuntime(small_net())
    for crop in (Box((0, 0, 0), (4, 4, 6)), Box((2, 2, 2), (2, 4, 4))):
        with pytest.raises(DataError, match="empty or sticks out"):
            runtime.logits(block(1, 4, 4, 4), crop)


def test_any_array_is_taken_and_none_is_changed() -> None:
    runtime = TorchRuntime(Student(StudentConfig(**TWO_LEVELS)).eval())
    image = block(1, 8, 8, 16)
    expected, kept = runtime.logits(image), image.copy()
    fixed = image.copy()
    fixed.flags.writeable = False
    backwards = np.ascontiguousarray(image[..., ::-1])[..., ::-1]
    for same in (image, fixed, backwards):
        np.testing.assert_array_equal(runtime.logits(same), expected)
    np.testing.assert_array_equal(image, kept)


@pytest.mark.parametrize("preset", ["fast", "fine"])
def test_fp32_depends_neither_on_threads_nor_on_the_block(preset: str) -> None:
    torch.manual_seed(2)
    net = Student(StudentConfig(preset=preset, **TWO_LEVELS)).eval()
    runtime = TorchRuntime(net)
    halo = net.halo_voxels[0]
    wanted = Box((halo,) * 3, (halo + 8, halo + 12, halo + 16))
    volume = block(1, *(n + halo + 24 for n in wanted.stop))
    results = []
    before = torch.get_num_threads()
    try:
        for threads, rim in ((1, 0), (2, 0), (1, 24), (2, 24)):
            torch.set_num_threads(threads)
            edges = [n + halo + rim for n in wanted.stop]
            part = volume[(slice(None), *(slice(0, n) for n in edges))]
            results.append(runtime.logits(part, wanted))
    finally:
        torch.set_num_threads(before)
    assert results[0].std() > 1e-3
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


# ------------------------------------------------------------------------------------------ specs


def test_a_spec_makes_its_runtime(small_net: type) -> None:
    spec = RuntimeSpec(precision="bf16")
    assert pickle.loads(pickle.dumps(spec)) == spec
    runtime = make_runtime(small_net(), spec)
    assert (runtime.name, runtime.precision) == ("torch", "bf16")
    assert (runtime.stride, runtime.halo_voxels, runtime.channels) == ((2, 2, 2), (4, 4, 4), 1)


def test_threads_of_a_spec_are_set(small_net: type) -> None:
    before = torch.get_num_threads()
    try:
        make_runtime(small_net(), RuntimeSpec(threads=1))
        assert torch.get_num_threads() == 1
        make_runtime(small_net(), RuntimeSpec(threads=2))
        make_runtime(small_net(), RuntimeSpec())
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threads": -1}, "threads must be 0"),
        ({"name": "openvino", "device": "cuda"}, "openvino computes on the CPU"),
        ({"name": "openvino", "precision": "int8"}, "int8 needs the file"),
        ({"precision": "bf16", "int8_path": Path("net.xml")}, "nothing else does"),
        ({"precision": "int8", "int8_path": Path("net.xml")}, "by OpenVINO only"),
        ({"compiled": True}, "pays on CUDA only"),
    ],
)
def test_specs_that_contradict_themselves_are_refused(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        RuntimeSpec(**settings)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("compiled", [False, True])
def test_on_a_gpu(compiled: bool) -> None:
    net = Student(StudentConfig(**TWO_LEVELS)).eval()
    image, crop = block(1, 32, 32, 32), Box((8,) * 3, (24,) * 3)
    spec = RuntimeSpec(device="cuda", compiled=compiled)
    found = make_runtime(net, spec).logits(image, crop)
    np.testing.assert_allclose(found, TorchRuntime(net).logits(image, crop), atol=1e-2)


# ---------------------------------------------------------------------------------------- sigmoid


def test_sigmoid() -> None:
    values = np.array([0, np.log(3), -np.log(3), 200, -200], np.float32)
    np.testing.assert_allclose(sigmoid(values), [0.5, 0.75, 0.25, 1, 0], atol=1e-7)
    assert np.isnan(sigmoid(np.array([np.nan], np.float32)))[0]


def test_sigmoid_of_a_value_does_not_depend_on_its_neighbours() -> None:
    values = block(500)
    whole = sigmoid(values)
    for start in range(0, 60, 7):
        np.testing.assert_array_equal(
            sigmoid(values[start : start + 41]), whole[start : start + 41]
        )


# ----------------------------------------------------------------------------------------- memory


RESIDENT = """
import json, re, sys
from pathlib import Path
import numpy as np
from vpbsd.machine import prepare_process
prepare_process(1)
from vpbsd.config import StudentConfig
from vpbsd.geometry import Box
from vpbsd.models import Student
from vpbsd.segment import RuntimeSpec
from vpbsd.segment.runtimes import make_runtime
def resident():
    # Not getrusage: its maximum includes that of the process which started this one.
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
name, precision, preset = sys.argv[1:]
net = Student(StudentConfig(preset=preset)).eval()
runtime = make_runtime(net, RuntimeSpec(name, precision, threads=1))
runtime.logits(np.zeros((1, 32, 32, 32), np.float32))
halo, inner, before = 32, 96, resident()
# Blocks at a corner of a volume, at a face, inside, and at a corner again.
for sides in ((0, 1), (1, 1), (1, 1), (1, 0)):
    low, high = (halo * side for side in sides)
    block = np.ones((1, low + inner + high, inner + 2 * halo, inner + 2 * halo), np.float32)
    runtime.logits(block, Box((low, halo, halo), (low + inner, halo + inner, halo + inner)))
print(json.dumps([runtime.bytes_per_voxel, (resident() - before) / (inner + 2 * halo) ** 3]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is counted as Linux does")
@pytest.mark.parametrize("preset", ["fast", "fine"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", ["torch", "openvino"])
def test_measured_memory_stays_below_the_projected(name: str, precision: str, preset: str) -> None:
    if name == "openvino":
        pytest.importorskip("openvino")
    result = subprocess.run(
        [sys.executable, "-c", RESIDENT, name, precision, preset],
        capture_output=True,
        text=True,
        check=True,
    )
    projected, measured = json.loads(result.stdout)
    assert 0.2 * projected < measured <= projected
