"""The moving average of weights: hand-computed values, what it copies, and that it swaps back."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vpbsd.stages.average import WeightAverage


class One(nn.Module):
    """A weight, a counter, and a codebook entry that is moved by an average of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0]))
        self.register_buffer("count", torch.tensor(0))
        self.quantiser = nn.Module()
        self.quantiser._codebook = nn.Module()
        self.quantiser._codebook.register_buffer("embed", torch.tensor([1.0]))

    def move_to(self, value: float) -> None:
        with torch.no_grad():
            self.weight.fill_(value)
            self.count.fill_(int(value))  # type: ignore[operator]
            self.quantiser._codebook.embed.fill_(value)  # type: ignore[operator, union-attr]


def test_hand_computed_values() -> None:
    module = One()
    average = WeightAverage(module, decay=0.5)
    module.move_to(3.0)
    # After step 1 the decay is min(0.5, 2/11): 1 * 2/11 + 3 * 9/11 = 29/11.
    average.update(1)
    assert float(average.state["weight"]) == pytest.approx(29 / 11)
    # After step 50 it is 0.5: (29/11 + 7) / 2 = 53/11.
    module.move_to(7.0)
    average.update(50)
    assert float(average.state["weight"]) == pytest.approx(53 / 11)


def test_counters_and_codes_are_copied() -> None:
    module = One()
    average = WeightAverage(module, decay=0.9)
    module.move_to(5.0)
    average.update(100)
    assert int(average.state["count"]) == 5
    assert float(average.state["quantiser._codebook.embed"]) == 5.0
    assert float(average.state["weight"]) == pytest.approx(1.4)


def test_in_place_lends_the_average_and_gives_back() -> None:
    module = One()
    average = WeightAverage(module, decay=0.9)
    module.move_to(5.0)
    with pytest.raises(RuntimeError, match="stop"), average.in_place():
        assert module.weight.item() == 1.0
        raise RuntimeError("stop")
    assert module.weight.item() == 5.0


def test_no_decay_is_a_plain_copy() -> None:
    module = One()
    average = WeightAverage(module, decay=0.0)
    module.move_to(5.0)
    average.update(1)
    assert float(average.state["weight"]) == 5.0


def test_restore_does_not_share_memory() -> None:
    module = One()
    average = WeightAverage(module, decay=0.9)
    saved = {name: value.clone() for name, value in average.state.items()}
    average.restore(saved)
    module.move_to(5.0)
    average.update(100)
    assert float(saved["weight"]) == 1.0
