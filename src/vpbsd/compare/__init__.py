"""What the distilled student is measured against, and how: methods, jobs, results, tables.

::

    what is compared
      classical, tuned   thresholds, Frangi and Sato: with the truth in hand, and tuned on labels
      nets               other nets on the same labels, from VesSAP's to nnU-Net's
      semi               semi-supervised rivals that deploy our student
      distillation       other ways to distil our teacher into our student
      external           nets as their authors ship them, in environments of their own
      methods            all of them and ours, by name and family
    how it is run
      datasets, jobs     what is to be done, in which order, in which folder
      pool, work         processes that do it, and what one of them does
      training           through the one loop (objective, stage)
      evaluation         masks on disk, scores, speed, memory
      run                the whole comparison
    what comes of it
      results            one JSON line a method, seed and volume
      pooled, seeds      Dice and clDice of any set of sub-blocks; how far few seeds may be off
      statistics         paired differences and their intervals; sentences: the same in words
      summary, labels    lines by comparison, data set, method and seed; by labelled patches
      tables             Markdown, CSV and LaTeX, through table_rows and markup
      verdicts           what was promised against the numbers
      patterns           which codes stand for vessels, and what the image shows there
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
