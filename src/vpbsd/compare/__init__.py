"""What the distilled student is measured against.

::

    classical      the best that any single threshold can reach, on intensity or a Sato filter
    tuned          thresholds, Frangi and Sato, tuned on labelled volumes
    nets           other nets on the same labels, from VesSAP's to nnU-Net's
"""

from __future__ import annotations

from vpbsd.compare.classical import (
    ClassicalOracles,
    OracleResult,
    classical_oracles,
    oracle_threshold,
)
from vpbsd.compare.filters import frangi_response, sato_response
from vpbsd.compare.tuned import CLASSICAL, ClassicalMethod, Tuned, oracle

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
