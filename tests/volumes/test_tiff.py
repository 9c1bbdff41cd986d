from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from vpbsd.errors import VolumeFormatError
from vpbsd.geometry import Box
from vpbsd.volumes import open_volume


def _imagej_text(slices: int) -> str:
    return f"ImageJ=1.53t\nimages={slices}\nslices={slices}\nunit=micron\nspacing=5.0\nloop=false\n"


def _write_one_page(path: Path, plane: np.ndarray, slices: int) -> int:
    """Write what ImageJ writes above 4 GB: one page; the voxels of all slices follow it."""
    tifffile.imwrite(
        path,
        plane,
        description=_imagej_text(slices),
        metadata=None,
        resolution=(1 / 1.25, 1 / 2.5),
        byteorder=">",
    )
    with tifffile.TiffFile(path) as tif:
        offset = int(tif.pages[0].dataoffsets[0])
    assert offset + plane.nbytes == path.stat().st_size
    return offset


def test_imagej_stack_with_one_page_for_all_slices(tmp_path: Path, array: np.ndarray) -> None:
    path = tmp_path / "one_page.tif"
    _write_one_page(path, array[0, 0], slices=5)
    with path.open("ab") as file:
        file.write(array[0, 1:].astype(">u2").tobytes())
    with open_volume(path) as volume:
        assert volume.shape == (1, 5, 6, 7)
        assert volume.require_voxel_size().zyx_um == pytest.approx((5.0, 2.5, 1.25))
        np.testing.assert_array_equal(volume.read(Box.whole((5, 6, 7)))[0], array[0])

    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(VolumeFormatError, match=r"one_page.tif"):
        open_volume(path)


def test_imagej_stack_above_4_gb(tmp_path: Path) -> None:
    path = tmp_path / "large.tif"
    slices, plane = 2100, np.zeros((1024, 1024), np.uint16)
    offset = _write_one_page(path, plane, slices)
    size = offset + slices * plane.nbytes
    assert size > 2**32
    with path.open("r+b") as file:
        file.truncate(size)  # sparse: takes no room on the disk
        file.seek(offset + 2099 * plane.nbytes + 2 * (1024 * 7 + 9))
        file.write(b"\x01\x02")
    with open_volume(path) as volume:
        assert volume.shape == (1, 2100, 1024, 1024)
        assert volume.read(Box((2099, 7, 8), (2100, 8, 11))).tolist() == [[[[0, 258, 0]]]]


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"axes": "ZYX", "spacing": 5.0, "unit": "pixel"}, None),
        ({"axes": "ZYX", "unit": "um"}, None),
        ({"axes": "ZYX", "spacing": 5.0}, None),
        ({"axes": "ZYX", "spacing": 0.005, "unit": "mm"}, (5.0, 2500.0, 1250.0)),
        ({"axes": "ZYX", "spacing": -5.0, "unit": "\\u00B5m"}, (5.0, 2.5, 1.25)),
        ({"axes": "ZYX", "spacing": 5.0, "unit": "um", "zunit": "nm"}, (0.005, 2.5, 1.25)),
    ],
)
def test_imagej_voxel_size_needs_spacing_and_unit(
    metadata: dict[str, object],
    expected: tuple[float, float, float] | None,
    tmp_path: Path,
    array: np.ndarray,
) -> None:
    path = tmp_path / "a.tif"
    resolution = (1 / 1.25, 1 / 2.5)
    tifffile.imwrite(path, array[0], imagej=True, resolution=resolution, metadata=metadata)
    with open_volume(path) as volume:
        if expected is None:
            assert volume.voxel_size_um is None
        else:
            assert volume.require_voxel_size().zyx_um == pytest.approx(expected)


def test_ome_without_z_size_is_unknown(tmp_path: Path, array: np.ndarray) -> None:
    path = tmp_path / "a.ome.tif"
    sizes = {"PhysicalSizeX": 1.25, "PhysicalSizeY": 2.5}
    tifffile.imwrite(path, array[0], metadata={"axes": "ZYX", **sizes})
    assert open_volume(path).voxel_size_um is None


def test_time_series_are_refused_with_the_way_out(tmp_path: Path, array: np.ndarray) -> None:
    tifffile.imwrite(tmp_path / "t.tif", array[0], imagej=True, metadata={"axes": "TYX"})
    tifffile.imwrite(tmp_path / "t.ome.tif", array, metadata={"axes": "TZYX"})
    for name, times in (("t.tif", 5), ("t.ome.tif", 2)):
        with pytest.raises(VolumeFormatError, match=f"holds {times} time points.*Properties"):
            open_volume(tmp_path / name)


@pytest.mark.parametrize("shape", [(6, 7), (6, 7, 3)])
def test_a_2d_image_is_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros(shape, np.uint8))
    with pytest.raises(VolumeFormatError, match=r"2D image.*open the folder"):
        open_volume(tmp_path / "a.tif")


@pytest.mark.parametrize("dtype", ["bool", "complex64"])
def test_other_values_are_refused(dtype: str, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((5, 6, 7), dtype))
    with pytest.raises(VolumeFormatError, match=f"a.tif' holds values of type {dtype}"):
        open_volume(tmp_path / "a.tif")


def test_one_of_several_series_is_chosen_by_key(tmp_path: Path, array: np.ndarray) -> None:
    path = tmp_path / "two.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as tif:
        tif.write(array[0], metadata={"axes": "ZYX"}, photometric="minisblack")
        second = {"axes": "ZYX", "PhysicalSizeZ": 3, "PhysicalSizeY": 2, "PhysicalSizeX": 1}
        tif.write(array[1, :4], metadata=second, photometric="minisblack")
    with pytest.raises(VolumeFormatError, match=r"holds 2 image.*--key 0 to 1"):
        open_volume(path)
    with pytest.raises(VolumeFormatError, match="--key 0 to 1"):
        open_volume(path, key="2")
    with open_volume(path, key="1") as volume:
        assert volume.require_voxel_size().zyx_um == (3, 2, 1)
        np.testing.assert_array_equal(volume.read(Box.whole((4, 6, 7)))[0], array[1, :4])


def test_a_multi_file_ome_set_is_one_volume(tmp_path: Path, array: np.ndarray) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    xml = _ome_set_xml([f"z{z}.ome.tif" for z in range(5)])
    for z in range(5):
        tifffile.imwrite(folder / f"z{z}.ome.tif", array[0, 4 - z], description=xml, metadata=None)
    with open_volume(folder) as volume:
        # The XML says that file z0 holds the last plane: metadata win over names.
        np.testing.assert_array_equal(volume.read(Box.whole((5, 6, 7)))[0], array[0])
        assert volume.require_voxel_size().zyx_um == (5, 2.5, 1.25)
    (folder / "z3.ome.tif").unlink()
    with pytest.raises(VolumeFormatError, match="some are missing"):
        open_volume(folder / "z0.ome.tif")


def _ome_set_xml(names: list[str]) -> str:
    blocks = "".join(
        f'<TiffData IFD="0" FirstZ="{4 - i}" PlaneCount="1">'
        f'<UUID FileName="{name}">urn:uuid:00000000-0000-0000-0000-00000000000{i}</UUID></TiffData>'
        for i, name in enumerate(names)
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        '<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="7" SizeY="6" SizeZ="5" '
        'SizeC="1" SizeT="1" PhysicalSizeX="1.25" PhysicalSizeY="2.5" PhysicalSizeZ="5">'
        f'<Channel ID="Channel:0:0" SamplesPerPixel="1"/>{blocks}</Pixels></Image></OME>'
    )


def test_only_the_strips_of_a_box_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = np.arange(4 * 64 * 8, dtype=np.uint16).reshape(4, 64, 8)
    path = tmp_path / "strips.tif"
    tifffile.imwrite(path, stack, compression="zlib", rowsperstrip=8, photometric="minisblack")
    read: list[int] = []
    original = tifffile.FileHandle.read_segments

    def counting(self: Any, offsets: Any, counts: Any, numbers: Any) -> Any:
        read.extend(numbers)
        return original(self, offsets, counts, numbers)

    monkeypatch.setattr(tifffile.FileHandle, "read_segments", counting)
    with open_volume(path) as volume:
        block = volume.read(Box((1, 17, 2), (3, 23, 5)))
    np.testing.assert_array_equal(block[0], stack[1:3, 17:23, 2:5])
    assert read == [2, 2]  # rows 16 to 23 of planes 1 and 2, of 32 strips in all


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "zlib", "rowsperstrip": 16},
        {"compression": "lzw", "predictor": True, "tile": (16, 32)},
        {"tile": (16, 32)},
        {"tile": (2, 16, 32), "volumetric": True, "compression": "zlib"},
    ],
)
@pytest.mark.parametrize("kind", ["grey", "contig", "separate"])
def test_any_box_of_strips_and_tiles(options: dict[str, Any], kind: str, tmp_path: Path) -> None:
    channels = 1 if kind == "grey" else 3
    stack = np.arange(3 * channels * 70 * 50, dtype=np.uint16).reshape(3, channels, 70, 50)
    if kind == "grey":
        arranged, colour = stack[:, 0], {"photometric": "minisblack"}
    elif kind == "contig":
        arranged, colour = stack.transpose(0, 2, 3, 1), {"photometric": "rgb"}
    elif "volumetric" in options:  # samples come before z
        arranged, colour = stack.transpose(1, 0, 2, 3), {"photometric": "rgb"}
    else:
        arranged, colour = stack, {"photometric": "rgb"}
    if kind != "grey":
        colour["planarconfig"] = kind
    tifffile.imwrite(tmp_path / "a.tif", arranged, metadata=None, **colour, **options)
    expected = stack.transpose(1, 0, 2, 3)
    with open_volume(tmp_path / "a.tif") as volume:
        assert volume.shape == expected.shape
        for box, chosen in (
            (Box((0, 0, 0), (3, 70, 50)), [*range(channels)]),
            (Box((1, 15, 31), (3, 33, 34)), [channels - 1]),
            (Box((0, 69, 49), (1, 70, 50)), [channels - 1, 0]),
        ):
            block = volume.read(box, chosen)
            np.testing.assert_array_equal(block, expected[chosen][(slice(None), *box.slices)])


def test_an_uncompressed_tile_that_is_cut_short_is_not_filled_up(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    stack = np.full((3, 64, 64), 7, np.uint16)
    tifffile.imwrite(path, stack, tile=(32, 32), photometric="minisblack", metadata=None)
    with tifffile.TiffFile(path) as tif:
        end = max(
            o + n for p in tif.pages for o, n in zip(p.dataoffsets, p.databytecounts, strict=True)
        )
    content = path.read_bytes()
    assert end == len(content)
    path.write_bytes(content[:-100])
    with open_volume(path) as volume:
        assert volume.read(Box((0, 0, 0), (2, 64, 64))).min() == 7
        with pytest.raises(VolumeFormatError, match="ends after 1948 bytes"):
            volume.read(Box((2, 0, 0), (3, 64, 64)))


def test_nothing_reaches_the_log_of_a_good_or_bad_file(
    tmp_path: Path, written: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = (written / "plain.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(whole[: len(whole) // 2])
    with caplog.at_level(logging.WARNING), pytest.raises(VolumeFormatError):
        open_volume(tmp_path / "cut.tif")
    assert caplog.messages == []
    # The level is set here, because other libraries leave the root logger's changed.
    with caplog.at_level(logging.WARNING):
        logging.getLogger("tifffile").warning("still heard")
    assert caplog.messages == ["still heard"]
