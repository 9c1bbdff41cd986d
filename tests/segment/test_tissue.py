from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from vpbsd.blockwise import plan_blocks
from vpbsd.geometry import Box, Triplet, VoxelSize
from vpbsd.segment import RuntimeSpec, SegmentOptions, segment_volume
from vpbsd.segment.operation import SegmentBlock
from vpbsd.segment.tissue import empty_voxels, signal_cells
from vpbsd.volumes import ArrayVolume, IntensityScale

SIZE = VoxelSize(1, 1, 1)
VOID, TISSUE = 100, 1000
SCALE = IntensityScale((500.0,), (200.0,))


def mask_of(
    array: np.ndarray, net: Any, block: Triplet, *, skip: bool, scale: IntensityScale = SCALE
) -> np.ndarray:
    """The mask that the operation of a segmentation makes of an array, block by block."""
    volume = ArrayVolume(array)
    operation = SegmentBlock(
        volume=volume,
        scale=scale,
        net=net,
        spec=RuntimeSpec(),
        threshold=0.5,
        skip_empty=skip,
        writers={},
    )
    plan = plan_blocks(volume.shape_zyx, block, net.halo_voxels, net.stride)
    mask = np.zeros(volume.shape_zyx, np.uint8)
    for part in plan:
        found = operation.compute(part, operation.read(part)).mask
        if found is not None:
            mask[part.write.slices] = found
    return mask


def seen_by_hand(signal: np.ndarray, stride: Triplet, halo: Triplet) -> np.ndarray:
    """Voxels of cells from which some signal is at most a halo away, one cell after the other."""
    seen = np.zeros(signal.shape, bool)
    counts = [-(-n // s) for n, s in zip(signal.shape, stride, strict=True)]
    for cell in np.ndindex(*counts):
        inside = tuple(slice(i * s, (i + 1) * s) for i, s in zip(cell, stride, strict=True))
        around = tuple(
            slice(max(0, i * s - h), (i + 1) * s + h)
            for i, s, h in zip(cell, stride, halo, strict=True)
        )
        seen[inside] = signal[around].any()
    return seen


# ------------------------------------------------------------------------------------------- laws


@st.composite
def specimens(draw: st.DrawFn) -> np.ndarray:
    """Void with a box of tissue in it, and a few bright voxels anywhere."""
    shape = tuple(draw(st.integers(3, 18)) for _ in range(3))
    array = np.full(shape, VOID, np.uint16)
    start = [draw(st.integers(0, n - 1)) for n in shape]
    stop = [draw(st.integers(a, min(n, a + 6))) for a, n in zip(start, shape, strict=True)]
    array[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = TISSUE
    for _ in range(draw(st.integers(0, 2))):
        array[tuple(draw(st.integers(0, n - 1)) for n in shape)] = 2 * TISSUE
    return array


@settings(max_examples=40)
@given(
    array=specimens(),
    blocks=st.tuples(*[st.integers(2, 6)] * 3),
    halo=st.sampled_from([(4, 4, 4), (5, 4, 6)]),
    seed=st.integers(0, 3),
)
def test_a_mask_with_skipping_does_not_depend_on_the_cut(
    small_net: type, array: np.ndarray, blocks: Triplet, halo: Triplet, seed: int
) -> None:
    net = small_net(seed=seed)
    net.halo_voxels = halo
    block = tuple(2 * b for b in blocks)
    whole = tuple(n + n % 2 for n in array.shape)
    np.testing.assert_array_equal(
        mask_of(array, net, block, skip=True), mask_of(array, net, whole, skip=True)
    )


@settings(max_examples=40)
@given(array=specimens(), blocks=st.tuples(*[st.integers(2, 6)] * 3), seed=st.integers(0, 3))
def test_what_sees_signal_is_computed_as_ever_and_all_else_is_background(
    small_net: type, array: np.ndarray, blocks: Triplet, seed: int
) -> None:
    net = small_net(seed=seed)
    block = tuple(2 * b for b in blocks)
    seen = seen_by_hand(array > 500, net.stride, net.halo_voxels)
    unskipped = mask_of(array, net, block, skip=False)
    np.testing.assert_array_equal(mask_of(array, net, block, skip=True), unskipped * seen)


@given(
    shape=st.tuples(*[st.integers(1, 24)] * 3),
    stride=st.tuples(*[st.integers(1, 6)] * 3),
    halo=st.tuples(*[st.integers(0, 9)] * 3),
    blocks=st.tuples(*[st.integers(1, 3)] * 3),
    data=st.data(),
)
def test_one_bright_voxel_keeps_every_cell_that_could_see_it(
    shape: Triplet, stride: Triplet, halo: Triplet, blocks: Triplet, data: st.DataObject
) -> None:
    place = tuple(data.draw(st.integers(0, n - 1)) for n in shape)
    array = np.full(shape, VOID, np.uint16)
    array[place] = TISSUE
    block = [b * s * max(1, 6 // s) for b, s in zip(blocks, stride, strict=True)]
    plan = plan_blocks(shape, block, halo, stride)
    pad = [(0, p - n) for p, n in zip(plan.padded_shape, shape, strict=True)]
    padded = np.pad(array, pad, "symmetric")
    expected = seen_by_hand(padded > 500, stride, halo)
    for part in plan:
        empty = empty_voxels(padded[part.read.slices][None], SCALE, part, stride, halo)
        kept = np.ones(part.write.shape, bool) if empty is None else ~empty
        if all(h % s == 0 for h, s in zip(halo, stride, strict=True)):
            np.testing.assert_array_equal(kept, expected[part.write.slices])
        else:
            # A halo that ends inside a cell sees all of that cell.
            assert not (expected[part.write.slices] & ~kept).any()


# --------------------------------------------------------------------------------- what is signal


def test_cells_with_a_voxel_above_the_centre() -> None:
    image = np.full((1, 2, 4, 4), 500, np.uint16)
    image[0, 1, 0, 3] = 501
    assert signal_cells(image, SCALE, (2, 2, 2)).tolist() == [[[False, True], [False, False]]]
    assert signal_cells(image, SCALE, (1, 4, 1)).tolist() == [
        [[False] * 4],
        [[False, False, False, True]],
    ]


def test_any_channel_counts_against_its_own_centre() -> None:
    image = np.array([[[[6, 4, 4]]], [[[4, 4, 6]]]], np.float32)
    scale = IntensityScale((5.0, 7.0), (1.0, 1.0))
    assert signal_cells(image, scale, (1, 1, 1)).tolist() == [[[True, False, False]]]


def test_inverted_only_zeros_count_as_empty() -> None:
    image = np.array([[[[0, 1, 5000, 0]]]], np.uint16)
    inverted = IntensityScale((500.0,), (200.0,), invert=True)
    assert signal_cells(image, inverted, (1, 1, 1)).tolist() == [[[False, True, True, False]]]
    assert signal_cells(image, SCALE, (1, 1, 1)).tolist() == [[[False, False, True, False]]]


def test_empty_voxels_by_hand() -> None:
    # Cells of 2 and a halo of 2: voxels 4 and 5 hold the signal, cells 1 to 3 see it.
    image = np.full((1, 1, 1, 12), VOID, np.uint8)
    image[0, 0, 0, 5] = 200
    scale = IntensityScale((150.0,), (1.0,))
    plan = plan_blocks((1, 1, 11), (1, 1, 12), (0, 0, 2), (1, 1, 2))
    empty = empty_voxels(image, scale, plan[0], (1, 1, 2), (0, 0, 2))
    assert empty is not None
    assert empty[0, 0].tolist() == [True] * 2 + [False] * 6 + [True] * 3
    image[:] = 200
    assert empty_voxels(image, scale, plan[0], (1, 1, 2), (0, 0, 2)) is None


# ------------------------------------------------------------------------------- of a whole volume


class Counted:
    """Counts how often a net is evaluated."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        from vpbsd.segment import TorchRuntime

        self.crops: list[Box | None] = []
        logits = TorchRuntime.logits

        def counted(runtime: TorchRuntime, block: np.ndarray, crop: Box | None = None) -> Any:
            self.crops.append(crop)
            return logits(runtime, block, crop)

        patch.setattr(TorchRuntime, "logits", counted)


def test_blocks_of_void_are_neither_computed_nor_stored(
    tmp_path: Path,
    constant_net: type,
    small_model: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    image = np.zeros((16, 16, 64), np.uint16)
    # Tissue fills the first of four blocks, and one corner voxel of the third.
    image[:, :, :16] = rng.normal(TISSUE, 50, (16, 16, 16))
    image[0, 0, 32] = 2 * TISSUE
    model = small_model(constant_net(5.0))
    chosen = {"precision": "fp32", "device": "cpu", "progress": False, "probability": True}
    settings_of = SegmentOptions(**chosen, block_voxels=(16, 16, 16))
    counted = Counted(monkeypatch)
    report = segment_volume(ArrayVolume(image, SIZE), model, tmp_path / "a.zarr", settings_of)
    evaluated = len([crop for crop in counted.crops if crop == Box.whole((16, 16, 16))])
    assert (report.blocks, evaluated) == (4, 2)
    mask = zarr.open_array(tmp_path / "a.zarr" / "0", mode="r")[:]
    # About half of the tissue is above its median; nothing is seen beyond a voxel itself.
    assert mask[:, :, 16:].sum() == mask[0, 0, 32] == 1
    assert 0.4 < mask[:, :, :16].mean() < 0.6
    for name in ("a.zarr", "a_probability.zarr"):
        folder = tmp_path / name.replace("_probability.zarr", "_probability.ome.zarr")
        shards = sorted(p.name for p in (folder / "0" / "c" / "0" / "0").iterdir())
        assert shards == ["0", "2"]


def test_skipping_can_be_switched_off(
    tmp_path: Path, constant_net: type, small_model: Callable[..., Any]
) -> None:
    image = np.zeros((8, 8, 32), np.uint16)
    image[:, :, :8] = np.random.default_rng(0).normal(TISSUE, 50, (8, 8, 8))
    model = small_model(constant_net(5.0))
    chosen = {"precision": "fp32", "device": "cpu", "progress": False}
    every = SegmentOptions(**chosen, skip_empty=False)
    report = segment_volume(ArrayVolume(image, SIZE), model, tmp_path / "all.zarr", every)
    assert report.foreground_share == 1
    some = segment_volume(
        ArrayVolume(image, SIZE), model, tmp_path / "some.zarr", SegmentOptions(**chosen)
    )
    assert 0 < some.foreground_share < 0.25


def test_dark_vessels_in_dark_void_are_kept(
    tmp_path: Path, small_net: type, small_model: Callable[..., Any]
) -> None:
    # Vessels darker than the tissue are below its median, and yet no void.
    image = np.random.default_rng(1).normal(TISSUE, 50, (12, 12, 24)).astype(np.uint16)
    image[:, :, 12:] = 0
    image[5:7, :, :12] //= 4
    model = small_model(small_net())
    masks = []
    for skip in (True, False):
        out = tmp_path / f"{skip}.zarr"
        chosen = SegmentOptions(
            precision="fp32", device="cpu", progress=False, invert=True, skip_empty=skip
        )
        segment_volume(ArrayVolume(image, SIZE), model, out, chosen)
        masks.append(zarr.open_array(out / "0", mode="r")[:])
    np.testing.assert_array_equal(masks[0], masks[1] * seen_by_hand(image > 0, (2,) * 3, (4,) * 3))
    assert masks[0][:, :, :12].any()
