"""A run small enough for a test: bright tubes in noise, tiny nets, a few steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vpbsd.config import RunConfig, parse_config

SHAPE = (16, 24, 24)
STAGE = {
    "steps": 6,
    "batch_size": 2,
    "patch_voxels": (16, 16, 16),
    "simulated_share": 0.0,
    "validate_every": 3,
    "checkpoint_every": 2,
}


def tubes(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return counts and label (z, y, x): one tube along each axis, bright on a noisy ground."""
    rng = np.random.default_rng(seed)
    label = np.zeros(SHAPE, np.uint8)
    z, y, x = (int(rng.integers(3, n - 6)) for n in SHAPE)
    label[z : z + 3, y : y + 3, :] = 1
    label[z : z + 3, :, x : x + 3] = 1
    label[:, y : y + 4, x : x + 4] = 1
    return (200 + 2000 * label.astype(int) + rng.integers(0, 400, SHAPE)).astype(np.uint16), label


def write_volumes(folder: Path) -> None:
    """Write ``a`` and ``v`` with labels, ``u`` without."""
    for seed, name in enumerate(("a", "v", "u")):
        image, label = tubes(seed)
        np.save(folder / f"{name}.npy", image)
        if name != "u":
            np.save(folder / f"{name}_label.npy", label)


@pytest.fixture(scope="session")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a labelled, a validation and an unlabelled volume."""
    folder = tmp_path_factory.mktemp("volumes")
    write_volumes(folder)
    return folder


@pytest.fixture(scope="session")
def tree(volumes: Path) -> Callable[..., dict[str, Any]]:
    """Return the settings of a tiny run as a nested dictionary, with sections changed."""

    def made(**changed: Mapping[str, Any]) -> dict[str, Any]:
        base: dict[str, Any] = {
            "data": {
                "root": str(volumes),
                "labelled": [{"image": "a.npy", "label": "a_label.npy"}],
                "validation": [{"image": "v.npy", "label": "v_label.npy"}],
            },
            "simulate": {"shape_voxels": (16, 20, 20)},
            "teacher": {
                **{"widths": (8, 16, 16, 16), "heads": 2},
                **{"attention_blocks": 1, "window_tokens": 2},
            },
            "codebook": {"size": 16, "dimension": 4},
            "student": {"widths": (8, 16), "downsampling": ((2, 2, 2), (2, 2, 2))},
            "machine": {"precision": "fp32", "accelerator": "cpu"},
            **{stage: dict(STAGE) for stage in ("pretrain", "finetune")},
            # So that averages of the student are saved, resumed and shared as well.
            "distill": {**STAGE, "self_teaching": 0.5},
        }
        for name, values in changed.items():
            base[name] = {**base[name], **values} if name in base else values
        return base

    return made


@pytest.fixture(scope="session")
def settings(tree: Callable[..., dict[str, Any]]) -> Callable[..., RunConfig]:
    """Return the configuration of a tiny run, with sections changed."""
    return lambda **changed: parse_config(tree(**changed))
