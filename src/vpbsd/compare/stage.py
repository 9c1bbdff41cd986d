"""The one stage that trains every rival, with the loop, patches and validation of our student.

What a rival may differ in is its objective. Steps, schedule, optimiser, patch shape, labelled
patches and their augmentation come from the ``distill`` section of the run, as for our student.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vpbsd.compare.objective import Objective
from vpbsd.config import DistillConfig
from vpbsd.data.augment import augment_intensity, draw_geometry, resample, source_box
from vpbsd.data.collection import TrainingVolume
from vpbsd.data.patches import PatchSampler
from vpbsd.geometry import Triplet
from vpbsd.segment import Predictor
from vpbsd.stages.distill import Guidance
from vpbsd.stages.loop import Validation
from vpbsd.stages.validation import validate_segmentation

__all__ = ["RivalData", "RivalStage", "UnlabelledPatches"]

# Another stream of random numbers than the labelled patches draw from.
_UNLABELLED_STREAM = 1


class UnlabelledPatches:
    """Patches of images without labels, as they are and augmented, by seed and number.

    Parameters
    ----------
    volumes
        Each is drawn as often as the others.
    patch
        Patch shape (z, y, x) in voxels.
    seed
        Patches with another seed are independent.
    """

    def __init__(self, volumes: Sequence[TrainingVolume], patch: Triplet, seed: int) -> None:
        self._volumes, self._patch, self._seed = volumes, patch, seed

    def patch(self, number: int) -> dict[str, Tensor]:
        """Return ``plain`` and ``unlabelled`` (c, z, y, x), two looks at the same voxels."""
        rng = np.random.default_rng((_UNLABELLED_STREAM, self._seed, number))
        volume = self._volumes[int(rng.integers(len(self._volumes)))]
        geometry = draw_geometry(rng, volume.shape, self._patch)
        box = source_box(geometry, volume.shape)
        plain = resample(volume.intensities(box), box, geometry)
        return {"plain": plain, "unlabelled": augment_intensity(plain, rng)}


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
        warmup = max(1, round(settings.steps * settings.semi_warmup_share))
        return {
            **batch,
            "ramp": torch.tensor(min(1.0, (step + 1) / warmup)),
            "progress": torch.tensor(step / settings.steps),
        }

    def _unlabelled_patch(self, number: int) -> dict[str, Tensor]:
        source = self._data.unlabelled
        if isinstance(source, Guidance):
            rng = np.random.default_rng((_UNLABELLED_STREAM, self._data.labelled.seed, number))
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

    def keep(self, validation: Validation, step: int) -> None:
        """Save the deployed net."""
        self._save(validation, step)
