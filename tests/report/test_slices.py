from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from vpbsd.errors import ConfigError, DataError, OutputError, VoxelSizeUnknownError
from vpbsd.geometry import Box, Triplet, VoxelSize
from vpbsd.report.slices import SliceView, _compared, _plane, _planes, _reduced, slices_figure
from vpbsd.volumes import ArrayVolume, Volume

SIZE = VoxelSize(4, 2, 2)


def volume(array: NDArray[np.generic], size: VoxelSize | None = SIZE) -> ArrayVolume:
    return ArrayVolume(array, size)


def cube() -> NDArray[np.uint8]:
    """Every voxel tells its place: 100 z + 10 y + x, for (2, 3, 4) voxels."""
    z, y, x = np.indices((2, 3, 4))
    return (100 * z + 10 * y + x).astype(np.uint8)


def scene() -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """A bright bar along y through a dim block, and its mask."""
    mask = np.zeros((30, 80, 60), np.uint8)
    mask[10:20, :, 20:40] = 1
    return np.where(mask, 500, 100).astype(np.uint16), mask


def picture(path: Path) -> NDArray[np.int64]:
    from matplotlib.image import imread

    return (np.asarray(imread(path))[..., :3] * 255).round().astype(int)


def share_of(pixels: NDArray[np.int64], colour: tuple[int, int, int], within: int = 6) -> float:
    return float((np.abs(pixels - colour).max(axis=-1) <= within).mean())


# ------------------------------------------------------------------------------------- what is cut


def test_slices_lie_as_in_an_atlas() -> None:
    horizontal, coronal, sagittal = _planes(volume(cube()), SliceView(), "image")
    # The middle voxel of (2, 3, 4) is (1, 1, 2).
    assert horizontal.tolist() == [
        [100, 101, 102, 103],
        [110, 111, 112, 113],
        [120, 121, 122, 123],
    ]
    assert coronal.tolist() == [[10, 11, 12, 13], [110, 111, 112, 113]]
    assert sagittal.tolist() == [[2, 102], [12, 112], [22, 122]]


@pytest.mark.parametrize(
    ("position", "slab_um", "expected"),
    [
        (0.0, 0.0, [[0, 1, 2, 3], [100, 101, 102, 103]]),
        (1.0, 0.0, [[20, 21, 22, 23], [120, 121, 122, 123]]),
        # 4 µm are two lines of 2 µm: 0 and 1, of which the greater counts.
        (0.5, 4.0, [[10, 11, 12, 13], [110, 111, 112, 113]]),
        (0.5, 1000.0, [[20, 21, 22, 23], [120, 121, 122, 123]]),
    ],
)
def test_place_and_thickness_of_a_slice(
    position: float, slab_um: float, expected: list[list[int]]
) -> None:
    view = SliceView((0.5, position, 0.5), slab_um)
    assert _plane(volume(cube()), view, 1, "image").tolist() == expected


def test_a_slab_in_pieces_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).integers(0, 255, (9, 8, 7), np.uint8)
    monkeypatch.setattr("vpbsd.report.slices._PIECE_VOXELS", 120)  # two planes at a time
    plane = _plane(volume(values), SliceView(slab_um=28.0), 0, "image")
    np.testing.assert_array_equal(plane, values[1:8].max(axis=0))


def test_wide_planes_are_reduced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vpbsd.report.slices._LONGEST_EDGE_PIXELS", 2)
    image = np.array([[[0, 2, 8, 8], [2, 4, 8, 8]]], np.uint8)
    assert _reduced(image, "image").tolist() == [[[1, 8], [3, 8]]]
    mask = np.array([[[0, 1, 1, 1], [0, 0, 1, 1]]], np.uint8)
    assert _reduced(mask, "mask").tolist() == [[[1, 1], [0, 1]]]


def test_thin_faults_are_not_mixed_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vpbsd.report.slices._COMPARED_PIXELS", 3)
    found = np.array([[1, 1, 0, 0, 0, 0], [0, 0, 0, 1, 1, 1]], np.uint8)
    true = np.array([[1, 0, 0, 0, 0, 0], [0, 1, 0, 0, 1, 1]], np.uint8)
    # One by two voxels a pixel; where one is right and one too many, the fault shows.
    none, missed, too_many, right = [18, 18, 24], [64, 132, 244], [232, 68, 58], [86, 190, 100]
    assert _compared(found, true).tolist() == [[too_many, none, none], [missed, too_many, right]]


class _Pyramid(ArrayVolume):
    """A volume with one coarser level, which notes what is read of the finest."""

    def __init__(self, array: NDArray[np.generic], coarse: ArrayVolume) -> None:
        super().__init__(array, SIZE)
        self._coarse = coarse
        self.reads = 0

    def coarser(self, max_voxels: int) -> tuple[Volume, Triplet] | None:
        small_enough = np.prod(self._coarse.shape_zyx) <= max_voxels
        return (self._coarse, (2, 2, 2)) if small_enough else None

    def _read(self, box: Box, channels: tuple[int, ...]) -> NDArray[np.generic]:
        self.reads += 1
        return super()._read(box, channels)


def test_level_is_chosen_by_size(tmp_path: Path) -> None:
    image, mask = scene()
    coarse = ArrayVolume(image[::2, ::2, ::2], VoxelSize(8, 4, 4))
    pyramid = _Pyramid(image, coarse)
    path = tmp_path / "a.png"
    slices_figure(pyramid, volume(mask), path, view=SliceView(max_voxels=20_000))
    assert pyramid.reads == 0
    # Neither is small enough: what there is, is drawn.
    slices_figure(pyramid, volume(mask), path, view=SliceView(max_voxels=100))
    assert pyramid.reads == 3


# ------------------------------------------------------------------------------------ what is drawn


def test_figure_shows_vessels_on_black_and_is_the_same_twice(tmp_path: Path) -> None:
    image, mask = scene()
    first, second = tmp_path / "first.png", tmp_path / "second.png"
    slices_figure(volume(image), volume(mask), first)
    slices_figure(volume(image), volume(mask), second)
    assert first.read_bytes() == second.read_bytes()
    pixels = picture(first)
    assert share_of(pixels, (0, 0, 0)) > 0.3
    # The overlay lies over white at 235 of 255 and 75 %: 235/255 (255, 138, 76) + 20/255 191.
    assert share_of(pixels, (250, 142, 85)) > 0.05
    assert share_of(pixels, (255, 255, 255)) > 0.05


def test_truth_adds_the_three_kinds(tmp_path: Path) -> None:
    image, mask = scene()
    truth = np.zeros_like(mask)
    truth[10:20, :, 10:30] = 1
    path = tmp_path / "a.png"
    slices_figure(volume(image), volume(mask), path, truth=volume(truth))
    pixels = picture(path)
    # Each is 10 of the 60 columns of two panels; the third cuts where only red is.
    for colour in ((86, 190, 100), (64, 132, 244), (232, 68, 58)):
        assert 0.01 < share_of(pixels, colour) < 0.05
    slices_figure(volume(image), volume(mask), path, truth=volume(mask))
    for colour in ((64, 132, 244), (232, 68, 58)):  # only in the legend
        assert share_of(picture(path), colour) < 0.005


def test_thick_planes_are_drawn_in_proportion(tmp_path: Path) -> None:
    # 40 µm each way: three squares, whatever the voxels.
    flat = np.full((4, 20, 10), 50, np.uint8)
    flat[2, 15:, 0] = 0  # something to be brighter than
    path = tmp_path / "a.png"
    slices_figure(
        volume(flat, VoxelSize(10, 2, 4)), volume(np.ones_like(flat), VoxelSize(10, 2, 4)), path
    )
    bright = picture(path).max(axis=-1) > 100
    columns = np.flatnonzero(bright[: len(bright) // 3].mean(axis=0) > 0.5)
    # Four panels of one width in a row: horizontal and sagittal, twice.
    starts = np.flatnonzero(np.diff(columns, prepend=-10) > 1)
    widths = np.diff(np.append(starts, len(columns)))
    assert len(widths) == 4
    assert widths.max() - widths.min() <= 2
    rows = np.flatnonzero(bright[:, columns[0] + 10 : columns[widths[0] - 10]].mean(axis=1) > 0.5)
    upper = rows[: np.flatnonzero(np.diff(rows) > 1)[0]]
    assert len(upper) == pytest.approx(widths[0], rel=0.03)


# --------------------------------------------------------------------------------- what is refused


def test_volumes_of_other_fields_are_refused(tmp_path: Path) -> None:
    image, mask = scene()
    path = tmp_path / "a.png"
    with pytest.raises(DataError, match=r"covers 120 x 160 x 120 µm.*covers 30 x 80 x 60 µm"):
        slices_figure(volume(image), volume(mask, VoxelSize(1, 1, 1)), path)
    coarse = volume(mask[::2, ::2, ::2], VoxelSize(8, 4, 4))
    with pytest.raises(DataError, match=r"truth's \(15, 40, 30\).*same levels"):
        slices_figure(volume(image), volume(mask), path, truth=coarse)
    with pytest.raises(VoxelSizeUnknownError):
        slices_figure(volume(image, None), volume(mask), path)
    with pytest.raises(OutputError, match="cannot write the figure"):
        slices_figure(volume(image), volume(mask), tmp_path / "missing" / "a.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "wrong", [{"position": (0.5, 1.5, 0.5)}, {"slab_um": -1.0}, {"max_voxels": 0}]
)
def test_impossible_views_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="a slice view needs"):
        SliceView(**wrong)  # type: ignore[arg-type]
