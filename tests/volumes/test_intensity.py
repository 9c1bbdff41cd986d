from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from vpbsd.errors import ConfigError, DataError, IntensityError
from vpbsd.geometry import Box, tile
from vpbsd.volumes import ArrayVolume, IntensityScale, estimate_intensity, open_volume


def _volume(values: np.ndarray) -> ArrayVolume:
    return ArrayVolume(values.reshape(1, 1, -1))


def test_apply_is_asinh_of_the_distance_in_spreads() -> None:
    scale = IntensityScale(centre=(100.0, 10.0), spread=(20.0, 1.0))
    block = np.array([[80, 100, 120, 300], [9, 10, 11, 20]], np.uint16).reshape(2, 1, 1, 4)
    scaled = scale.apply(block)
    assert scaled.dtype == np.float32 and scaled.shape == (2, 1, 1, 4)
    row = [-0.8813736, 0.0, 0.8813736, 2.9982230]
    np.testing.assert_allclose(scaled.reshape(2, 4), [row, row], rtol=1e-6)


def test_dark_vessels_become_bright() -> None:
    scale = IntensityScale(centre=(100.0,), spread=(20.0,), invert=True)
    scaled = scale.apply(np.array([80.0, 120.0]).reshape(1, 1, 1, 2))
    np.testing.assert_allclose(scaled.ravel(), [0.8813736, -0.8813736], rtol=1e-6)


def test_dim_and_bright_vessels_stay_apart_over_a_hundredfold_range() -> None:
    scale = IntensityScale(centre=(0.0,), spread=(1.0,))
    background, capillary, trunk = scale.apply(np.array([1.0, 5, 500]).reshape(1, 1, 1, 3)).ravel()
    assert trunk - capillary < 4 * (capillary - background)


@given(edge=st.integers(1, 9), seed=st.integers(0, 5))
def test_a_blocks_result_does_not_depend_on_the_cut(edge: int, seed: int) -> None:
    array = np.random.default_rng(seed).integers(0, 60000, (1, 9, 8, 11)).astype(np.uint16)
    scale = IntensityScale(centre=(317.25,), spread=(41.7,))
    whole = scale.apply(array)
    volume = ArrayVolume(array)
    for box in tile((9, 8, 11), edge):
        np.testing.assert_array_equal(scale.apply(volume.read(box)), whole[:, *box.slices])


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16])
@pytest.mark.parametrize("invert", [False, True])
def test_apply_gives_every_code_what_it_gives_the_same_number(
    dtype: type[np.integer[Any]], invert: bool
) -> None:
    scale = IntensityScale((3.0, -7.5), (2.0, 0.3), invert)
    limits = np.iinfo(dtype)
    codes = np.arange(limits.min, limits.max + 1).astype(dtype)
    # Another order than that of the codes, and a layout that is not contiguous.
    block = np.random.default_rng(0).permutation(codes).reshape(1, 1, -1, 16)
    block = np.broadcast_to(block, (2, 2, *block.shape[2:]))[:, :, ::-1]
    found = scale.apply(block)
    # float32 takes another path, and holds all of these numbers exactly.
    np.testing.assert_array_equal(found, scale.apply(block.astype(np.float32)))
    by_hand = np.arcsinh((block[1, 0, 0, 0] + 7.5) / 0.3) * (-1 if invert else 1)
    assert found[1, 0, 0, 0] == pytest.approx(by_hand, rel=1e-5)


def test_apply_takes_integers_of_the_other_byte_order() -> None:
    block = np.array([0, 1, 300, 65535], ">u2").reshape(1, 1, 1, 4)
    scale = IntensityScale((1.0,), (2.0,))
    np.testing.assert_array_equal(scale.apply(block), scale.apply(block.astype(np.uint16)))


def test_apply_leaves_the_block_alone_and_keeps_nan() -> None:
    block = np.full((1, 1, 1, 2), np.nan, np.float32)
    block[..., 0] = 5
    scaled = IntensityScale((1.0,), (1.0,)).apply(block)
    assert block[..., 0] == 5
    assert np.isnan(scaled[..., 1]) and np.isfinite(scaled[..., 0])


def test_apply_refuses_another_number_of_channels() -> None:
    with pytest.raises(DataError, match=r"1 channel\(s\).*\(2, 1, 1, 1\)"):
        IntensityScale((1.0,), (1.0,)).apply(np.zeros((2, 1, 1, 1)))


# 1..501 in steps of 1, then 503..1501 in steps of 2: the 10th percentile is 101, the median 501,
# the 90th 1301.
SKEWED = np.concatenate([np.arange(1, 502), np.arange(503, 1502, 2)]).astype(np.int32)


@pytest.mark.parametrize(
    ("values", "invert", "centre", "spread"),
    [
        (SKEWED, False, 501.0, 400.0),
        (SKEWED, True, 501.0, 800.0),
        # Flat background: 2 % of the range from the median to the 99.5th percentile.
        (np.repeat([100, 1100], [900, 100]), False, 100.0, 20.0),
        (np.repeat([1100, 100], [900, 100]), True, 1100.0, 20.0),
        # So few bright voxels that the 99.5th percentile is the median: the largest counts.
        (np.repeat([100, 1100], [9990, 10]), False, 100.0, 20.0),
        # Saturated: nothing is above the median, and the 10th percentile equals it.
        (np.repeat([5, 255], [50, 950]), False, 255.0, 250.0),
        # Zeros are padding, even when most of the volume …
        (np.concatenate([np.zeros(5000, np.int32), SKEWED]), False, 501.0, 400.0),
        # … unless less than 1 % would remain: then 0 is the background; 0.02 x the largest.
        (np.repeat([0, 50, 100], [9980, 10, 10]), False, 0.0, 2.0),
    ],
)
def test_estimate_by_hand(values: np.ndarray, invert: bool, centre: float, spread: float) -> None:
    scale = estimate_intensity(_volume(values), invert=invert)
    assert scale.centre == (centre,)
    assert scale.spread == pytest.approx((spread,))
    assert scale.invert is invert


def test_channels_are_estimated_apart() -> None:
    two = np.stack([SKEWED, 10 * SKEWED]).reshape(2, 1, 1, -1)
    assert estimate_intensity(ArrayVolume(two)) == IntensityScale((501.0, 5010.0), (400.0, 4000.0))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_with_their_share(bad: float) -> None:
    values = np.arange(200.0)
    values[:5] = bad
    with pytest.raises(IntensityError, match=r"2\.50% .* channel 0 of 'array' are NaN or infinite"):
        estimate_intensity(_volume(values))


def test_constant_volumes_are_refused() -> None:
    with pytest.raises(IntensityError, match="every sampled voxel of channel 0 of 'array' is 7:"):
        estimate_intensity(_volume(np.full(100, 7)))
    with pytest.raises(IntensityError, match="is 0: there is nothing to segment"):
        estimate_intensity(_volume(np.zeros(100, np.uint8)))
    with pytest.raises(IntensityError, match="either 0 or 255: it looks like a mask"):
        estimate_intensity(_volume(np.repeat([0, 255], [60, 40])))


def test_the_sample_is_bounded_spread_out_and_repeatable() -> None:
    class Recording(ArrayVolume):
        boxes: list[Box]

        def _read(self, box: Box, channels: tuple[int, ...]) -> np.ndarray:
            self.boxes.append(box)
            return super()._read(box, channels)

    # A gradient along z stands for uneven light: a sample from one end would miss the median.
    planes = np.arange(1, 401, dtype=np.uint16)[:, None, None]
    volume = Recording(np.broadcast_to(planes, (400, 500, 600)))
    volume.boxes = []
    first = estimate_intensity(volume, max_voxels=2_000_000)
    boxes, volume.boxes = volume.boxes, []
    assert sum(box.size_voxels for box in boxes) <= 2_000_000
    assert all(a.intersect(b).is_empty for i, a in enumerate(boxes) for b in boxes[:i])
    assert first.centre[0] == pytest.approx(200.5, abs=15)
    assert first.spread[0] == pytest.approx(160, abs=20)
    assert estimate_intensity(volume, max_voxels=2_000_000) == first
    volume.boxes = []
    estimate_intensity(volume, max_voxels=2_000_000, seed=1)
    assert volume.boxes != boxes


@given(
    shape=st.tuples(*[st.integers(1, 90)] * 3), limit=st.integers(1, 60_000), seed=st.integers(0, 3)
)
def test_no_shape_breaks_the_sample(shape: tuple[int, int, int], limit: int, seed: int) -> None:
    class Recording(ArrayVolume):
        voxels_read = 0

        def _read(self, box: Box, channels: tuple[int, ...]) -> np.ndarray:
            self.voxels_read += box.size_voxels
            return super()._read(box, channels)

    values = np.random.default_rng(0).integers(1, 2**30, shape).astype(np.uint32)
    volume = Recording(values)
    try:
        estimate_intensity(volume, max_voxels=limit, seed=seed)
    except IntensityError as error:
        assert "every sampled voxel" in str(error)  # a sample of one voxel
    assert 0 < volume.voxels_read <= limit


def test_the_scale_does_not_depend_on_the_chunks(tmp_path: Path) -> None:
    array = np.random.default_rng(0).gamma(2.0, 300.0, (40, 90, 70)).astype(np.uint16)
    scales = []
    for name, chunks in (("a", (40, 90, 70)), ("b", (7, 32, 11))):
        stored = zarr.create_array(
            tmp_path / f"{name}.zarr", shape=array.shape, dtype="uint16", chunks=chunks
        )
        stored[:] = array
        scales.append(estimate_intensity(open_volume(tmp_path / f"{name}.zarr"), max_voxels=70_000))
    assert scales[0] == scales[1]


def test_dict_survives_json() -> None:
    scale = IntensityScale((1.5, 2.0), (0.1, 3.0), invert=True)
    text = json.dumps(scale.to_dict())
    assert json.loads(text) == {"centre": [1.5, 2.0], "spread": [0.1, 3.0], "invert": True}
    assert IntensityScale.from_dict(json.loads(text)) == scale


@pytest.mark.parametrize(
    "stored",
    [
        {},
        {"centre": [1.0], "spread": [1.0]},
        {"centre": [1.0], "spread": [1.0], "invert": False, "other": 1},
        {"centre": ["x"], "spread": [1.0], "invert": False},
        {"centre": 1.0, "spread": [1.0], "invert": False},
        {"centre": [1.0], "spread": [0.0], "invert": False},
        {"centre": [1.0, 2.0], "spread": [1.0], "invert": False},
        {"centre": [math.nan], "spread": [1.0], "invert": False},
        {"centre": [], "spread": [], "invert": False},
    ],
)
def test_a_broken_dict_is_refused(stored: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="intensity scale"):
        IntensityScale.from_dict(stored)


def test_an_empty_sample_is_refused() -> None:
    with pytest.raises(ConfigError, match="max_voxels must be at least 1"):
        estimate_intensity(_volume(SKEWED), max_voxels=0)
