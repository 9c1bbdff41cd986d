"""How much faster a volume is segmented than with the nets and filters that others use.

Ours is everything: OME-Zarr in, mask with pyramid on disk. A rival is its net or filter alone, on
an array that lies normalised in memory; what it takes to read and write is given to it. Nets have
random weights (speed does not depend on them), run in fp32 as their users run them, without
mirrored copies of the input, which nnU-Net makes 8 of by default.

* nnU-Net's net: MONAI DynUNet as the planner of nnU-Net sets up ``3d_fullres``: 6 stages, kernels
  of 3, strides of 2, 32 to 320 features, instance norm, leaky ReLU; windows of 128 voxels.
* SwinUNETR with 24 features; windows of 96 voxels.
* Both with MONAI's sliding window: overlap 0.5, Gaussian weights, windows one by one.
* scikit-image's Frangi filter, sigmas 1, 2, 3; it computes on one core, and so do we beside it.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

import harness
import numpy as np
import subjects

OVERLAP = 0.5
FRANGI_EDGE = 256


@dataclass(frozen=True, slots=True)
class Rival:
    """A net, its window and the cube that it segments, both by their edge in voxels."""

    name: str
    build: Callable[[], Any]
    window: int
    edge: int
    presets: tuple[subjects.Preset, ...]


def dynunet() -> Any:
    """nnU-Net's ``3d_fullres`` net; deep supervision serves training only."""
    from monai.networks.nets import DynUNet

    return DynUNet(
        spatial_dims=3,
        in_channels=1,
        out_channels=2,
        kernel_size=[3] * 6,
        strides=[1, 2, 2, 2, 2, 2],
        upsample_kernel_size=[2] * 5,
        filters=[32, 64, 128, 256, 320, 320],
        norm_name=("INSTANCE", {"affine": True}),
        act_name=("leakyrelu", {"inplace": True, "negative_slope": 0.01}),
    )


def swinunetr() -> Any:
    from monai.networks.nets import SwinUNETR

    return SwinUNETR(in_channels=1, out_channels=2, feature_size=24)


RIVALS = (
    Rival("dynunet", dynunet, 128, 320, ("fast", "fine")),
    Rival("swinunetr", swinunetr, 96, 256, ("fast",)),
)


def windows(edge: int, window: int) -> int:
    """Windows that MONAI's sliding window puts into a cube."""
    step = int(window * (1 - OVERLAP))
    return (math.ceil(max(0, edge - window) / step) + 1) ** 3


def seconds_of_net(rival: Rival, arguments: argparse.Namespace) -> tuple[float, dict[str, Any]]:
    """Time one pass over a cube; in a hurry, one small window times their number."""
    import torch
    from monai.inferers import SlidingWindowInferer

    torch.manual_seed(0)
    # Preparing our one-thread workers has set this process to one as well.
    torch.set_num_threads(arguments.threads)
    net = rival.build().eval()
    # 64 is the smallest window that both nets take.
    quick = arguments.quick
    window = 64 if quick else rival.window
    edge = 2 * window if quick else rival.edge
    count = windows(edge, window)
    image = normalised(arguments, window if quick else edge)
    inferer = SlidingWindowInferer((window,) * 3, 1, OVERLAP, mode="gaussian")
    batch = torch.from_numpy(image)[None, None]
    one = batch[..., :window, :window, :window].contiguous()
    with torch.inference_mode():
        start = time.perf_counter()
        net(one)
        forward = time.perf_counter() - start
        if quick:
            seconds = forward * count
        else:
            start = time.perf_counter()
            inferer(batch, net)
            seconds = time.perf_counter() - start
    return seconds, {
        "window_voxels": window,
        "windows": count,
        "edge_voxels": edge,
        "seconds_of_first_window": round(forward, 3),
        "projected_from_one_window": quick,
    }


def measure(arguments: argparse.Namespace) -> Iterator[harness.Row]:
    import torch

    small = subjects.volume(arguments, (2, 2, 4))
    large = small if arguments.quick else subjects.volume(arguments, (4, 4, 4))
    models = {preset: subjects.model(arguments, preset) for preset in ("fast", "fine")}
    ours: dict[tuple[str, int], list[float]] = {}

    settled = {
        preset: subjects.settle(arguments, model, subjects.options())
        for preset, model in models.items()
    }

    def go(preset: subjects.Preset, threads: int) -> None:
        # As many workers of one thread as a rival has threads; what starting them takes counts.
        chosen = subjects.options(processes=threads, threads=1, **settled[preset])
        source = large if threads > 1 else small
        run = subjects.segment(source, models[preset], chosen)
        ours.setdefault((preset, threads), []).append(run.voxels / run.seconds)

    def all_of_ours() -> None:
        for preset in models:
            go(preset, arguments.threads)

    all_of_ours()
    measured = [(rival, *seconds_of_net(rival, arguments)) for rival in RIVALS]
    all_of_ours()
    for rival, seconds, details in measured:
        theirs = details["edge_voxels"] ** 3 / seconds
        for preset in rival.presets:
            speeds = ours[preset, arguments.threads]
            told = {**settled[preset], **details}
            yield row(f"speed_over_{rival.name}_{preset}", speeds, theirs, told)
    torch.set_num_threads(1)
    harness.confine(1)
    scaled = normalised(arguments, 64 if arguments.quick else FRANGI_EDGE)
    go("fast", 1)
    seconds = seconds_of_frangi(scaled)
    go("fast", 1)
    told = {**settled["fast"], "edge_voxels": scaled.shape[0]}
    yield row("speed_over_frangi_fast", ours["fast", 1][-2:], scaled.size / seconds, told)


def normalised(arguments: argparse.Namespace, edge: int) -> np.ndarray:
    """Return a cube of the specimen, float32 of mean 0 and variance 1, as nnU-Net wants it."""
    cube = subjects.memory_array(arguments, edge).astype(np.float32)
    return (cube - cube.mean()) / cube.std()


def seconds_of_frangi(image: np.ndarray) -> float:
    from skimage.filters import frangi

    start = time.perf_counter()
    frangi(image, sigmas=(1, 2, 3), black_ridges=False)
    return time.perf_counter() - start


def row(name: str, ours: list[float], theirs: float, details: dict[str, Any]) -> harness.Row:
    return harness.Row(
        name,
        median(ours) / theirs,
        {
            "ours_mvoxel_per_s": [round(speed / 1e6, 3) for speed in ours],
            "theirs_mvoxel_per_s": round(theirs / 1e6, 5),
            "load": harness.load(),
            **details,
        },
    )


if __name__ == "__main__":
    harness.run(measure, __doc__, threads=2)
