from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from vpbsd.errors import ConfigError, DataError
from vpbsd.segment import TorchRuntime
from vpbsd.segment.runtime import sigmoid


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
    # bf16 halves the layer.
    assert TorchRuntime(constant_net(0.0), "bf16").bytes_per_voxel == 16


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


RESIDENT = """
import json, re
from pathlib import Path
import numpy as np
import torch
torch.set_num_threads(1)
from vpbsd.config import StudentConfig
from vpbsd.models import Student
from vpbsd.segment import TorchRuntime
def resident():
    # Not getrusage: its maximum includes that of the process which started this one.
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
net = Student(StudentConfig(preset="fine"))
# The one that needs less comes first: the maximum only ever rises.
runtimes = [TorchRuntime(net, precision) for precision in ("bf16", "fp32")]
projected = [runtime.bytes_per_voxel for runtime in runtimes]
block = np.ones((1, 96, 128, 128), np.float32)
before, measured = resident(), []
for runtime in runtimes:
    runtime.predict(block)
    measured.append((resident() - before) / block.size)
print(json.dumps([projected, measured]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is counted as Linux does")
def test_measured_memory_stays_below_the_projected() -> None:
    result = subprocess.run(
        [sys.executable, "-c", RESIDENT], capture_output=True, text=True, check=True
    )
    for projected, measured in zip(*json.loads(result.stdout), strict=True):
        assert 0.3 * projected < measured <= projected
