"""A volume from zarr to mask on a GPU, where there is one; otherwise no figure.

The `fine` student as `auto` runs it, one process. Beside the speed stands the share of the GPU's
bf16 matrix products that the student's operations reach from zarr to mask.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from statistics import median

import harness
import subjects

EDGES = (4096, 8192)

logger = logging.getLogger("benchmarks")


def measure(arguments: argparse.Namespace) -> Iterator[harness.Row]:
    import torch

    from vpbsd.models import cost

    if not torch.cuda.is_available():
        logger.info("torch sees no GPU: nothing is measured")
        return
    source = subjects.volume(arguments, (2, 2, 2) if arguments.quick else (4, 4, 4))
    model = subjects.model(arguments, "fine")
    chosen = {"device": "cuda"}
    report = subjects.segment(source, model, subjects.options(**chosen)).report
    chosen |= {"precision": report.precision, "runtime": report.runtime}
    runs = [subjects.segment(source, model, subjects.options(**chosen)) for _ in range(3)]
    speed = median(run.voxels / run.seconds for run in runs)
    top = max(product_flops(edge) for edge in EDGES)
    yield harness.Row(
        "gpu_fine_mvoxel_per_s",
        speed / 1e6,
        {
            **chosen,
            "seconds": [round(run.seconds, 2) for run in runs],
            "io_share": [round(run.report.io_share, 3) for run in runs],
            "bf16_product_tflops": round(top / 1e12, 1),
            "share_of_bf16_products": speed * 2 * cost(model.net).mac_per_voxel / top,
            "shape_zyx": list(report.shape_zyx),
        },
    )


def product_flops(edge: int) -> float:
    """Floating-point operations per second of a bf16 product on the GPU, best of 5."""
    import torch

    a, b = (torch.randn(edge, edge, device="cuda").bfloat16() for _ in range(2))

    def product() -> None:
        a @ b
        torch.cuda.synchronize()

    return 2 * edge**3 / min(harness.interleaved({"product": product}, 5)["product"])


if __name__ == "__main__":
    harness.run(measure, __doc__, threads=8)
