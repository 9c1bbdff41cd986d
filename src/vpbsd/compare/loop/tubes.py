"""The target of the skeleton recall loss: tubes around the centrelines of a label.

Its centreline, dilated twice by the six face neighbours and cut off where the label ends
(Kirchhoff et al., ECCV 2024, "tubed skeletonization"). Computed anew for every batch, since the
labels are rotated and zoomed anew: some tens of milliseconds for a patch of 48 x 64 x 64 voxels.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import binary_dilation
from torch import Tensor

from vpbsd.metrics.centreline import centreline

__all__ = ["tubed_skeleton"]

_RADIUS_VOXELS = 2


def tubed_skeleton(label: Tensor) -> Tensor:
    """Return tubes of 0 and 1, like ``label`` (B, 1, D, H, W) in shape, type and device."""
    masks = label[:, 0].cpu().numpy() > 0.5
    tubes = np.stack(
        [binary_dilation(centreline(mask), iterations=_RADIUS_VOXELS) & mask for mask in masks]
    )
    return torch.from_numpy(tubes)[:, None].to(label)
