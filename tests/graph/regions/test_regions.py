"""Which region a voxel or a point is in, and what a list of names may hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpbsd.errors import DataError, VoxelSizeUnknownError
from vpbsd.geometry import Box, VoxelSize
from vpbsd.graph.regions.names import RegionNames, read_region_names
from vpbsd.graph.regions.volume import RegionVolume
from vpbsd.volumes import ArrayVolume

TWO = VoxelSize(2.0, 2.0, 2.0)


def regions_of(labels: np.ndarray, size: VoxelSize, mask_shape, mask_size=TWO) -> RegionVolume:
    return RegionVolume(ArrayVolume(labels, size, "atlas.nii"), mask_shape, mask_size)


# ------------------------------------------------------------------------------------- positions


def test_label_of_a_coarser_voxel_that_contains_the_centre() -> None:
    # Along z, mask voxels of 2 µm have their centres at 1, 3, 5, 7, 9 µm from the face of the
    # volume, labels of 5 µm their faces at 0, 5, 10: the centre at 5 is on a face, and goes up.
    labels = np.array([3, 8], np.uint16).reshape(2, 1, 1)
    regions = regions_of(labels, VoxelSize(5.0, 2.0, 2.0), (5, 1, 1))
    assert regions.box(Box.whole((5, 1, 1))).full().ravel().tolist() == [3, 3, 8, 8, 8]
    centres = np.array([[0.0, 0, 0], [2, 0, 0], [4, 0, 0], [6, 0, 0], [8, 0, 0]], np.float32)
    assert regions.at(centres).tolist() == [3, 3, 8, 8, 8]
    # 3.9 µm behind the centre of the first voxel is 4.9 µm behind the face; 4.1 is 5.1.
    assert regions.at(np.array([[3.9, 0, 0], [4.1, 0, 0]])).tolist() == [3, 8]


def test_same_voxel_size_keeps_every_label() -> None:
    labels = np.arange(60, dtype=np.uint32).reshape(3, 4, 5)
    regions = regions_of(labels, TWO, (3, 4, 5))
    box = Box((1, 0, 2), (3, 4, 5))
    assert np.array_equal(regions.box(box).full(), labels[1:3, :, 2:5])
    # Up to half a voxel away from a centre is the same voxel.
    assert regions.at(np.array([[2.9, 1.1, 8.9]])).tolist() == [int(labels[1, 1, 4])]


def test_last_voxel_reaches_to_the_end_of_the_mask() -> None:
    labels = np.array([1, 2], np.uint8).reshape(2, 1, 1)  # 50 µm of a mask of 56 µm
    regions = regions_of(labels, VoxelSize(25.0, 2.0, 2.0), (28, 1, 1))
    assert regions.box(Box((26, 0, 0), (28, 1, 1))).full().ravel().tolist() == [2, 2]
    assert regions.at(np.array([[55.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])).tolist() == [2, 1]


@given(
    st.tuples(*[st.integers(1, 40)] * 3),
    st.tuples(*[st.sampled_from([0.5, 1.0, 1.62, 3.0, 7.0])] * 3),
    st.integers(0, 2**32 - 1),
)
def test_voxels_and_their_centres_agree(mask_shape, region_size, seed: int) -> None:
    mask_size = VoxelSize(2.0, 1.3, 0.9)
    region_shape = tuple(
        max(1, round(n * m / r))
        for n, m, r in zip(mask_shape, mask_size.zyx_um, region_size, strict=True)
    )
    labels = np.random.default_rng(seed).integers(0, 5, region_shape).astype(np.int32)
    regions = regions_of(labels, VoxelSize.of(region_size), mask_shape, mask_size)
    of_voxels = regions.box(Box.whole(mask_shape)).full()
    index = np.argwhere(np.ones(mask_shape, bool))
    of_points = regions.at(index * np.array(mask_size.zyx_um)).reshape(mask_shape)
    assert np.array_equal(of_voxels, of_points)


def test_many_points_far_apart_are_read_in_boxes() -> None:
    """Points in opposite corners must not make the whole volume be read."""

    class Counting(ArrayVolume):
        largest = 0

        def _read(self, box, channels):
            Counting.largest = max(Counting.largest, box.size_voxels)
            return super()._read(box, channels)

    shape = (300, 300, 300)
    labels = np.broadcast_to(np.arange(300, dtype=np.int16)[:, None, None], shape)
    regions = RegionVolume(Counting(labels, TWO), shape, TWO)
    index = np.random.default_rng(0).integers(0, 300, (20_000, 3))
    assert np.array_equal(regions.at(index * 2.0), index[:, 0])
    assert Counting.largest <= 128**3


# -------------------------------------------------------------------------------------- refusals


def test_another_extent_is_refused_with_both() -> None:
    with pytest.raises(DataError, match=r"covers 100 x 20 x 20 µm .* the mask 20 x 20 x 20 µm"):
        regions_of(np.zeros((10, 2, 2), np.uint8), VoxelSize(10.0, 10.0, 10.0), (10, 10, 10))


def test_permuted_axes_are_named() -> None:
    with pytest.raises(DataError, match="axes are probably permuted"):
        regions_of(np.zeros((10, 20, 40), np.uint8), TWO, (40, 20, 10))


def test_missing_voxel_size_is_refused() -> None:
    volume = ArrayVolume(np.zeros((2, 2, 2), np.uint8), None, "labels.tif")
    with pytest.raises(VoxelSizeUnknownError, match=r"'labels.tif' .*--region-voxel-size Z Y X"):
        RegionVolume(volume, (2, 2, 2), TWO)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.full((2, 2, 2), 1.5, np.float32), "fractions"),
        (np.full((2, 2, 2), -1, np.int16), "negative"),
    ],
)
def test_what_is_no_label_is_refused(labels: np.ndarray, said: str) -> None:
    regions = regions_of(labels, TWO, (2, 2, 2))
    with pytest.raises(DataError, match=said):
        regions.box(Box.whole((2, 2, 2)))


def test_whole_numbers_stored_as_floats_are_labels() -> None:
    regions = regions_of(np.full((2, 2, 2), 7.0, np.float32), TWO, (2, 2, 2))
    assert regions.at(np.zeros((1, 3))).tolist() == [7]


# ----------------------------------------------------------------------------------------- names


def written(folder: Path, text: str) -> Path:
    file = folder / "names.csv"
    file.write_text(text, encoding="utf-8")
    return file


def test_names_and_parents_are_read(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        "\ufeffacronym, ID ,name,parent_structure_id\nroot,997,brain,\n"
        'CTX,315,"isocortex, whole",997.0\nV1,385,primary visual,315\n\n',
    )
    names = read_region_names(file)
    assert names.names == {997: "brain", 315: "isocortex, whole", 385: "primary visual"}
    assert names.parents == {315: 997, 385: 315}
    assert names.name(385) == "primary visual"
    assert names.name(12) == "12"
    assert names.ancestors(385) == [315, 997]
    # 12 is no region of the list, and 315 has voxels of its own.
    assert names.members([12, 315, 385]) == {315: [315, 385], 997: [315, 385]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,name\n1,a\n1,b\n", "region 1 twice, the second time in line 3"),
        ("number,name\n1,a\n", "no column id, only number, name"),
        ("", "no column id or name"),
        ("id,name\nV1,a\n", "'V1' in line 2"),
        ("id,name\n0,a\n", "numbered from 1"),
        ("id,name,parent\n1,a,9\n", "part of 9"),
        ("id,name,parent\n1,a,2\n2,b,1\n", "part of itself"),
    ],
)
def test_faulty_names_are_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_region_names(written(tmp_path, text))


def test_missing_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_region_names(tmp_path / "none.csv")


def test_names_without_parents() -> None:
    assert RegionNames({1: "a"}).members([1]) == {}
