"""What every section of a configuration is: frozen, and strict about its keys."""

from __future__ import annotations

import math

from pydantic import BaseModel, ConfigDict, PositiveInt

__all__ = ["Range", "Section", "Shape", "product"]

Shape = tuple[PositiveInt, PositiveInt, PositiveInt]
Range = tuple[float, float]


class Section(BaseModel):
    """Base of all sections: frozen, unknown keys refused, docstrings of fields kept for help."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )


def product(factors: tuple[Shape, ...]) -> Shape:
    """Return the product of (z, y, x) factors, axis by axis."""
    z, y, x = (math.prod(axis) for axis in zip(*factors, strict=True))
    return (z, y, x)
