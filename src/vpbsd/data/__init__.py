"""What training sees: splits, patches, augmentation, simulated vessel volumes with exact truth."""

from __future__ import annotations

__all__: list[str] = []
