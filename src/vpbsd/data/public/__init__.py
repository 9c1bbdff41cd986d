"""Public vessel data sets: what they are, how to get them, and who may be trained and tested on.

::

    DATASETS[name]  ──► fetch(description, out) ──► out/recipe.yaml, images, labels, datasets.json

One file a data set (``vessap``, ``selma3d``, ``minivess``, ``vesselnn``, ``tubenet_octa``) holds
its ``description`` as a value, with the pages that it rests on. The rest is common: ``download``,
``source`` (folders and archives), ``pairs`` (files named by patterns), ``convert``, ``manifest``
(digests), ``recipe`` (the split) and ``fetch``, which does all of it.
"""

from __future__ import annotations

from vpbsd.data.public.convert import Reading
from vpbsd.data.public.description import Description, PublicVolume, SourceFile, Split
from vpbsd.data.public.fetch import Fetched, FetchOptions, fetch
from vpbsd.data.public.minivess import MINIVESS
from vpbsd.data.public.selma3d import SELMA3D
from vpbsd.data.public.tubenet_octa import TUBENET_OCTA
from vpbsd.data.public.vessap import VESSAP
from vpbsd.data.public.vesselnn import VESSELNN
from vpbsd.errors import ConfigError

__all__ = [
    "DATASETS",
    "Description",
    "FetchOptions",
    "Fetched",
    "PublicVolume",
    "Reading",
    "SourceFile",
    "Split",
    "dataset",
    "fetch",
]

DATASETS: dict[str, Description] = {
    d.name: d for d in (SELMA3D, VESSAP, MINIVESS, VESSELNN, TUBENET_OCTA)
}


def dataset(name: str) -> Description:
    """Return the description of a data set.

    Raises
    ------
    ConfigError
        If there is none of that name; the message lists the names.
    """
    if name not in DATASETS:
        raise ConfigError(f"there is no data set '{name}'; known: {', '.join(DATASETS)}")
    return DATASETS[name]
