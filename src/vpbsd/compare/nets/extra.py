"""MONAI is optional: where its nets come from, and what is said where it is missing."""

from __future__ import annotations

from typing import Any

from vpbsd.errors import MissingExtraError

__all__ = ["monai_nets"]


def monai_nets() -> Any:
    """Import and return ``monai.networks.nets``.

    Raises
    ------
    MissingExtraError
        If it cannot be imported.
    """
    try:
        import monai.networks.nets as nets
    except ImportError as error:
        raise MissingExtraError(
            f"most rival nets come from MONAI, which cannot be imported ({error}): "
            "pip install 'vpbsd[compare]'"
        ) from error
    return nets
