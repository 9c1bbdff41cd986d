"""Augmentation: geometry against NumPy's own turns and flips, intensities within bounds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vpbsd.data.augment import (
    Geometry,
    augment_intensity,
    draw_geometry,
    resample,
    source_box,
)
from vpbsd.geometry import Box

RNG = np.random.default_rng(0)
CUBE = RNG.normal(size=(2, 6, 6, 6)).astype(np.float32)


def geometry(
    matrix: Any = None, shape: tuple[int, int, int] = (6, 6, 6), centre: Any = (2.5, 2.5, 2.5)
) -> Geometry:
    matrix = np.eye(3) if matrix is None else np.array(matrix, dtype=float)
    return Geometry(matrix, np.array(centre, dtype=float), shape)


def taken(values: np.ndarray, where: Geometry) -> np.ndarray:
    box = source_box(where, values.shape[1:])
    return resample(values[(slice(None), *box.slices)], box, where).numpy()


# ---------------------------------------------------------------------------------------- geometry


def test_identity_gives_the_voxels_themselves() -> None:
    np.testing.assert_allclose(taken(CUBE, geometry()), CUBE, atol=1e-5)


def test_identity_of_a_part() -> None:
    # The middle of voxels 1..4, 0..1 and 3..5 is 2.5, 0.5 and 4.
    part = geometry(shape=(4, 2, 3), centre=(2.5, 0.5, 4.0))
    np.testing.assert_allclose(taken(CUBE, part), CUBE[:, 1:5, 0:2, 3:6], atol=1e-5)
    assert source_box(part, (6, 6, 6)) == Box((1, 0, 3), (5, 2, 6))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_flips(axis: int) -> None:
    signs = np.ones(3)
    signs[axis] = -1
    flipped = np.flip(CUBE, axis + 1)
    np.testing.assert_allclose(taken(CUBE, geometry(np.diag(signs))), flipped, atol=1e-5)


def test_quarter_turn_about_z() -> None:
    # The patch's y axis runs along the volume's x, its x axis against the volume's y:
    # out[y, x] = in[5 - x, y], which is what a turn by -90 degrees from y to x gives.
    matrix = [[1, 0, 0], [0, 0, -1], [0, 1, 0]]
    turned = taken(CUBE, geometry(matrix))
    assert turned[0, 1, 2, 0] == pytest.approx(CUBE[0, 1, 5, 2], abs=1e-5)
    np.testing.assert_allclose(turned, np.rot90(CUBE, -1, axes=(2, 3)), atol=1e-5)


def test_zoom_interpolates_between_voxels() -> None:
    ramp = np.arange(8, dtype=np.float32).reshape(1, 1, 1, 8)
    # Half a voxel per step around 3.5: 2.75, 3.25, 3.75, 4.25
    found = taken(ramp, geometry(np.diag([1, 1, 0.5]), (1, 1, 4), (0, 0, 3.5)))
    np.testing.assert_allclose(found.flatten(), [2.75, 3.25, 3.75, 4.25], atol=1e-5)


def test_outside_the_volume_is_its_mirror_image() -> None:
    ramp = np.arange(6, dtype=np.float32).reshape(1, 1, 1, 6)
    # Voxels -3..4, whose middle is 0.5, and 3..8, whose middle is 5.5.
    low = taken(ramp, geometry(shape=(1, 1, 8), centre=(0, 0, 0.5)))
    np.testing.assert_allclose(low.flatten(), [2, 1, 0, 0, 1, 2, 3, 4], atol=1e-5)
    high = taken(ramp, geometry(shape=(1, 1, 6), centre=(0, 0, 5.5)))
    np.testing.assert_allclose(high.flatten(), [3, 4, 5, 5, 4, 3], atol=1e-5)


@given(st.integers(0, 2**32), st.tuples(*[st.integers(4, 40)] * 3))
def test_reading_the_source_box_is_enough(seed: int, volume: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(seed)
    where = draw_geometry(rng, volume, (8, 6, 10))
    values = rng.normal(size=(1, *volume)).astype(np.float32)
    box, whole = source_box(where, volume), Box.whole(volume)
    assert whole.contains(box)
    cut = resample(values[(slice(None), *box.slices)], box, where)
    np.testing.assert_allclose(cut, resample(values, whole, where), atol=2e-4)


def test_image_and_label_stay_together() -> None:
    label = np.zeros((1, 40, 40, 40), np.float32)
    label[0, 18:23, 10:30, 19:24] = 1
    image = np.concatenate([label, 1 - label])
    for seed in range(10):
        where = draw_geometry(np.random.default_rng(seed), (40, 40, 40), (16, 16, 16))
        moved, truth = taken(image, where), taken(label, where)
        np.testing.assert_allclose(moved[0], truth[0], atol=1e-6)
        np.testing.assert_allclose(moved[0] + moved[1], 1, atol=1e-5)


def test_drawing_is_deterministic_and_varies() -> None:
    def drawn(seed: int) -> Geometry:
        return draw_geometry(np.random.default_rng(seed), (64, 64, 64), (32, 32, 32))

    np.testing.assert_array_equal(drawn(1).matrix, drawn(1).matrix)
    np.testing.assert_array_equal(drawn(1).centre, drawn(1).centre)
    assert not np.array_equal(drawn(1).matrix, drawn(2).matrix)


@given(st.integers(0, 2**32))
def test_drawn_zoom_stays_in_bounds(seed: int) -> None:
    matrix = draw_geometry(np.random.default_rng(seed), (64, 64, 64), (32, 32, 32)).matrix
    zoom = np.linalg.norm(matrix, axis=0)
    # 0.75 and 1.35, each times at most exp(0.12) = 1.1275
    assert (zoom > 0.75 / 1.128).all()
    assert (zoom < 1.35 * 1.128).all()
    # Columns stay at right angles: turned and stretched, never sheared.
    turn = matrix / zoom
    np.testing.assert_allclose(turn.T @ turn, np.eye(3), atol=1e-9)


@given(st.integers(0, 2**32), st.tuples(*[st.integers(1, 60)] * 3))
def test_the_middle_of_a_patch_lies_inside_its_volume(
    seed: int, volume: tuple[int, int, int]
) -> None:
    where = draw_geometry(np.random.default_rng(seed), volume, (16, 16, 16))
    assert (where.centre >= -0.5).all()
    assert (where.centre <= np.array(volume) - 0.5).all()
    # At least half a patch from the border, or in the middle of what is smaller than a patch.
    margin = np.minimum(8, np.array(volume) / 2)
    assert (where.centre + 0.5 >= margin - 1e-9).all()
    assert (np.array(volume) - where.centre - 0.5 >= margin - 1e-9).all()


@pytest.mark.parametrize("volume", [(16, 64, 64), (64, 64, 64)])
def test_thin_patches_are_not_tilted_out_of_their_slices(volume: tuple[int, int, int]) -> None:
    for seed in range(5):
        matrix = draw_geometry(np.random.default_rng(seed), volume, (16, 32, 32)).matrix
        assert abs(matrix[0, 0]) == pytest.approx(1.0)
        np.testing.assert_allclose([*matrix[0, 1:], *matrix[1:, 0]], 0, atol=1e-12)


# --------------------------------------------------------------------------------------- intensity


def test_intensities_are_deterministic_finite_and_varied() -> None:
    image = torch.from_numpy(CUBE)
    kept = image.clone()
    seen = [augment_intensity(image, np.random.default_rng(seed)) for seed in range(30)]
    assert torch.equal(image, kept), "the image itself was changed"
    assert all(s.shape == image.shape and s.dtype == torch.float32 for s in seen)
    assert all(torch.isfinite(s).all() for s in seen)
    assert torch.equal(seen[3], augment_intensity(image, np.random.default_rng(3)))
    assert len({round(float(s.mean()), 6) for s in seen}) == 30


def test_gain_and_shift_act_on_linear_intensities() -> None:
    class Fixed:
        """Answers as a generator would that never blurs, shades or adds noise."""

        def uniform(self, low: float, high: float) -> float:
            return {(-0.7, 0.7): 0.5, (np.log(0.35), np.log(2.5)): float(np.log(2.0))}[low, high]

        def random(self) -> float:
            return 0.99

    image = torch.tensor([0.0, 1.0, 100.0]).view(1, 1, 1, 3)
    out = augment_intensity(image, Fixed())  # type: ignore[arg-type]
    # asinh((sinh(x) + 0.5) * 2): asinh(1), asinh(3.3504024), and sinh(8) = 1490.479 as the cap
    np.testing.assert_allclose(out.flatten(), [0.8813736, 1.92379, 8.69348], atol=1e-4)


@pytest.mark.parametrize("value", [-1e4, 1e4])
def test_extreme_intensities_do_not_overflow(value: float) -> None:
    for seed in range(10):
        out = augment_intensity(torch.full((1, 4, 4, 4), value), np.random.default_rng(seed))
        assert torch.isfinite(out).all()
