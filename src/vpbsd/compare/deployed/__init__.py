"""What a trained method leaves, and how it segments a volume.

::

    net           the net that is deployed: its file in the folder of its run
    weights       nets that are not ours, in safetensors
    predictor     any net on one block, for the tiler that every method shares
    segmenters    a net, a classical method or one of another environment, on a whole volume
"""

from __future__ import annotations

__all__: list[str] = []
