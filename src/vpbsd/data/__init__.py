"""What training sees: public data sets, patches, augmentation, simulated vessels with truth."""

from __future__ import annotations

__all__: list[str] = []
