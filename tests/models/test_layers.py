"""Layers: gradients come from the data alone, whatever lay in memory before."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

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
