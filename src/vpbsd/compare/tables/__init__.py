"""Tables and verdicts, of result lines alone.

::

    write        all tables of a comparison
    labels       by number of labelled patches; volumes: by test volume
    rows         what they say of one method; markup: Markdown, CSV and LaTeX
    sentences    a difference in words
    verdicts     what the method promises, against the numbers
"""

from __future__ import annotations

__all__: list[str] = []
