"""The moving average of weights: by hand, put in place for a while, codes left as they are."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vpbsd.stages.average import WeightAverage


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.norm = nn.BatchNorm3d(1)
        self.quantiser = nn.Module()
        self.quantiser.register_buffer("embed", torch.zeros(2))


def test_average_by_hand() -> None:
    net = Net()
    average = WeightAverage(net, 0.9)
    net.weight.data.fill_(1.0)
    average.update(1)
    # d = (1 + 1) / (10 + 1) = 2/11: 2/11 * 0 + 9/11 * 1
    assert average.state["weight"].item() == pytest.approx(9 / 11)
    average.update(2)
    # d = 3/12: 1/4 * 9/11 + 3/4 = 21/22
    assert average.state["weight"].item() == pytest.approx(21 / 22)
    net.weight.data.fill_(0.0)
    average.update(1000)
    # d = 0.9, the most it may be
    assert average.state["weight"].item() == pytest.approx(0.9 * 21 / 22)


def test_without_decay_it_is_the_net() -> None:
    net = Net()
    average = WeightAverage(net, 0.0)
    for step, value in enumerate((1.0, -2.0), 1):
        net.weight.data.fill_(value)
        average.update(step)
        assert average.state["weight"].item() == value


def test_statistics_are_averaged_counters_and_codes_are_copied() -> None:
    net = Net()
    average = WeightAverage(net, 0.9)
    net.norm.running_mean.fill_(11.0)
    net.norm.num_batches_tracked.fill_(7)
    net.quantiser.embed.fill_(5.0)
    average.update(1)
    assert average.state["norm.running_mean"].item() == pytest.approx(9.0)
    assert average.state["norm.num_batches_tracked"].item() == 7
    assert average.state["quantiser.embed"].tolist() == [5.0, 5.0]


def test_in_place_for_a_while_also_when_it_fails() -> None:
    net = Net()
    average = WeightAverage(net, 0.9)
    net.weight.data.fill_(1.0)
    average.update(1)
    with average.in_place():
        assert net.weight.item() == pytest.approx(9 / 11)
    assert net.weight.item() == 1.0
    with pytest.raises(RuntimeError), average.in_place():
        raise RuntimeError
    assert net.weight.item() == 1.0
    assert average.state["weight"].item() == pytest.approx(9 / 11)


def test_it_does_not_share_memory_with_the_net() -> None:
    net = Net()
    average = WeightAverage(net, 0.9)
    saved = {k: v.clone() for k, v in average.state.items()}
    net.weight.data.fill_(3.0)
    assert average.state["weight"].item() == 0.0
    average.restore(saved)
    saved["weight"].fill_(9.0)
    assert average.state["weight"].item() == 0.0
