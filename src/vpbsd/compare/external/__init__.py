"""Methods that run elsewhere: as their authors ship them, in an environment of their own.

They are trained on the same labelled volumes, their threshold is chosen on the same validation
volumes, and their masks are scored like all others. Each is asked for by its name: none comes with
a family, since its environment is not ours to install.
"""

from __future__ import annotations

from collections.abc import Mapping

from vpbsd.compare.external.method import External, Predicted
from vpbsd.compare.external.nnunet import NnUnet

__all__ = ["EXTERNAL", "External", "Predicted"]

EXTERNAL: Mapping[str, External] = {"nnunet": NnUnet()}
"""All of them, by name."""
