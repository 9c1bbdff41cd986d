from __future__ import annotations

import os
import signal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vpbsd.blockwise import plan_blocks
from vpbsd.errors import CollapseError, IntensityError
from vpbsd.geometry import Box
from vpbsd.segment import TorchRuntime, predict_volume, probability, read_padded
from vpbsd.volumes import ArrayVolume, IntensityScale


def test_padding_mirrors_the_volume_at_its_high_end() -> None:
    row = ArrayVolume(np.arange(5, dtype=np.uint16).reshape(1, 1, 5))
    whole = read_padded(row, Box((0, 0, 0), (1, 1, 13)))
    assert whole[0, 0, 0].tolist() == [0, 1, 2, 3, 4, 4, 3, 2, 1, 0, 0, 1, 2]
    assert whole.dtype == np.uint16
    # A box that starts late shows the same voxels: they depend on coordinates alone.
    assert read_padded(row, Box((0, 0, 4), (1, 1, 9)))[0, 0, 0].tolist() == [4, 4, 3, 2, 1]
    # One voxel is its own mirror image.
    assert read_padded(row, Box((0, 0, 2), (3, 2, 3)))[0, :, :, 0].tolist() == [[2, 2]] * 3


@given(shape=st.tuples(*[st.integers(1, 6)] * 3), data=st.data())
def test_any_box_equals_numpys_symmetric_padding(
    shape: tuple[int, int, int], data: st.DataObject
) -> None:
    array = np.arange(2 * np.prod(shape), dtype=np.int32).reshape(2, *shape)
    padded = np.pad(array, [(0, 0), *[(0, 12)] * 3], mode="symmetric")
    start = [data.draw(st.integers(0, n - 1)) for n in shape]
    stop = [data.draw(st.integers(a + 1, n + 12)) for a, n in zip(start, shape, strict=True)]
    box = Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
    expected = padded[(slice(None), *box.slices)]
    np.testing.assert_array_equal(read_padded(ArrayVolume(array), box), expected)


def one_pass(net: torch.nn.Module, array: np.ndarray, scale: IntensityScale) -> np.ndarray:
    """The definition: the net as it is, once, over the padded volume."""
    pad = [(0, 0), *((0, -n % s) for n, s in zip(array.shape[1:], net.stride, strict=True))]
    padded = torch.from_numpy(scale.apply(np.pad(array, pad, mode="symmetric")))
    with torch.inference_mode():
        logits = net.eval()(padded[None])[0, 0]
    return torch.sigmoid(logits).numpy()[tuple(slice(0, n) for n in array.shape[1:])]


shapes = st.tuples(*[st.integers(1, 23)] * 3)


@settings(max_examples=60)
@given(
    shape=shapes,
    blocks=st.tuples(*[st.integers(1, 6)] * 3),
    channels=st.integers(1, 2),
    seed=st.integers(0, 3),
)
def test_blocks_give_one_pass_over_the_volume(
    small_net: type,
    shape: tuple[int, int, int],
    blocks: tuple[int, int, int],
    channels: int,
    seed: int,
) -> None:
    net = small_net(channels=channels, seed=seed)
    array = np.random.default_rng(seed).normal(0, 3, (channels, *shape)).astype(np.float32)
    scale = IntensityScale((0.0,) * channels, (1.0,) * channels)
    runtime = TorchRuntime(net)
    whole_block = tuple(n + n % 2 for n in shape)
    volume = ArrayVolume(array)
    cut = predict_volume(volume, runtime, scale=scale, block_voxels=[2 * b for b in blocks])
    uncut = predict_volume(volume, runtime, scale=scale, block_voxels=whole_block)
    # Bit for bit the same wherever it is cut ...
    np.testing.assert_array_equal(cut, uncut)
    # ... and the original net's result up to the rounding of folded weights.
    np.testing.assert_allclose(cut, one_pass(net, array, scale), atol=1e-5)


def test_a_halo_below_the_receptive_field_would_be_seen(small_net: type) -> None:
    # The law above must be able to fail: with too small a halo it does.
    net = small_net()
    net.halo_voxels = (0, 0, 0)
    runtime = TorchRuntime(net)
    volume = ArrayVolume(np.random.default_rng(0).normal(0, 3, (12, 12, 12)).astype(np.float32))
    scale = IntensityScale((0.0,), (1.0,))
    cut = predict_volume(volume, runtime, scale=scale, block_voxels=4)
    assert np.abs(cut - predict_volume(volume, runtime, scale=scale, block_voxels=12)).max() > 1e-3


def test_cuts_across_torchs_choice_of_algorithm(
    small_net: type, unit_scale: IntensityScale
) -> None:
    # Layers of the whole volume lie above the size at which torch changes algorithm, those of the
    # blocks below.
    volume = ArrayVolume(np.random.default_rng(1).normal(0, 3, (80, 80, 40)).astype(np.float32))
    runtime = TorchRuntime(small_net())
    whole = predict_volume(volume, runtime, scale=unit_scale, block_voxels=80)
    cut = predict_volume(volume, runtime, scale=unit_scale, block_voxels=20)
    np.testing.assert_array_equal(cut, whole)


def test_a_value_that_is_no_number_is_named_with_its_box(
    small_net: type, unit_scale: IntensityScale
) -> None:
    array = np.ones((8, 8, 8), np.float32)
    array[5, 0, 0] = np.nan
    array[6, 0, 0] = np.inf
    block = plan_blocks((8, 8, 8), 8, halo=4, stride=2)[0]
    with pytest.raises(IntensityError, match=r"2 of 512 values at z\[0:8\] y\[0:8\] x\[0:8\]"):
        probability(ArrayVolume(array), unit_scale, TorchRuntime(small_net()), block)


def test_a_net_that_gives_no_numbers_is_refused(
    constant_net: type, unit_scale: IntensityScale
) -> None:
    block = plan_blocks((4, 4, 4), 4)[0]
    volume = ArrayVolume(np.ones((4, 4, 4), np.uint8))
    with pytest.raises(CollapseError, match=r"output is NaN at z.*--precision fp32"):
        probability(volume, unit_scale, TorchRuntime(constant_net(float("nan"))), block)


def test_a_stop_is_left_to_whoever_handles_it_already(
    small_net: type, unit_scale: IntensityScale
) -> None:
    # Training validates in between, and saves itself in its own time when it is told to stop.
    told: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    try:
        found = predict_volume(
            ArrayVolume(np.ones((8, 8, 16), np.float32)),
            TorchRuntime(small_net()),
            scale=unit_scale,
            block_voxels=8,
            on_block=lambda _: os.kill(os.getpid(), signal.SIGTERM),
        )
    finally:
        signal.signal(signal.SIGTERM, before)
    assert told == [signal.SIGTERM] * 2
    assert found.shape == (8, 8, 16)
