"""Runs of the patch shapes that rival nets must work for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vpbsd.config import RunConfig, parse_config

CUBES = ((2, 2, 2), (2, 2, 2), (2, 2, 2))
THICK_PLANES = ((1, 2, 2), (2, 2, 2), (2, 2, 2))

Shape = tuple[int, int, int]


def run(patch: Shape, downsampling: tuple[Shape, ...] = CUBES, channels: int = 1) -> RunConfig:
    """Return a run with patches of a shape, and planes as thick as the downsampling says."""
    stage = {"patch_voxels": patch, "simulated_share": 0}
    teacher = (*downsampling, (1, 1, 1), (1, 1, 1), (1, 1, 1))[:3]
    return parse_config(
        {
            "data": {
                "labelled": [{"image": "a.npy", "label": "b.npy"}],
                "validation": [{"image": "v.npy", "label": "w.npy"}],
            },
            "teacher": {"channels": channels, "downsampling": teacher},
            "student": {
                "channels": channels,
                "downsampling": downsampling,
                "widths": (16, 32, 64)[: len(downsampling)],
            },
            **{stage_name: stage for stage_name in ("pretrain", "finetune", "distill")},
        }
    )


@pytest.fixture(scope="session")
def a_run() -> Callable[..., RunConfig]:
    """Return the maker of runs."""
    return run


@pytest.fixture(scope="session")
def lightsheet() -> RunConfig:
    """Nearly isotropic voxels."""
    return run((48, 64, 64))


@pytest.fixture(scope="session")
def twophoton() -> RunConfig:
    """Few thick planes."""
    return run((12, 80, 80), THICK_PLANES)


@pytest.fixture(scope="session")
def tiny() -> RunConfig:
    """As small as every net can be trained on in a test."""
    return run((16, 16, 16), CUBES[:2])
