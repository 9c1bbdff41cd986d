"""Tubes around the centreline of a label, against shapes whose tube is known."""

from __future__ import annotations

import torch

from vpbsd.compare.loop.tubes import tubed_skeleton


def test_a_thin_line_is_its_own_tube() -> None:
    label = torch.zeros(1, 1, 9, 9, 12)
    label[0, 0, 4, 4, :] = 1
    assert torch.equal(tubed_skeleton(label), label)


def test_a_thick_vessel_keeps_two_voxels_around_its_axis() -> None:
    label = torch.zeros(1, 1, 11, 11, 30)
    label[0, 0, 1:10, 1:10, :] = 1  # 9 voxels across; its axis is at 5, 5
    inside = tubed_skeleton(label)[0, 0, :, :, 15]
    # Within two steps along the axes of the grid: the diamond of 13 voxels.
    diamond = torch.zeros(11, 11)
    for dz in range(-2, 3):
        for dy in range(-2, 3):
            diamond[5 + dz, 5 + dy] = float(abs(dz) + abs(dy) <= 2)
    assert torch.equal(inside, diamond)


def test_tubes_stay_inside_the_label_and_apart() -> None:
    torch.manual_seed(0)
    label = (torch.rand(2, 1, 12, 14, 16) > 0.6).float()
    label[1] = 0
    tube = tubed_skeleton(label)
    assert tube.shape == label.shape
    assert tube.dtype == label.dtype
    assert set(tube.unique().tolist()) == {0.0, 1.0}
    assert (tube <= label).all()
    assert not tube[1].any()
