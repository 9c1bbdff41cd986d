r"""L_rec: mean squared error of the reconstructed image.

.. math:: L_{rec} = \frac{1}{N} \sum (\hat x - x)^2
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import mse_loss

__all__ = ["reconstruction_loss"]


def reconstruction_loss(reconstruction: Tensor, image: Tensor) -> Tensor:
    """Return L_rec, a scalar, in squared units of the normalised intensity."""
    return mse_loss(reconstruction.float(), image.float())
