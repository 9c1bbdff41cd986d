"""How near the student's forward pass comes to the machine's bf16 matrix products.

The ceiling is the best of several square products in bf16 by torch, on as many threads. The
student's operations are counted from its layers (two per multiply-accumulate) on whole blocks,
normalised intensities in, logits out; every runtime that is installed takes part, and the best
one counts.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
from collections.abc import Iterator
from typing import Any

import harness
import numpy as np
import subjects

EDGES = (1024, 2048, 4096)
BLOCK_VOXELS = (192, 192, 192)
RUNTIMES = ("torch", "openvino")


def ceiling_flops(rounds: int, edges: tuple[int, ...]) -> dict[int, float]:
    """Floating-point operations per second of a bf16 product, best of ``rounds``, by edge."""
    import torch

    best = {}
    for edge in edges:
        a, b = (torch.randn(edge, edge).bfloat16() for _ in range(2))
        with torch.inference_mode():
            seconds = harness.interleaved({"product": lambda a=a, b=b: a @ b}, rounds)
        best[edge] = 2 * edge**3 / min(seconds["product"])
    return best


def measure(arguments: argparse.Namespace) -> Iterator[harness.Row]:
    from vpbsd.models import cost

    rounds = 2 if arguments.quick else 5
    edges = (256,) if arguments.quick else EDGES
    shape = (64, 64, 64) if arguments.quick else BLOCK_VOXELS
    block = np.random.default_rng(arguments.seed).standard_normal((1, *shape), np.float32)
    for preset in ("fast", "fine"):
        net = subjects.model(arguments, preset).net
        work = 2 * cost(net).mac_per_voxel * math.prod(shape)
        runtimes = {name: build(net, name, arguments.threads) for name in installed()}
        before = ceiling_flops(rounds, edges)
        seconds = harness.interleaved(
            {name: lambda r=runtime: r.logits(block) for name, runtime in runtimes.items()}, rounds
        )
        after = ceiling_flops(rounds, edges)
        top = max(*before.values(), *after.values())
        flops = {name: work / value for name, value in harness.medians(seconds).items()}
        yield harness.Row(
            f"ceiling_share_{preset}",
            max(flops.values()) / top,
            {
                "ceiling_gflops": {
                    str(e): [round(v[e] / 1e9, 1) for v in (before, after)] for e in edges
                },
                "student_gflops": {name: round(value / 1e9, 1) for name, value in flops.items()},
                "flop_per_voxel": round(work / math.prod(shape)),
                "block_voxels": list(shape),
                "load": harness.load(),
            },
        )


def installed() -> list[str]:
    return [name for name in RUNTIMES if importlib.util.find_spec(name)]


def build(net: Any, name: str, threads: int) -> Any:
    from vpbsd.segment.runtimes import RuntimeSpec, make_runtime

    spec = RuntimeSpec(name=name, precision="bf16", device="cpu", threads=threads, int8_path=None)
    return make_runtime(net, spec)


if __name__ == "__main__":
    harness.run(measure, __doc__)
