"""Recipes: complete named runs as YAML files; some ship with the package."""

from __future__ import annotations

from pathlib import Path

from vpbsd.errors import ConfigError

__all__ = ["find_recipe", "shipped_recipes"]

# In an installed package the recipes lie inside it, in a source tree beside ``src``.
_FOLDERS = (Path(__file__).parent / "recipes", Path(__file__).parents[2] / "recipes")


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
