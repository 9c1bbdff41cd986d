"""Thresholds, Frangi and Sato: tuned on labels, and with the truth in hand.

::

    filters    what answers to tubes, in 3D or plane by plane
    tuned      settings chosen on the labelled volumes, or on the very volume that is scored
    oracles    the best that one threshold can reach
"""

from __future__ import annotations

from vpbsd.compare.classical.filters import frangi_response, sato_response
from vpbsd.compare.classical.oracles import (
    ClassicalOracles,
    OracleResult,
    classical_oracles,
    oracle_threshold,
)
from vpbsd.compare.classical.tuned import CLASSICAL, ClassicalMethod, Tuned, oracle

__all__ = [
    "CLASSICAL",
    "ClassicalMethod",
    "ClassicalOracles",
    "OracleResult",
    "Tuned",
    "classical_oracles",
    "frangi_response",
    "oracle",
    "oracle_threshold",
    "sato_response",
]
