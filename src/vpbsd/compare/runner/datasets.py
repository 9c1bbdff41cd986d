"""Data sets as the methods of a comparison find them: a run to start from, and what is scored.

Simulated volumes are written once, below ``data`` in the comparison's folder, and are the same on
every machine: volume ``i`` of a role depends on the settings, the seed and ``i`` alone.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vpbsd.config import (
    DatasetConfig,
    MethodConfig,
    RunConfig,
    SimulatedDataConfig,
    SimulatedPart,
    VolumeConfig,
    change_settings,
    find_recipe,
    parse_config,
    read_tree,
)
from vpbsd.data.collection import (
    Collection,
    open_collection,
    open_test_volumes,
)
from vpbsd.data.simulate import write_simulated
from vpbsd.errors import CheckpointError, ConfigError
from vpbsd.geometry import Triplet
from vpbsd.provenance import write_json_atomic
from vpbsd.stages.checkpoint import differences

__all__ = ["Dataset", "ScoredOn", "open_dataset", "volume_name"]

logger = logging.getLogger(__name__)

ScoredOn = Literal["test", "validation"]
_ROLES = ("labelled", "unlabelled", "validation", "test")
# Beyond the seeds that training draws simulated patches from (1000 a run, a few stages each), so
# that no patch is ever cut from a validation or test volume.
_SEEDS_PER_SET = 1_000_000
_LABELLED_STREAM = 0x4C41


@dataclass(frozen=True)
class Dataset:
    """One data set, ready to be compared on.

    Attributes
    ----------
    name
        In tables and folders.
    run
        What every method starts from, with seed 0.
    edge_voxels
        (z, y, x) edge of the sub-blocks of the statistics.
    methods
        In place of those of the comparison.
    drawn
        Labelled volumes that each seed draws from those of ``run``; None = all learn from the same.
    """

    name: str
    run: RunConfig
    edge_voxels: Triplet
    methods: tuple[MethodConfig, ...] = ()
    drawn: int | None = None

    def of_seed(self, seed: int) -> Dataset:
        """Return what a seed learns from: itself, or the data set with the volumes it draws."""
        if self.drawn is None:
            return self
        listed = self.run.data.labelled
        order = np.random.default_rng((_LABELLED_STREAM, seed)).permutation(len(listed))
        labelled = tuple(listed[i] for i in order[: self.drawn])
        return replace(self, run=_learning_from(self.run, labelled))

    @property
    def scored_on(self) -> ScoredOn:
        """Test volumes; validation volumes, which chose the threshold, where there are none."""
        return "test" if self.run.data.test else "validation"

    @property
    def scored(self) -> tuple[VolumeConfig, ...]:
        """The volumes that methods are scored on."""
        return self.run.data.test or self.run.data.validation

    @cached_property
    def collection(self) -> Collection:
        """What training sees, opened and checked."""
        return open_collection(self.run.data, self.run.teacher.channels)

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """Fingerprints of what training sees."""
        return self.collection.fingerprints()

    @cached_property
    def scored_fingerprints(self) -> dict[str, str]:
        """Fingerprints of what methods are scored on, by the names that results bear."""
        volumes = self.collection.validation
        if self.run.data.test:
            volumes = open_test_volumes(self.run.data, self.collection, self.run.teacher.channels)
        prints: dict[str, str] = {}
        for config, volume in zip(self.scored, volumes, strict=True):
            name = volume_name(config)
            if name in prints:
                raise ConfigError(
                    f"two volumes to be scored are called {name}, so that their results could not "
                    "be told apart: rename one, or put it into another folder"
                )
            volume.image.require_voxel_size()
            prints[name] = volume.image.fingerprint()
            if volume.label is not None:
                prints[f"{name} label"] = volume.label.fingerprint()
        return prints


def volume_name(volume: VolumeConfig) -> str:
    """Return the name of a volume in results: its folder and file, without suffixes."""
    folder = volume.image.parent.name
    return f"{folder}/{volume.name}" if folder else volume.name


def open_dataset(config: DatasetConfig, folder: Path) -> Dataset:
    """Return a data set, its simulated volumes written below ``folder`` if they were not.

    Raises
    ------
    ConfigError
        If the recipe or a change to it is refused, there are fewer labelled volumes than asked
        for, or nothing to score.
    CheckpointError
        If simulated volumes of other settings lie there.
    DataError
        If a volume cannot be used.
    """
    tree = {} if config.recipe is None else read_tree(find_recipe(config.recipe))
    tree = change_settings(tree, {"name": config.name, **config.settings})
    if config.simulated is not None:
        if "data" in tree:
            raise ConfigError(
                f"data set {config.name} is simulated, but its recipe {config.recipe} lists "
                "volumes too: take a recipe without a data section, or leave out 'simulated'"
            )
        root = folder / "data" / config.simulated.folder
        tree["data"] = _simulated(config.simulated, root)
    run = parse_config(tree, source=f"data set {config.name}")
    if config.labelled is not None:
        _require_labelled(run, config.labelled, config.name)
        if not config.draw_labelled:
            run = _learning_from(run, run.data.labelled[: config.labelled])
    if not run.data.test and not run.data.validation:
        raise ConfigError(
            f"data set {config.name} has neither test nor validation volumes: list data.test"
        )
    drawn = config.labelled if config.draw_labelled else None
    return Dataset(config.name, run, config.edge_voxels, config.methods, drawn)


def _require_labelled(run: RunConfig, count: int, name: str) -> None:
    if count > len(run.data.labelled):
        raise ConfigError(
            f"data set {name} is to learn from {count} labelled volumes and lists "
            f"{len(run.data.labelled)}: list more, or lower 'labelled'"
        )


def _learning_from(run: RunConfig, labelled: tuple[VolumeConfig, ...]) -> RunConfig:
    data = run.data.model_copy(update={"labelled": labelled})
    return run.model_copy(update={"data": data})


def _simulated(config: SimulatedDataConfig, root: Path) -> dict[str, Any]:
    """Write what is not there yet; returns the section ``data``."""
    _claim(config, root)
    data: dict[str, Any] = {"root": str(root)}
    for number, role in enumerate(_ROLES, 1):
        part: SimulatedPart | None = getattr(config, role)
        if part is None:
            continue
        target = root / role
        # A folder is moved to its name when it is complete, so that it exists means it is whole.
        if not target.exists():
            logger.info("simulating %d %s volumes in %s", part.count, role, target)
            own = part.model_dump(include={"shape_voxels", "specimen_seed"}, exclude_none=True)
            volumes = config.volumes.model_copy(update=own)
            seed = (config.seed + 1) * _SEEDS_PER_SET + number
            write_simulated(target, volumes, seed, part.count)
        data[role] = [_volume(role, i, labelled=role != "unlabelled") for i in range(part.count)]
    return data


def _volume(role: str, index: int, *, labelled: bool) -> dict[str, str]:
    stem = f"{role}/volume_{index:03d}"
    volume = {"image": f"{stem}_image.ome.tif"}
    return {**volume, "label": f"{stem}_label.ome.tif"} if labelled else volume


def _claim(config: SimulatedDataConfig, root: Path) -> None:
    """Note what the volumes are, or refuse a folder of others."""
    note = root / "simulated.json"
    wanted = json.loads(json.dumps(config.model_dump(mode="json")))
    if note.exists():
        changed = differences(json.loads(note.read_text("utf-8")), wanted)
        if changed:
            raise CheckpointError(
                f"{root} holds simulated volumes of other settings ({'; '.join(changed[:4])}): "
                "give those, name another simulated.folder, or remove it with all that was "
                "learnt from it"
            )
        return
    root.mkdir(parents=True, exist_ok=True)
    write_json_atomic(note, wanted)
