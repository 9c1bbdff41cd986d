r"""A moving average of a net's weights: what is validated, kept and deployed.

With batches of two patches the weights of one step score several points above or below those of
the next; their average does not jump.

.. math:: \bar\theta \leftarrow d \bar\theta + (1 - d) \theta, \qquad
          d = \min\left(d_{max}, \frac{1 + n}{10 + n}\right)

after n steps, so that the first steps do not linger (as in TensorFlow's moving average).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["WeightAverage"]

# Codes are moved by an average of their own, and a revived code jumps on purpose.
_COPIED = "._codebook."


class WeightAverage:
    """Moving average of a module's weights and running statistics.

    Parameters
    ----------
    module
        What is averaged; starts as its copy.
    decay
        d_max, 0 to below 1; 0 keeps a plain copy.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._module, self._decay = module, decay
        self.state: dict[str, Tensor] = _copy(module.state_dict())

    @torch.no_grad()
    def update(self, steps: int) -> None:
        """Move towards the module's weights after ``steps`` steps."""
        decay = min(self._decay, (1 + steps) / (10 + steps))
        for name, value in self._module.state_dict().items():
            average = self.state[name]
            if value.is_floating_point() and _COPIED not in name:
                average.lerp_(value, 1 - decay)
            else:
                average.copy_(value)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the module have the averaged weights for a while."""
        current = _copy(self._module.state_dict())
        self._module.load_state_dict(self.state)
        try:
            yield
        finally:
            self._module.load_state_dict(current)

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a saved average."""
        self.state = _copy(state)

    def to(self, device: torch.device) -> None:
        """Move the average to where the module is."""
        self.state = {name: value.to(device) for name, value in self.state.items()}


def _copy(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in state.items()}
