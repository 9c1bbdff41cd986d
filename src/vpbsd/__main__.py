"""``python -m vpbsd``: the command line, and what ``torchrun -m vpbsd`` starts."""

from __future__ import annotations

import sys

from vpbsd.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())
