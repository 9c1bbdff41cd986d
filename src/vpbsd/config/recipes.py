"""Recipes: complete runs as YAML files, read strictly and written in full; some ship."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from vpbsd.config.run import RunConfig
from vpbsd.errors import ConfigError

__all__ = ["find_recipe", "load_config", "parse_config", "save_config", "shipped_recipes"]

# In an installed package the recipes lie inside it, in a source tree beside ``src``.
_FOLDERS = (Path(__file__).parents[1] / "recipes", Path(__file__).parents[3] / "recipes")


def shipped_recipes() -> dict[str, Path]:
    """Return the recipes that come with vpbsd, by name."""
    for folder in _FOLDERS:
        if folder.is_dir():
            return {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    return {}


def find_recipe(name: str | Path) -> Path:
    """Return the file of a recipe: a path as it is, or the name of one that ships.

    Raises
    ------
    ConfigError
        If there is neither such a file nor such a recipe; the message lists the names.
    """
    path = Path(name)
    if path.is_file():
        return path
    shipped = shipped_recipes()
    if str(name) in shipped:
        return shipped[str(name)]
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
    for dotted, value in (overrides or {}).items():
        _set(tree, dotted, value)
    return parse_config(tree, source=str(file))


def parse_config(tree: Mapping[str, Any], *, source: str = "configuration") -> RunConfig:
    """Validate a nested mapping.

    Raises
    ------
    ConfigError
        Naming every refused key with its reason.
    """
    try:
        return RunConfig.model_validate(tree)
    except ValidationError as error:
        reasons = "; ".join(
            f"{'.'.join(str(p) for p in e['loc']) or 'recipe'}: {e['msg']}" for e in error.errors()
        )
        raise ConfigError(f"{source}: {reasons}") from error


def save_config(config: RunConfig, path: Path) -> None:
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
