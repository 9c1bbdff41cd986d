"""A rival as the runner sees it: a name, what it is, and how its objective is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vpbsd.compare.loop.objective import Objective
from vpbsd.config import RunConfig
from vpbsd.stages.distill import Guidance

__all__ = ["Rival"]


@dataclass(frozen=True, slots=True)
class Rival:
    """One method that is trained by :class:`vpbsd.compare.loop.stage.RivalStage`.

    Attributes
    ----------
    name
        In recipes, tables and folders.
    what
        One line: the idea and its source.
    build
        Makes the objective from the run's configuration and, where the method needs a teacher,
        what that teacher said; random weights come from torch's global generator.
    """

    name: str
    what: str
    build: Callable[[RunConfig, Guidance | None], Objective]
