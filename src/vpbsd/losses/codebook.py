r"""L_cb: pull codes to encodings and encodings to codes (van den Oord et al. 2017, eq. 3).

.. math::

    L_{cb} = \| \mathrm{sg}[z] - e \|^2 + \beta \| z - \mathrm{sg}[e] \|^2

The first term is left out where a moving average moves the codes instead.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import mse_loss

__all__ = ["codebook_loss"]


def codebook_loss(
    encodings: Tensor, codes: Tensor, *, beta: float, codes_by_gradient: bool
) -> Tensor:
    """Return L_cb, a scalar, for ``encodings`` z and their ``codes`` e of equal shape."""
    loss = beta * mse_loss(encodings, codes.detach())
    if codes_by_gradient:
        loss = loss + mse_loss(codes, encodings.detach())
    return loss
