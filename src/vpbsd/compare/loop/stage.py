"""The one stage that trains every rival, with the loop, patches and validation of our student.

What a rival may differ in is its objective. Steps, schedule, optimiser, patch shape, labelled
patches and their augmentation come from the ``distill`` section of the run, as for our student.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vpbsd.compare.loop.objective import Objective
from vpbsd.config import DistillConfig
from vpbsd.data.collection import TrainingVolume
from vpbsd.data.patches import PatchSampler, UnlabelledPatches
from vpbsd.segment import Predictor
from vpbsd.stages.distill import Guidance
from vpbsd.stages.loop import Validation
from vpbsd.stages.validation import validate_segmentation

__all__ = ["RivalData", "RivalStage"]


@dataclass(frozen=True)
class RivalData:
    """What a rival learns from.

    Attributes
    ----------
    labelled
        Labelled patches.
    unlabelled
        Unlabelled patches, or what a teacher said about them; None where the method needs
        neither.
    validation
        Volumes that choose the threshold.
    """

    labelled: PatchSampler
    unlabelled: UnlabelledPatches | Guidance | None
    validation: tuple[TrainingVolume, ...]


class RivalStage:
    """Training of one rival.

    Parameters
    ----------
    objective
        The method.
    data
        What it learns from.
    settings
        Steps, batches and the optimiser.
    identity
        Everything that decides the result.
    predictor
        Makes what evaluates the deployed net on blocks.
    save
        Writes the deployed net with its threshold and what validation found.
    """

    name = "rival"

    def __init__(
        self,
        objective: Objective,
        data: RivalData,
        settings: DistillConfig,
        identity: Mapping[str, Any],
        *,
        predictor: Callable[[], Predictor],
        save: Callable[[Validation, int], None],
    ) -> None:
        self.objective, self.settings, self.identity = objective, settings, identity
        self._data, self._predictor, self._save = data, predictor, save

    def batch(self, step: int, rank: int, ranks: int) -> dict[str, Tensor]:
        """Return labelled patches and those that the method needs beside them."""
        settings = self.settings
        patches = self._data.labelled.batch(step, settings.batch_size, rank, ranks)
        batch = {"image": patches.image, "label": patches.label}
        batch |= self._unlabelled(step, rank, ranks)
        return {
            **batch,
            "ramp": torch.tensor(settings.ramp(step)),
            "progress": torch.tensor(step / settings.steps),
        }

    def _unlabelled(self, step: int, rank: int, ranks: int) -> dict[str, Tensor]:
        source, size = self._data.unlabelled, self.settings.unlabelled_batch_size
        if source is None:
            return {}
        if isinstance(source, Guidance):
            number, seed = (step * ranks + rank) * size, self._data.labelled.seed
            return source.batch(number, size, patch=self.settings.patch_voxels, seed=seed)
        return source.batch(step, size, rank, ranks)

    def validate(self) -> Validation:
        """Score whole validation volumes as the deployed net would segment them."""
        predictor = self._predictor()
        return validate_segmentation(
            predictor,
            self._data.validation,
            stage=self.name,
            block_voxels=getattr(predictor, "block", None),
        )

    def heed(self, threshold: float) -> None:
        """Go on as before: rivals train as published."""

    def keep(self, validation: Validation, step: int) -> None:
        """Save the deployed net."""
        self._save(validation, step)
