"""What a command line says about settings: dotted overrides, recipes and their help."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vpbsd.errors import ConfigError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from vpbsd.config import RunConfig, SimulateConfig

__all__ = ["HelpWithSettings", "read_recipe", "settings", "simulate_config", "split_overrides"]

# What the training verbs take themselves; every other long option is a setting.
_OWN_OPTIONS = {"--help", "--config", "--out", "--quiet", "--teacher"}


def split_overrides(words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Part ``--dotted.key value`` and ``--dotted.key=value`` from the other words.

    Returns
    -------
    words, overrides
        What is left for the parser, and the values as text by dotted key.

    Raises
    ------
    ConfigError
        If a setting has no value.
    """
    rest: list[str] = []
    found: dict[str, str] = {}
    queue = iter(words)
    for word in queue:
        name, equals, value = word.partition("=")
        if not name.startswith("--") or len(name) == 2 or name in _OWN_OPTIONS:
            rest.append(word)
            continue
        if not equals:
            value = next(queue, "--")
            if value.startswith("--"):
                raise ConfigError(f"{name} needs a value, as in {name} 2")
        found[name[2:].replace("-", "_")] = value
    return rest, found


def read_recipe(recipe: str | None, config: str | None, overrides: Mapping[str, str]) -> RunConfig:
    """Return the configuration that the words of a training verb describe.

    Parameters
    ----------
    recipe, config
        The two ways to name a recipe; one of them.
    overrides
        Dotted keys and their values as YAML text.

    Raises
    ------
    ConfigError
        If there is not one recipe, or a setting is refused; a near name is suggested.
    """
    import yaml

    from vpbsd.config import find_recipe, load_config, shipped_recipes

    if (recipe is None) == (config is None):
        known = ", ".join(shipped_recipes())
        raise ConfigError(f"name one recipe: the path of a YAML file, or one of {known}")
    values: dict[str, Any] = {}
    for key, text in overrides.items():
        try:
            values[key] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"the value of --{key} is not YAML: {text!r}") from error
    file = find_recipe(recipe if recipe is not None else str(config))
    try:
        return load_config(file, values)
    except ConfigError as error:
        raise ConfigError(f"{error}{_suggestions(error)}") from error


def _suggestions(error: ConfigError) -> str:
    """Return near names for the keys that pydantic does not know."""
    from pydantic import ValidationError

    if not isinstance(error.__cause__, ValidationError):
        return ""
    known = [key for key, _, _ in settings()]
    known += sorted({key.rpartition(".")[0] for key in known} - {""})
    near = []
    for fault in error.__cause__.errors():
        if fault["type"] == "extra_forbidden":
            dotted = ".".join(str(part) for part in fault["loc"])
            near += difflib.get_close_matches(dotted, known, n=1, cutoff=0.75)
    return f"; did you mean {', '.join(near)}?" if near else ""


def settings() -> list[tuple[str, Any, str]]:
    """Return every setting of a run: dotted key, default and meaning."""
    from vpbsd.config import RunConfig

    return list(_walk(RunConfig, ""))


def _walk(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, Any, str]]:
    from pydantic import BaseModel

    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _walk(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field.default, field.description or ""


def simulate_config(
    shape_voxels: Sequence[int] | None, voxel_size_um: Sequence[float] | None
) -> SimulateConfig:
    """Return the simulation's settings with what was given on the command line.

    A voxel size that was asked for is kept as it is: the zoom that varies it is switched off.

    Raises
    ------
    ConfigError
        If a size is not possible.
    """
    from pydantic import ValidationError

    from vpbsd.config import SimulateConfig
    from vpbsd.config.recipes import reason

    given: dict[str, Any] = {}
    if shape_voxels is not None:
        given["shape_voxels"] = tuple(shape_voxels)
    if voxel_size_um is not None:
        given |= {"voxel_size_um": tuple(voxel_size_um), "zoom": (1.0, 1.0)}
    try:
        return SimulateConfig(**given)
    except ValidationError as error:
        raise ConfigError("; ".join(reason(e) for e in error.errors())) from error


class HelpWithSettings(argparse.Action):
    """``--help`` that also lists every setting; only then is the configuration loaded."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        """Print and leave."""
        lines = [
            parser.format_help(),
            "settings, each with its default; they override the recipe, in YAML",
            '(--pretrain.steps 100 --distill.patch_voxels "[16, 96, 96]"):',
        ]
        for key, default, meaning in settings():
            lines.append(f"  --{key} {_shown(default)}")
            if meaning:
                lines.append(f"        {' '.join(meaning.split())}")
        sys.stdout.write("\n".join(lines) + "\n")
        parser.exit()


def _shown(default: object) -> str:
    if isinstance(default, tuple):
        return "[" + ", ".join(_shown(v) for v in default) + "]"
    return str(default)
