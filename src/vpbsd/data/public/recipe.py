"""The recipe of a run on a public data set: who is labelled, unlabelled, validation and test."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from vpbsd.config import parse_config
from vpbsd.data.public.description import ROLES, Description, PublicVolume, Role
from vpbsd.data.public.manifest import Manifest
from vpbsd.errors import ConfigError, OutputError

__all__ = ["RECIPE_NAME", "Parts", "deal", "write_recipe"]

RECIPE_NAME = "recipe.yaml"


@dataclass(frozen=True, slots=True)
class Parts:
    """Names of volumes by the part they play in a run."""

    labelled: tuple[str, ...]
    unlabelled: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    note: str


def deal(
    description: Description,
    volumes: Sequence[PublicVolume],
    *,
    labelled: int | None = None,
    by_volume: bool = False,
) -> Parts:
    """Give each volume its part.

    Parameters
    ----------
    volumes
        Those that are there.
    labelled
        Use the labels of so many training volumes, the first ones; of the others only the image.
    by_volume
        Accept a split by volume where animals are not published. Without it all such volumes are
        for training, since none of them could test a net that has seen the others.

    Raises
    ------
    ConfigError
        If ``labelled`` is more than there are training volumes.
    """
    split = description.split
    if split.by == "volume" and not by_volume:
        roles: dict[Role, list[str]] = {"train": [v.name for v in volumes]}
        why, _, _ = split.why.partition(";")
        note = f"no split: {why}, so that all volumes are for training"
        if split.validation or split.test:
            note += "; --by-volume splits them all the same"
    else:
        roles = {role: [v.name for v in volumes if split.role(v) == role] for role in ROLES}
        note = f"split by {split.by}: {split.why}"
    train = roles.get("train", [])
    if labelled is not None and not 1 <= labelled <= len(train):
        raise ConfigError(
            f"--labelled {labelled}: there are {len(train)} training volumes in {description.name}"
        )
    return Parts(
        labelled=tuple(train[:labelled]),
        unlabelled=() if labelled is None else tuple(train[labelled:]),
        validation=tuple(roles.get("validation", [])),
        test=tuple(roles.get("test", [])),
        note=note,
    )


def write_recipe(description: Description, manifest: Manifest, parts: Parts) -> Path:
    """Write the recipe of a run on what the manifest lists; it is checked as any recipe is.

    Raises
    ------
    ConfigError
        If it would not be accepted.
    OutputError
        If somebody edited the recipe that an earlier call wrote.
    """
    tree = _tree(description, manifest, parts)
    path = manifest.folder / RECIPE_NAME
    parse_config(tree, source=str(path))
    about = [
        f"{description.title}",
        f"{description.home}",
        f"licence: {description.licence}",
        parts.note,
        f"voxel size: {description.voxel_size_source}",
    ]
    if description.overlaps:
        about.append(f"shares volumes with {', '.join(description.overlaps)}")
    body = "".join(f"# {line}\n" for line in about)
    body += yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
    if path.exists() and not _is_as_written(path.read_text(encoding="utf-8")):
        raise OutputError(
            f"'{path}' was changed since it was written, so it is not overwritten: move it away, "
            "or name another folder"
        )
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(_seal(body) + body, encoding="utf-8")
    partial.replace(path)
    return path


def _seal(body: str) -> str:
    """Return a first line that tells whether the rest was edited."""
    digest = hashlib.sha256(body.encode()).hexdigest()[:16]
    return f"# Written by vpbsd fetch; the next call replaces it unless it was edited ({digest}).\n"


def _is_as_written(text: str) -> bool:
    first, _, body = text.partition("\n")
    return f"{first}\n" == _seal(body)


def _tree(description: Description, manifest: Manifest, parts: Parts) -> dict[str, Any]:
    def listed(names: tuple[str, ...], *, with_label: bool = True) -> list[dict[str, str]]:
        kinds = ("image", "label") if with_label else ("image",)
        return [{k: manifest.volumes[name][k]["file"] for k in kinds} for name in names]

    settings: dict[str, Any] = copy.deepcopy(dict(description.settings))
    if not parts.labelled:
        # Nothing real to learn from: on simulated volumes alone, tested on the real ones.
        for stage in ("finetune", "distill"):
            settings[stage] = {**settings.get(stage, {}), "simulated_share": 1.0}
        settings["pretrain"] = {**settings.get("pretrain", {}), "simulated_share": 1.0}
    return {
        "name": description.name,
        "data": {
            "root": str(manifest.folder.resolve()),
            "labelled": listed(parts.labelled),
            "unlabelled": listed(parts.unlabelled, with_label=False),
            "validation": listed(parts.validation),
            "test": listed(parts.test),
        },
        **settings,
    }
