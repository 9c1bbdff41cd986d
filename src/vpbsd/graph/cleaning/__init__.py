"""What thinning a real mask leaves behind goes, step by step, and is recorded.

::

    clean:  chains ──► spurs ──► gaps ──► components      all by means of rewire
"""

from __future__ import annotations

__all__: list[str] = []
