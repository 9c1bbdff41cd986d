"""The one stage that trains every rival, with the loop, patches and validation of our student.

What a rival may differ in is its objective. Steps, schedule, optimiser, patch shape, labelled
patches and their augmentation come from the ``distill`` section of the run, as for our student.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vpbsd.compare.objective import Objective
from vpbsd.config import DistillConfig
from vpbsd.data.collection import TrainingVolume
from vpbsd.data.patches import UNLABELLED_STREAM, PatchSampler, UnlabelledPatches
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
        if self._data.unlabelled is not None:
            count = settings.unlabelled_batch_size
            first = (step * ranks + rank) * count
            found = [self._unlabelled_patch(first + i) for i in range(count)]
            batch |= {key: torch.stack([one[key] for one in found]) for key in found[0]}
        return {
            **batch,
            "ramp": torch.tensor(settings.ramp(step)),
            "progress": torch.tensor(step / settings.steps),
        }

    def _unlabelled_patch(self, number: int) -> dict[str, Tensor]:
        source = self._data.unlabelled
        if isinstance(source, Guidance):
            rng = np.random.default_rng((UNLABELLED_STREAM, self._data.labelled.seed, number))
            return source.patch(rng, self.settings.patch_voxels)
        assert source is not None
        return source.patch(number)

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
