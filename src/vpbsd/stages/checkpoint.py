"""Training state on disk: weights, their average, optimiser, random numbers, best score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vpbsd.errors import CheckpointError
from vpbsd.models.weights import read_metadata, read_tensors, restore, write_tensors
from vpbsd.stages.average import WeightAverage

__all__ = [
    "Checkpoint",
    "differences",
    "load_checkpoint",
    "refuse_other_run",
    "save_checkpoint",
]


@dataclass(frozen=True)
class Checkpoint:
    """Where a stage stands.

    Attributes
    ----------
    step
        Steps finished.
    best_score, best_step
        Of the net kept so far.
    seconds
        Wall-clock time spent, over all sessions.
    """

    step: int = 0
    best_score: float = float("-inf")
    best_step: int = 0
    seconds: float = 0.0

    def at(self, step: int, seconds: float) -> Checkpoint:
        """Return the state after ``step`` steps."""
        return replace(self, step=step, seconds=seconds)

    def with_best(self, score: float, step: int) -> Checkpoint:
        """Return the state with a new best net."""
        return replace(self, best_score=score, best_step=step)


def save_checkpoint(
    path: Path,
    module: nn.Module,
    optimiser: torch.optim.Optimizer,
    average: WeightAverage,
    identity: Mapping[str, Any],
    state: Checkpoint,
) -> None:
    """Write everything that resuming needs into one file, atomically.

    Raises
    ------
    OutputError
        If the file cannot be written; the checkpoint before stays.
    """
    tensors: dict[str, Tensor] = {f"module.{k}": v for k, v in module.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.state.items()}
    for index, values in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{k}": torch.as_tensor(v) for k, v in values.items()}
    tensors["random.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    # JSON knows no infinity.
    best = state.best_score if state.best_step else None
    progress = {
        "step": state.step,
        "best_score": best,
        "best_step": state.best_step,
        "seconds": state.seconds,
    }
    write_tensors(path, tensors, {"progress": progress, "identity": dict(identity)}, "training")


def load_checkpoint(
    path: Path,
    module: nn.Module,
    optimiser: torch.optim.Optimizer,
    average: WeightAverage,
    identity: Mapping[str, Any],
) -> Checkpoint:
    """Restore module, optimiser, average and random numbers; a fresh state if there is no file.

    Raises
    ------
    CheckpointError
        If the file is damaged or belongs to a run with other settings or data.
    """
    if not path.exists():
        return Checkpoint()
    refuse_other_run(path, identity)
    tensors, metadata = read_tensors(path, "training")
    groups: dict[str, dict[str, Tensor]] = {
        name: {} for name in ("module", "average", "optimiser", "random")
    }
    for key, value in tensors.items():
        group, _, name = key.partition(".")
        groups[group][name] = value
    restore(module, groups["module"], source=str(path))
    average.restore(groups["average"])
    per_parameter: dict[int, dict[str, Tensor]] = {}
    for name, value in groups["optimiser"].items():
        index, _, field = name.partition(".")
        per_parameter.setdefault(int(index), {})[field] = value
    optimiser.load_state_dict({**optimiser.state_dict(), "state": per_parameter})
    torch.set_rng_state(groups["random"]["cpu"])
    if "cuda" in groups["random"] and torch.cuda.is_available():
        torch.cuda.set_rng_state(groups["random"]["cuda"])
    progress = dict(metadata["progress"])
    if progress["best_score"] is None:
        progress["best_score"] = float("-inf")
    return Checkpoint(**progress)


def refuse_other_run(path: Path, identity: Mapping[str, Any]) -> None:
    """Raise if there is a checkpoint at ``path`` of a run with another identity.

    Raises
    ------
    CheckpointError
        Naming what differs.
    """
    if not path.exists():
        return
    changed = differences(read_metadata(path, "training")["identity"], dict(identity))
    if changed:
        raise CheckpointError(
            f"{path.parent} was begun with other settings or data ({'; '.join(changed[:4])}): "
            "give the settings it was begun with, or another run folder"
        )


def differences(old: Any, new: Any, where: str = "") -> list[str]:
    """Return what two nested identities differ in, one sentence for each key."""
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for key in sorted(set(old) | set(new)):
            found += differences(old.get(key), new.get(key), f"{where}.{key}".lstrip("."))
        return found
    return [] if old == new else [f"{where}: {old!r} then, {new!r} now"]
