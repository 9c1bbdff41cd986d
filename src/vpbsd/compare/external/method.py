"""What an external method is to the runner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vpbsd.data.collection import TrainingVolume
from vpbsd.stages.loop import OnStep
from vpbsd.stages.run import Run

__all__ = ["External", "Predicted"]


@dataclass(frozen=True, slots=True)
class Predicted:
    """What a method says of some volumes.

    Attributes
    ----------
    probability
        (z, y, x) float32 of each, by the volume's name.
    seconds
        That each took, the program's start not included.
    facts
        Of the method, named as in result lines: ``deployed``, ``parameters``, ``mac_per_voxel``,
        ``peak_memory_bytes``.
    """

    probability: Mapping[str, NDArray[np.float32]]
    seconds: Mapping[str, float]
    facts: Mapping[str, Any]


class External(Protocol):
    """A method in an environment of its own."""

    @property
    def name(self) -> str:
        """In recipes, tables and folders."""
        ...

    @property
    def what(self) -> str:
        """One line: the idea and its source."""
        ...

    def require(self) -> None:
        """Refuse to begin where its environment is missing.

        Raises
        ------
        MissingExtraError
            With what to do about it.
        """
        ...

    def train(self, run: Run, on_step: OnStep) -> int:
        """Train on the labelled volumes, from where it stands; returns the steps taken.

        Raises
        ------
        StopRequested
            After SIGTERM; the same call goes on.
        WorkerDiedError
            If its program fails.
        """
        ...

    def predict(self, run: Run, volumes: Sequence[TrainingVolume]) -> Predicted:
        """Return what it says of volumes, after training.

        Raises
        ------
        StopRequested, WorkerDiedError
            As :meth:`train`.
        """
        ...
