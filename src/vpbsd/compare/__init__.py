"""What the distilled student is measured against.

::

    classical    the best that any single threshold can reach, on intensity or a Sato filter
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
