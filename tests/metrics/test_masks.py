from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays
from skimage.measure import label

from vpbsd.errors import DataError
from vpbsd.metrics import betti_errors, cldice, overlap, surface_dice_voxels
from vpbsd.metrics.masks import as_mask, mask_pair, occupied_box, pieces


def test_integers_other_than_zero_are_foreground() -> None:
    mask = as_mask(np.array([[[0, 1, 255, -3]]]), "truth")
    assert mask.dtype == np.bool_
    assert mask.tolist() == [[[False, True, True, True]]]


@pytest.mark.parametrize("score", [overlap, cldice, surface_dice_voxels, betti_errors])
def test_every_score_refuses_shapes_that_differ(score) -> None:  # type: ignore[no-untyped-def]
    args = (1,) if score is surface_dice_voxels else ()
    with pytest.raises(DataError, match=r"\(2, 3, 4\) and \(2, 3, 5\)"):
        score(np.zeros((2, 3, 4), bool), np.zeros((2, 3, 5), bool), *args)


def test_shapes_that_would_broadcast_are_refused() -> None:
    with pytest.raises(DataError, match="different shapes"):
        mask_pair(np.zeros((1, 3, 4), bool), np.zeros((2, 3, 4), bool))


def test_probabilities_are_refused_with_the_remedy() -> None:
    with pytest.raises(DataError, match=r"prediction holds float32.*threshold"):
        mask_pair(np.zeros((2, 3, 4), np.float32), np.zeros((2, 3, 4), bool))


@pytest.mark.parametrize("shape", [(3, 4), (1, 2, 3, 4)])
def test_only_single_volumes_are_scored(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="channel"):
        as_mask(np.zeros(shape, bool), "truth")


def test_occupied_box() -> None:
    mask = np.zeros((5, 6, 7), bool)
    assert mask[occupied_box(mask)].size == 0
    mask[1, 2, 3] = mask[4, 2, 5] = True
    assert occupied_box(mask) == (slice(1, 5), slice(2, 3), slice(3, 6))


def test_pieces_of_one_voxel_thick_volumes() -> None:
    labels, count = pieces(np.array([[[1], [0], [1]]], bool), 26)
    assert count == 2
    assert labels.ravel().tolist() == [1, 0, 2]


@given(arrays(bool, array_shapes(min_dims=3, max_dims=3, max_side=6)))
def test_pieces_agree_with_scikit_image(mask: np.ndarray) -> None:
    for neighbours, connectivity in ((6, 1), (26, 3)):
        expected, n_expected = label(mask, connectivity=connectivity, return_num=True)
        labels, count = pieces(mask, neighbours)  # type: ignore[arg-type]
        assert count == n_expected
        pairs = set(zip(labels.ravel().tolist(), expected.ravel().tolist(), strict=True))
        assert len(pairs) == count + (not mask.all())
