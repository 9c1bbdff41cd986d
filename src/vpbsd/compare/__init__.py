"""What the distilled student is measured against.

::

    classical    the best that any single threshold can reach, on intensity or a Sato filter

    results      one JSON line a method, seed and volume
    pooled       Dice and clDice of any set of sub-blocks
    seeds        how far few seeds may be off
    statistics   paired differences and their intervals
    sentences    the same in words
    summary      lines by comparison, data set, method and seed
    labels       scores by number of labelled patches
    tables       Markdown, CSV and LaTeX, through table_rows and markup
    verdicts     what was promised against the numbers
    patterns     which codes stand for vessels, and what the image shows there
"""

from __future__ import annotations

from vpbsd.compare.classical import (
    ClassicalOracles,
    OracleResult,
    classical_oracles,
    oracle_threshold,
    sato_response,
)

__all__ = [
    "ClassicalOracles",
    "OracleResult",
    "classical_oracles",
    "oracle_threshold",
    "sato_response",
]
