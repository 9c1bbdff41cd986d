"""The napari plugin, as ``napari.yaml`` declares it: reader, widget, sample data.

``reader`` and ``sample`` return plain values and need nothing of napari; ``widget`` does, and Qt,
which napari brings. All of it is loaded by napari when it is first used.
"""

from __future__ import annotations

__all__: list[str] = []
