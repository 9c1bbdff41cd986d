"""Comparisons small enough for a test: bright tubes in noise, tiny nets, a few steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from vpbsd.compare.runner.pool import Outcome
from vpbsd.config import CompareConfig
from vpbsd.errors import VpbsdError

SHAPE = (16, 24, 24)
STAGE = {
    "steps": 6,
    "batch_size": 2,
    "patch_voxels": [16, 16, 16],
    "learning_rate": 0.01,
    "simulated_share": 0.0,
    "validate_every": 3,
    "checkpoint_every": 2,
}
ROLES = ("labelled_a", "labelled_b", "unlabelled", "validation", "test")


def write_volumes(folder: Path) -> None:
    """Write an image and a label (z, y, x) for each role: one tube along each axis."""
    for seed, name in enumerate(ROLES):
        rng = np.random.default_rng(seed)
        label = np.zeros(SHAPE, np.uint8)
        z, y, x = (int(rng.integers(3, n - 6)) for n in SHAPE)
        label[z : z + 3, y : y + 3, :] = 1
        label[z : z + 3, :, x : x + 3] = 1
        label[:, y : y + 4, x : x + 4] = 1
        image = 200 + 2000 * label.astype(int) + rng.integers(0, 400, SHAPE)
        tifffile.imwrite(folder / f"{name}.tif", image.astype(np.uint16))
        tifffile.imwrite(folder / f"{name}_label.tif", label)


def volume(name: str) -> dict[str, Any]:
    """Return the entry of a volume in a recipe."""
    return {"image": f"{name}.tif", "label": f"{name}_label.tif", "voxel_size_um": [2, 1, 1]}


def settings(root: Path) -> dict[str, Any]:
    """Return the settings of a data set's run."""
    return {
        "data": {
            "root": str(root),
            "labelled": [volume("labelled_a"), volume("labelled_b")],
            "unlabelled": [{"image": "unlabelled.tif", "voxel_size_um": [2, 1, 1]}],
            "validation": [volume("validation")],
            "test": [volume("test")],
        },
        "teacher": {
            **{"widths": [8, 16, 16, 16], "heads": 2},
            **{"attention_blocks": 1, "window_tokens": 2},
        },
        "codebook": {"size": 16, "dimension": 4},
        "student": {"widths": [8, 16], "downsampling": [[2, 2, 2], [2, 2, 2]]},
        "machine": {"precision": "fp32", "accelerator": "cpu"},
        **{stage: dict(STAGE) for stage in ("pretrain", "finetune", "distill")},
    }


def tree(root: Path, **changed: Any) -> dict[str, Any]:
    """Return a comparison of one data set and one seed as a nested dictionary."""
    return {
        "name": "tiny",
        "seeds": [0],
        "datasets": [{"name": "tubes", "settings": settings(root), "edge_voxels": [8, 12, 12]}],
        "methods": ["vpbsd", "supervised_only"],
        **changed,
    }


def comparison(root: Path, **changed: Any) -> CompareConfig:
    """Return a comparison of one data set and one seed."""
    return CompareConfig.model_validate(tree(root, **changed))


class InThisProcess:
    """Does jobs one after the other where the pool would start processes, which take seconds each.

    Attributes
    ----------
    done
        Names of the jobs that were begun, in their order.
    """

    def __init__(self) -> None:
        self.done: list[str] = []
        self.news: list[str] = []

    def __call__(
        self, tasks: Sequence[Any], act: Callable[..., None], workers: int, watch: Any
    ) -> dict[str, Outcome]:
        outcomes: dict[str, Outcome] = {}
        for task in tasks:
            failed = [n for n in task.needs if n in outcomes and outcomes[n].state != "done"]
            if failed:
                outcome = Outcome("blocked", f"it needs '{failed[0]}'")
            else:
                self.done.append(task.name)
                outcome = self._outcome(task, act)
            outcomes[task.name] = outcome
            watch.ended(task.name, outcome)
        return outcomes

    def _outcome(self, task: Any, act: Callable[..., None]) -> Outcome:
        try:
            act(task, self.news.append)
        except VpbsdError as error:
            return Outcome("failed", str(error), "trace")
        return Outcome("done")
