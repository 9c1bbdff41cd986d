"""Recipes: complete runs as YAML files, read strictly and written in full; some ship."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from vpbsd.config.run import RunConfig
from vpbsd.errors import ConfigError

__all__ = [
    "change_settings",
    "find_recipe",
    "flat_settings",
    "load_config",
    "parse_config",
    "read_tree",
    "reason",
    "save_config",
    "shipped_recipes",
    "validated",
]

Kind = Literal["run", "compare"]

# In an installed package the recipes lie inside it, in a source tree beside ``src``.
_FOLDERS = (Path(__file__).parents[1] / "recipes", Path(__file__).parents[3] / "recipes")
# Files of comparisons, which are no runs, begin so.
_COMPARE = "compare_"

_Section = TypeVar("_Section", bound=BaseModel)


def shipped_recipes(kind: Kind = "run") -> dict[str, Path]:
    """Return the recipes of runs, or of comparisons, that come with vpbsd, by name.

    A comparison is called ``smoke`` whose file is ``compare_smoke.yaml``.
    """
    wanted = kind == "compare"
    for folder in _FOLDERS:
        if folder.is_dir():
            files = sorted(folder.glob("*.yaml"))
            chosen = [p for p in files if p.stem.startswith(_COMPARE) == wanted]
            return {path.stem.removeprefix(_COMPARE): path for path in chosen}
    return {}


def find_recipe(name: str | Path, kind: Kind = "run") -> Path:
    """Return the file of a recipe: a path as it is, or the name of one that ships.

    Raises
    ------
    ConfigError
        If there is neither such a file nor such a recipe; the message lists the names.
    """
    path = Path(name)
    if path.is_file():
        return path
    shipped = shipped_recipes(kind)
    short = str(name).removeprefix(_COMPARE) if kind == "compare" else str(name)
    if short in shipped:
        return shipped[short]
    raise ConfigError(
        f"there is no recipe file '{name}' and none of that name ships with vpbsd; give the path "
        f"of a YAML file, or one of: {', '.join(shipped) or 'none is installed'}"
    )


def load_config(path: Path | str, overrides: Mapping[str, Any] | None = None) -> RunConfig:
    """Read a YAML recipe; ``overrides`` maps dotted keys (``"pretrain.steps"``) to values.

    Raises
    ------
    ConfigError
        If the file is missing or not YAML, or a key or value is refused.
    """
    tree = read_tree(path)
    for dotted, value in (overrides or {}).items():
        _set(tree, dotted, value)
    return parse_config(tree, source=str(path))


def read_tree(path: Path | str) -> dict[str, Any]:
    """Read the nested settings of a YAML recipe, as they stand there.

    Raises
    ------
    ConfigError
        If the file is missing or not YAML, or holds no sections.
    """
    file = Path(path)
    try:
        tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the recipe {file}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not valid YAML: {error}") from error
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{file} must hold sections such as 'data:' and 'pretrain:'")
    return tree


def change_settings(tree: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``tree`` with changes, each under a dotted key, in a nested section, or both.

    Raises
    ------
    ConfigError
        If a change goes below a value that is not a section.
    """
    changed = copy.deepcopy(dict(tree))
    for dotted, value in flat_settings(changes).items():
        _set(changed, dotted, copy.deepcopy(value))
    return changed


def flat_settings(changes: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by dotted key."""
    flat: dict[str, Any] = {}
    for key, value in changes.items():
        if isinstance(value, Mapping):
            flat |= flat_settings(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def parse_config(tree: Mapping[str, Any], *, source: str = "configuration") -> RunConfig:
    """Validate a nested mapping.

    Raises
    ------
    ConfigError
        Naming every refused key with its reason.
    """
    return validated(RunConfig, tree, source=source)


def validated(model: type[_Section], tree: Mapping[str, Any], *, source: str) -> _Section:
    """Return a section made of a nested mapping.

    Raises
    ------
    ConfigError
        Naming every refused key with its reason.
    """
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        found = [(".".join(str(p) for p in e["loc"]), reason(e)) for e in error.errors()]
        reasons = "; ".join(f"{key or 'recipe'}: {why}" for key, why in found)
        raise ConfigError(f"{source}: {reasons}") from error


def reason(fault: Mapping[str, Any]) -> str:
    """Return what pydantic found wrong, where it is a sentence of ours as we wrote it."""
    own = fault.get("ctx", {}).get("error") if fault["type"] == "value_error" else None
    return str(own or fault["msg"])


def save_config(config: BaseModel, path: Path) -> None:
    """Write the effective configuration, every default spelled out, as YAML."""
    path.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False), "utf-8")


def _set(tree: dict[str, Any], dotted: str, value: Any) -> None:
    *parents, last = dotted.split(".")
    for key in parents:
        child = tree.setdefault(key, {})
        if not isinstance(child, dict):
            raise ConfigError(f"cannot set {dotted}: {key} is not a section")
        tree = child
    tree[last] = value
