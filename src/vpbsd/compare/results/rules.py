"""What a value of a result line may be: one rule for each, and a sentence where it is broken."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, Literal, TypeGuard, get_args

from vpbsd.errors import DataError

__all__ = ["COUNTS", "RULES", "Family", "check_blocks", "plain", "require"]

Family = Literal["ours", "ablation", "design", "net", "semi", "distillation", "classical"]

COUNTS = (
    "true_positive",
    "false_positive",
    "false_negative",
    "line_predicted",
    "line_predicted_inside",
    "line_true",
    "line_true_inside",
)
"""Voxels that are counted in each sub-block: overlap of the masks; voxels of each centreline, and
those of them that lie inside the other mask."""

_BUDGETS = ("steps", "seconds")


def plain(value: Any) -> Any:
    """Return a value with NumPy's numbers, tuples and mappings as Python's own."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, str | bool) or value is None:
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    return [plain(v) for v in value]


Rule = Callable[[str, Any], None]


def require(holds: bool, message: str) -> None:
    """Raise a `DataError` with the message unless something holds."""
    if not holds:
        raise DataError(message)


def _text_rule(*, optional: bool = False) -> Rule:
    def rule(name: str, value: Any) -> None:
        fine = (value is None and optional) or (isinstance(value, str) and value.strip() != "")
        require(fine, f"{name} must be text, got {value!r}")

    return rule


def _whole(minimum: int) -> Rule:
    def rule(name: str, value: Any) -> None:
        require(
            value is None or (_is_whole(value) and value >= minimum),
            f"{name} must be a whole number from {minimum}, or null, got {value!r}",
        )

    return rule


def _is_whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_number(value: Any) -> TypeGuard[float]:
    return not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(value)


def _number(name: str, value: Any) -> None:
    fine = value is None or (_is_number(value) and value >= 0)
    require(fine, f"{name} must be a finite number from 0, or null, got {value!r}")


def _threshold(name: str, value: Any) -> None:
    # Classical filters are cut at intensities, which may be negative.
    require(value is None or _is_number(value), f"{name} must be a finite number, got {value!r}")


def _family(name: str, value: Any) -> None:
    families = get_args(Family)
    require(value in families, f"{name} must be one of {', '.join(families)}, got {value!r}")


def _scores(name: str, value: Any) -> None:
    require(isinstance(value, Mapping), f"{name} must be an object, got {value!r}")
    for key, score in value.items():
        fine = score is None or isinstance(score, str) or _is_number(score)
        require(fine, f"{name}.{key} must be a finite number, text or null, got {score!r}")


def _budget(name: str, value: Any) -> None:
    if value is None:
        return
    known = {"kind", "value"}
    fine: bool = isinstance(value, Mapping) and known <= set(value) <= known | {"tuning_trials"}
    require(fine, f"{name} must have kind and value, got {value!r}")
    require(value["kind"] in _BUDGETS, f"{name}.kind must be steps or seconds, got {value!r}")
    fine = _is_number(value["value"]) and value["value"] > 0
    require(fine, f"{name}.value must be a number above 0, got {value!r}")
    trials = value.get("tuning_trials", 0)
    fine = isinstance(trials, int) and not isinstance(trials, bool) and trials >= 0
    require(fine, f"{name}.tuning_trials must be a whole number from 0, got {trials!r}")


def _mapping(name: str, value: Any) -> None:
    require(isinstance(value, Mapping), f"{name} must be an object, got {value!r}")
    try:
        json.dumps(plain(value), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} holds what JSON cannot ({error})") from error


def _names(name: str, value: Any) -> None:
    listed = isinstance(value, Sequence) and not isinstance(value, str)
    fine = value is None or (listed and all(isinstance(v, str) for v in value))
    require(fine, f"{name} must be a list of names, or null, got {value!r}")


def check_blocks(blocks: Any) -> None:
    """Refuse counts of sub-blocks that are incomplete or contradict each other.

    Raises
    ------
    DataError
        With the reason.
    """
    names = {"edge_voxels", *COUNTS}
    fine = isinstance(blocks, Mapping) and set(blocks) == names
    require(fine, f"blocks must have exactly {', '.join(sorted(names))}")
    for key, values in blocks.items():
        fine = isinstance(values, Sequence) and not isinstance(values, str)
        require(fine, f"blocks.{key} must be a list, got {values!r}")
        whole = all(_is_whole(v) and v >= 0 for v in values)
        require(whole, f"blocks.{key} must be whole numbers from 0")
    edges = list(blocks["edge_voxels"])
    require(len(edges) == 3 and min(edges) > 0, f"blocks.edge_voxels must be z, y, x, got {edges}")
    lengths = {len(blocks[key]) for key in COUNTS}
    require(len(lengths) == 1 and 0 not in lengths, "blocks must list every sub-block once")
    for line in ("line_predicted", "line_true"):
        pairs = zip(blocks[f"{line}_inside"], blocks[line], strict=True)
        require(all(a <= b for a, b in pairs), f"blocks.{line}_inside is above blocks.{line}")


RULES: dict[str, Rule] = {
    "comparison": _text_rule(),
    "dataset": _text_rule(),
    "method": _text_rule(),
    "family": _family,
    "seed": _whole(0),
    "volume": _text_rule(),
    "scores": _scores,
    "threshold": _threshold,
    "parameters": _whole(0),
    "mac_per_voxel": _number,
    "peak_memory_bytes": _whole(0),
    "voxels_per_second": _number,
    "steps": _whole(0),
    "training_seconds": _number,
    "budget": _budget,
    "deployed": _text_rule(optional=True),
    "machine": _mapping,
    "versions": _mapping,
    "labelled_patches": _whole(0),
    "validation": _names,
    "what": _text_rule(optional=True),
    "failure": _text_rule(optional=True),
}
