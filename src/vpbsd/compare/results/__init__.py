"""Result lines, and what they tell of methods.

::

    lines         a method, seed and volume as one line of JSON; rules: what it may hold
    pooled        Dice and clDice of any set of sub-blocks
    seeds         how far the mean of a few seeds may be off
    statistics    paired differences, their intervals, their correction
    summary       lines by comparison, data set, method and seed
    labels        scores by number of labelled patches
"""

from __future__ import annotations

__all__: list[str] = []
