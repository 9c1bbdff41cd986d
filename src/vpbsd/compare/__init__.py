"""What the distilled student is measured against, and how: methods, jobs, results, tables.

::

    what is compared
      classical/       thresholds, Frangi and Sato: tuned on labels, and with the truth in hand
      nets/            other nets on the same labels, from VesSAP's to nnU-Net's
      semi/            semi-supervised rivals that deploy our student
      distillation/    other ways to distil our teacher into our student
      external/        nets as their authors ship them, in environments of their own
      methods          all of them and ours, by name and family
    how it is run
      loop/            the one loop that trains every rival
      deployed/        what is left of training, and how it segments
      runner/          data sets, jobs, processes, evaluation: the whole comparison
    what comes of it
      results/         one JSON line a method, seed and volume; differences and their intervals
      tables/          Markdown, CSV and LaTeX; what was promised against the numbers
      patterns         which codes stand for vessels, and what the image shows there
"""

from __future__ import annotations

__all__: list[str] = []
