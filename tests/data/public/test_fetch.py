"""Each data set from stand-ins in its own layout to a recipe that opens; and what is refused."""

from __future__ import annotations

import json
import shutil
import sys
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import tifffile
import yaml
from file_server import FileServer
from stand_ins import SHAPE, StandIn, make_stand_in, write_volume

from vpbsd.config import load_config
from vpbsd.data.collection import open_collection
from vpbsd.data.public import (
    DATASETS,
    Description,
    FetchOptions,
    PublicVolume,
    Reading,
    SourceFile,
    fetch,
)
from vpbsd.data.public.download import sha256_of
from vpbsd.data.public.fetch import logger
from vpbsd.errors import ConfigError, DataError, IntensityError, OutputError
from vpbsd.geometry import Box, VoxelSize
from vpbsd.volumes import open_volume

ALL = pytest.mark.parametrize("name", DATASETS.keys())


def contents(folder: Path) -> dict[str, int]:
    """Time of the last change of every file."""
    return {
        p.relative_to(folder).as_posix(): p.stat().st_mtime_ns
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def read(path: Path) -> Any:
    with open_volume(path) as volume:
        return volume.read(Box.whole(volume.shape_zyx))[0]


@pytest.fixture
def three(tmp_path: Path) -> StandIn:
    """Three volumes of the 2P set whose animals are not known; sizes in the headers."""
    return make_stand_in(DATASETS["minivess"], tmp_path / "mine", volumes=3)


def bring(stand_in: StandIn, out: Path, **options: Any) -> Any:
    return fetch(stand_in.description, out, FetchOptions(source=stand_in.folder, **options))


# ------------------------------------------------------------------------------- what must come out


@ALL
def test_every_volume_comes_out_in_our_form(name: str, tmp_path: Path) -> None:
    stand_in = make_stand_in(DATASETS[name], tmp_path / "mine")
    done = bring(stand_in, tmp_path / "out", by_volume=True)
    for volume in stand_in.description.volumes:
        image, label = (
            tmp_path / "out" / kind / f"{volume.name}.ome.tif" for kind in ("images", "labels")
        )
        planes = volume.planes or SHAPE[0]
        np.testing.assert_array_equal(read(image), stand_in.images[volume.name][:planes])
        expected = stand_in.labels[volume.name][:planes] > 0
        np.testing.assert_array_equal(read(label), expected.astype(np.uint8))
        size = volume.voxel_size_um
        if size is None and volume.image.key.endswith(".nii.gz"):
            size = (5.0, 0.7, 0.6)  # as the header of the stand-in says
        for file in (image, label):
            with open_volume(file) as opened:
                found = opened.voxel_size_um
            assert (None if found is None else pytest.approx(found.zyx_um)) == size
    assert done.recipe == tmp_path / "out" / "recipe.yaml"


@ALL
def test_recipe_deals_the_volumes_by_the_split(name: str, tmp_path: Path) -> None:
    stand_in = make_stand_in(DATASETS[name], tmp_path / "mine")
    done = bring(stand_in, tmp_path / "out", by_volume=True)
    config = load_config(done.recipe)
    dealt = {
        role: [v.name for v in getattr(config.data, part)]
        for role, part in (("train", "labelled"), ("validation", "validation"), ("test", "test"))
    }
    split = stand_in.description.split
    for role, names in dealt.items():
        chosen = getattr(split, role)
        assert names == [
            v.name
            for v in stand_in.description.volumes
            if (v.specimen if split.by == "specimen" else v.name) in chosen
        ]
    specimens = {v.name: v.specimen for v in stand_in.description.volumes}
    sides = [{specimens[n] for n in names} - {None} for names in dealt.values()]
    assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]
    assert config.data.unlabelled == ()


def test_recipe_opens_as_a_collection(tmp_path: Path) -> None:
    stand_in = make_stand_in(DATASETS["vesselnn"], tmp_path / "mine")
    done = bring(stand_in, tmp_path / "out")
    collection = open_collection(load_config(done.recipe).data)
    assert [v.name for v in collection.labelled] == [
        "burgess2014_bbbDisruption",
        "burgess2014_lowerRes_hiSNR",
        "burgess2014_noisySparseVessels",
        "burgess2014_tgMouse",
    ]
    assert [v.shape for v in collection.labelled] == [SHAPE, SHAPE, (9, 12, 16), SHAPE]
    assert all(v.label is not None for v in collection.validation)


def test_recipe_says_where_it_comes_from(tmp_path: Path) -> None:
    stand_in = make_stand_in(DATASETS["selma3d"], tmp_path / "mine")
    text = bring(stand_in, tmp_path / "out", by_volume=True).recipe.read_text(encoding="utf-8")
    for part in (
        "https://selma3d.grand-challenge.org/data",
        "CC BY-NC",
        "an animal may be on two sides",
        "shares volumes with vessap",
    ):
        assert part in text


def test_unknown_animals_are_not_split_unless_asked(three: StandIn, tmp_path: Path) -> None:
    done = bring(three, tmp_path / "out")
    assert done.parts.labelled == ("mv01", "mv02", "mv03")
    assert done.parts.validation == done.parts.test == ()
    assert "the animals behind the volumes are not published" in done.parts.note
    assert "--by-volume" in done.parts.note


def test_further_labels_can_be_set_aside(three: StandIn, tmp_path: Path) -> None:
    done = bring(three, tmp_path / "out", labelled=1)
    data = load_config(done.recipe).data
    assert [v.name for v in data.labelled] == ["mv01"]
    assert [(v.name, v.label) for v in data.unlabelled] == [("mv02", None), ("mv03", None)]
    with pytest.raises(ConfigError, match="--labelled 4: there are 3 training volumes"):
        bring(three, tmp_path / "out", labelled=4)


def test_a_data_set_for_testing_only_trains_on_simulated_volumes(tmp_path: Path) -> None:
    stand_in = make_stand_in(DATASETS["tubenet_octa"], tmp_path / "mine")
    config = load_config(bring(stand_in, tmp_path / "out").recipe)
    assert [v.name for v in config.data.test] == ["octa"]
    assert (config.finetune.simulated_share, config.distill.simulated_share) == (1.0, 1.0)


def test_counts_stored_as_reals_become_counts(three: StandIn, tmp_path: Path) -> None:
    as_reals = three.images["mv01"].astype(np.float32)
    write_volume(three.folder / "raw/mv01.nii.gz", as_reals)
    write_volume(three.folder / "raw/mv02.nii.gz", as_reals / 3)
    bring(three, tmp_path / "out")
    first, second = (
        tifffile.imread(tmp_path / f"out/images/{n}.ome.tif") for n in ("mv01", "mv02")
    )
    assert (first.dtype, second.dtype) == (np.uint16, np.float32)
    np.testing.assert_array_equal(second, as_reals / 3)


@pytest.mark.parametrize(
    ("stored", "kept"),
    [
        (np.uint8, np.uint8),
        (np.int16, np.int16),
        (np.int64, np.uint16),
        (np.uint64, np.uint16),
        (np.float64, np.uint16),
    ],
)
def test_every_type_is_kept_without_loss(
    stored: type[np.generic], kept: type[np.generic], tmp_path: Path
) -> None:
    stand_in = make_stand_in(DATASETS["tubenet_octa"], tmp_path / "mine")
    image = (stand_in.images["octa"] % 100).astype(stored)
    np.save(tmp_path / "mine/image1.npy", image)
    np.save(tmp_path / "mine/label1.npy", stand_in.labels["octa"])
    bring(stand_in, tmp_path / "out", images="image*.npy", labels="label*.npy")
    got = tifffile.imread(tmp_path / "out/images/tubenet_octa_1.ome.tif")
    assert got.dtype == kept
    np.testing.assert_array_equal(got, image)


def test_values_of_more_than_32_bits_are_refused(tmp_path: Path) -> None:
    stand_in = make_stand_in(DATASETS["tubenet_octa"], tmp_path / "mine")
    np.save(tmp_path / "mine/image1.npy", stand_in.images["octa"].astype(np.uint64) << 40)
    np.save(tmp_path / "mine/label1.npy", stand_in.labels["octa"])
    with pytest.raises(DataError, match="more than 32 bits"):
        bring(stand_in, tmp_path / "out", images="image*.npy", labels="label*.npy")


def test_an_axis_of_length_1_in_front_is_dropped(three: StandIn, tmp_path: Path) -> None:
    wide = three.images["mv01"].transpose()[np.newaxis]  # (1, x, y, z)
    nib.save(nib.Nifti1Image(wide, np.eye(4)), three.folder / "raw/mv01.nii.gz")
    bring(three, tmp_path / "out")
    got = tifffile.imread(tmp_path / "out/images/mv01.ome.tif")
    np.testing.assert_array_equal(got, three.images["mv01"])


# --------------------------------------------------------------------------------- axes and sizes


@pytest.mark.parametrize(
    ("name", "axes"),
    [("selma3d", "xyz"), ("selma3d", "yxz"), ("minivess", "xyz"), ("vesselnn", "yzx")],
)
def test_permuted_axes_are_refused_or_declared(name: str, axes: str, tmp_path: Path) -> None:
    stand_in = make_stand_in(DATASETS[name], tmp_path / "mine", volumes=2)
    for volume in stand_in.description.volumes:
        for file, array in (
            (volume.image, stand_in.images[volume.name]),
            (volume.label, stand_in.labels[volume.name]),
        ):
            permuted = array.transpose(["zyx".index(axis) for axis in axes])
            write_volume(stand_in.folder / file.key, permuted)
    with pytest.raises(DataError, match=rf"seem to be permuted: --axes .*{axes}.* would fit"):
        bring(stand_in, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    bring(stand_in, tmp_path / "out", reading=Reading(axes=axes))
    for volume in stand_in.description.volumes:
        np.testing.assert_array_equal(
            read(tmp_path / f"out/images/{volume.name}.ome.tif"), stand_in.images[volume.name]
        )


@pytest.mark.parametrize("axes", ["zy", "zyy", "zyxc", "abc"])
def test_axes_that_are_none_are_refused(axes: str) -> None:
    with pytest.raises(ConfigError, match="must name z, y and x once each"):
        Reading(axes=axes)


@pytest.mark.parametrize("size", [(0.0, 1.0, 1.0), (1.0, -1.0, 1.0), (1.0, 1.0, float("nan"))])
def test_sizes_that_are_none_are_refused(size: tuple[float, float, float]) -> None:
    with pytest.raises(DataError, match="positive numbers of micrometres"):
        Reading(voxel_size_um=size)


def test_a_label_with_permuted_axes_is_refused(tmp_path: Path) -> None:
    stand_in = make_stand_in(DATASETS["tubenet_octa"], tmp_path / "mine")
    label = stand_in.labels["octa"].transpose(0, 2, 1)
    write_volume(stand_in.folder / "OCTA-Labels.tif", label)
    with pytest.raises(DataError, match=r"has shape \(z, y, x\) \(10, 16, 12\), its image"):
        bring(stand_in, tmp_path / "out")


def test_another_shape_is_refused(three: StandIn, tmp_path: Path) -> None:
    write_volume(three.folder / "raw/mv02.nii.gz", np.ones((4, 5, 6), np.uint16))
    with pytest.raises(DataError, match=r"4 x 5 x 6 .* mv02 is described as any x 12 x 16: it is"):
        bring(three, tmp_path / "out")


def test_a_size_that_is_given_goes_before_the_header(three: StandIn, tmp_path: Path) -> None:
    bring(three, tmp_path / "out", reading=Reading(voxel_size_um=(4.0, 2.0, 1.0)))
    with open_volume(tmp_path / "out/labels/mv03.ome.tif") as label:
        assert label.voxel_size_um == VoxelSize(4, 2, 1)


def test_a_described_size_goes_before_the_header(tmp_path: Path) -> None:
    stand_in = make_stand_in(DATASETS["selma3d"], tmp_path / "mine", volumes=1)
    bring(stand_in, tmp_path / "out")
    with open_volume(tmp_path / "out/images/patchvolume_000.ome.tif") as image:
        assert image.voxel_size_um == VoxelSize(3.0, 1.625, 1.625)


def test_a_header_in_a_wrong_unit_is_refused(three: StandIn, tmp_path: Path) -> None:
    image = nib.Nifti1Image(three.images["mv01"].transpose(), np.eye(4))
    image.header.set_xyzt_units("mm")
    nib.save(image, three.folder / "raw/mv01.nii.gz")
    with pytest.raises(DataError, match=r"states voxels of z 1000, .* --voxel-size Z Y X"):
        bring(three, tmp_path / "out")


def test_an_unknown_size_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stand_in = make_stand_in(DATASETS["tubenet_octa"], tmp_path / "mine")
    with caplog.at_level("WARNING", logger.name):
        bring(stand_in, tmp_path / "out")
    assert "octa: voxel size unknown" in caplog.text
    manifest = json.loads((tmp_path / "out/datasets.json").read_text())
    assert manifest["volumes"]["octa"]["voxel_size_um"] is None


# ----------------------------------------------------------------------------------------- labels


@pytest.mark.parametrize("values", [(0, 1), (0, 255), (0, 95, 255)])
def test_every_described_value_is_vessel(values: tuple[int, ...], tmp_path: Path) -> None:
    stand_in = make_stand_in(DATASETS["selma3d"], tmp_path / "mine", volumes=1)
    label = np.resize(np.array(values, np.uint8), SHAPE)
    write_volume(stand_in.folder / stand_in.description.volumes[0].label.key, label)
    bring(stand_in, tmp_path / "out")
    np.testing.assert_array_equal(
        tifffile.imread(tmp_path / "out/labels/patchvolume_000.ome.tif"), (label != 0)
    )


def test_a_value_that_nobody_described_is_refused(tmp_path: Path) -> None:
    stand_in = make_stand_in(DATASETS["selma3d"], tmp_path / "mine", volumes=1)
    label = np.resize(np.array([0, 1, 7], np.uint8), SHAPE)
    write_volume(stand_in.folder / stand_in.description.volumes[0].label.key, label)
    with pytest.raises(DataError, match="holds the values 7, but only 0 and 1, 95, 255 are"):
        bring(stand_in, tmp_path / "out")


def test_a_label_of_many_values_needs_a_word(three: StandIn, tmp_path: Path) -> None:
    grey = (np.arange(np.prod(SHAPE)) % 200).reshape(SHAPE).astype(np.uint8)
    write_volume(three.folder / "seg/mv01_y.nii.gz", grey)
    with pytest.raises(DataError, match=r"has 200 values \(0, 1, 2, 3, 4, 5, …\) .*vessel-above"):
        bring(three, tmp_path / "out")
    bring(three, tmp_path / "out", reading=Reading(vessel_above=127))
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out/labels/mv01.ome.tif"), grey > 127)


def test_a_label_without_vessels_is_refused(three: StandIn, tmp_path: Path) -> None:
    write_volume(three.folder / "seg/mv03_y.nii.gz", np.zeros(SHAPE, np.uint8))
    with pytest.raises(DataError, match=r"mv03_y.nii.gz' has no vessel at all"):
        bring(three, tmp_path / "out")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_image_that_is_not_finite_is_refused(
    three: StandIn, tmp_path: Path, value: float
) -> None:
    image = three.images["mv01"].astype(np.float32)
    image[0, 0, 0] = value
    write_volume(three.folder / "raw/mv01.nii.gz", image)
    with pytest.raises(IntensityError, match="NaN or infinite"):
        bring(three, tmp_path / "out")


# ------------------------------------------------------------------------ missing, damaged, changed


def test_a_missing_label_is_refused_or_left_out(
    three: StandIn, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (three.folder / "seg/mv02_y.nii.gz").unlink()
    with pytest.raises(
        DataError, match=r"1 of 3 volumes of minivess lack files \(first: seg/mv02_y.nii.gz\)"
    ):
        bring(three, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with caplog.at_level("WARNING", logger.name):
        done = bring(three, tmp_path / "out", incomplete=True)
    assert done.parts.labelled == ("mv01", "mv03")
    assert "left out, since files are missing: seg/mv02_y.nii.gz" in caplog.text


def test_a_folder_of_something_else_is_refused(three: StandIn, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("nothing")
    options = FetchOptions(source=tmp_path / "other", incomplete=True)
    with pytest.raises(DataError, match="none of the files of minivess is there"):
        fetch(three.description, tmp_path / "out", options)
    with pytest.raises(DataError, match="does not exist"):
        fetch(three.description, tmp_path / "out", FetchOptions(source=tmp_path / "nowhere"))


def test_a_file_that_is_there_twice_is_refused(three: StandIn, tmp_path: Path) -> None:
    shutil.copytree(three.folder / "raw", three.folder / "copy" / "raw")
    with pytest.raises(DataError, match=r"'raw/mv01.nii.gz' is there 2 times \(copy/raw/mv01"):
        bring(three, tmp_path / "out")


@pytest.mark.parametrize("name", ["minivess", "vesselnn"])
def test_a_truncated_file_is_refused(name: str, tmp_path: Path) -> None:
    stand_in = make_stand_in(DATASETS[name], tmp_path / "mine", volumes=2)
    file = stand_in.folder / stand_in.description.volumes[1].image.key
    file.write_bytes(file.read_bytes()[:-2000])
    with pytest.raises(DataError, match=r"truncated|cannot be read"):
        bring(stand_in, tmp_path / "out")
    manifest = json.loads((tmp_path / "out/datasets.json").read_text())
    assert list(manifest["volumes"]) == [stand_in.description.volumes[0].name]


def published(stand_in: StandIn, sha256: str) -> Description:
    """The description with a published digest of its first image."""
    first, *others = stand_in.description.volumes
    image = SourceFile(first.image.paths, sha256=sha256)
    return replace(stand_in.description, volumes=(replace(first, image=image), *others))


def test_another_digest_than_the_published_is_refused(three: StandIn, tmp_path: Path) -> None:
    options = FetchOptions(source=three.folder)
    with pytest.raises(DataError, match=r"image of mv01, .* not 0{64} as published"):
        fetch(published(three, "0" * 64), tmp_path / "out", options)
    fetch(published(three, sha256_of(three.folder / "raw/mv01.nii.gz")), tmp_path / "out", options)
    noted = json.loads((tmp_path / "out/datasets.json").read_text())["volumes"]["mv01"]
    assert (noted["image"]["published"], noted["label"]["published"]) == (True, False)


def test_a_file_that_changed_since_is_refused(three: StandIn, tmp_path: Path) -> None:
    bring(three, tmp_path / "out")
    label = three.labels["mv02"].copy()
    label[0, 0, 0] = 255 - label[0, 0, 0]
    write_volume(three.folder / "seg/mv02_y.nii.gz", label)
    with pytest.raises(DataError, match=r"label of mv02, .* as when it was first read"):
        bring(three, tmp_path / "out")
    bring(three, tmp_path / "out", overwrite=True)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out/labels/mv02.ome.tif"), label > 0)


# -------------------------------------------------------------------------------- what is repeated


def test_a_second_call_writes_no_volume_again(three: StandIn, tmp_path: Path) -> None:
    bring(three, tmp_path / "out")
    before = contents(tmp_path / "out")
    done = bring(three, tmp_path / "out", labelled=2)
    after = contents(tmp_path / "out")
    volumes = [name for name in before if name.endswith(".ome.tif")]
    assert len(volumes) == 6
    assert {name: before[name] for name in volumes} == {name: after[name] for name in volumes}
    assert len(load_config(done.recipe).data.labelled) == 2


def test_a_stopped_call_goes_on(
    three: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The module, which the package hides behind the function of that name.
    module = sys.modules["vpbsd.data.public.fetch"]
    real, seen = module.convert_pair, []

    def stops(description: Description, volume: PublicVolume, *rest: Any) -> Any:
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(volume.name)
        return real(description, volume, *rest)

    monkeypatch.setattr(module, "convert_pair", stops)
    with pytest.raises(KeyboardInterrupt):
        bring(three, tmp_path / "out")
    assert not (tmp_path / "out/recipe.yaml").exists()
    seen.clear()
    bring(three, tmp_path / "out")
    assert seen == ["mv03"]
    assert not [p for p in (tmp_path / "out").rglob("*") if "partial" in p.name]


def test_an_output_that_was_damaged_is_made_again(three: StandIn, tmp_path: Path) -> None:
    bring(three, tmp_path / "out")
    file = tmp_path / "out/images/mv02.ome.tif"
    file.write_bytes(b"damaged")
    bring(three, tmp_path / "out")
    np.testing.assert_array_equal(tifffile.imread(file), three.images["mv02"])


def test_other_settings_need_another_folder(three: StandIn, tmp_path: Path) -> None:
    bring(three, tmp_path / "out")
    other = Reading(voxel_size_um=(4.0, 2.0, 1.0))
    with pytest.raises(OutputError, match=r"made with other settings \(voxel_size_um\)"):
        bring(three, tmp_path / "out", reading=other)
    bring(three, tmp_path / "out", reading=other, overwrite=True)
    with open_volume(tmp_path / "out/images/mv01.ome.tif") as image:
        assert image.voxel_size_um == VoxelSize(4, 2, 1)


@pytest.mark.parametrize("name", ["notes.txt", "images", "recipe.yaml"])
def test_a_folder_that_is_not_ours_is_left_alone(three: StandIn, tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match=rf"holds more than a data set \(first: {name}\)"):
            bring(three, out, overwrite=overwrite)
    assert contents(out).keys() == {name}


def test_another_data_set_in_the_folder_is_refused(three: StandIn, tmp_path: Path) -> None:
    bring(three, tmp_path / "out")
    octa = make_stand_in(DATASETS["tubenet_octa"], tmp_path / "octa")
    with pytest.raises(OutputError, match=r"holds the data set minivess .* not tubenet_octa"):
        bring(octa, tmp_path / "out")
    with pytest.raises(OutputError, match="is a file"):
        bring(octa, tmp_path / "octa" / "OCTA-Data.tif")


def test_an_edited_recipe_is_not_overwritten(three: StandIn, tmp_path: Path) -> None:
    recipe = bring(three, tmp_path / "out").recipe
    edited = recipe.read_text(encoding="utf-8").replace("test: []", "test: []  # none")
    recipe.write_text(edited, encoding="utf-8")
    with pytest.raises(OutputError, match="was changed since it was written"):
        bring(three, tmp_path / "out")
    assert recipe.read_text(encoding="utf-8") == edited


def test_a_broken_manifest_is_told(three: StandIn, tmp_path: Path) -> None:
    bring(three, tmp_path / "out")
    (tmp_path / "out/datasets.json").write_text("{")
    with pytest.raises(OutputError, match=r"datasets.json' cannot be read"):
        bring(three, tmp_path / "out")


# ---------------------------------------------------------------------------------------- archives


def packed(stand_in: StandIn, archive: Path) -> Path:
    """Pack a stand-in as it is downloaded, below a folder of its own, with files beside."""
    (stand_in.folder / "Licence.pdf").write_text("text")
    shutil.copytree(stand_in.folder / "raw", stand_in.folder / "__MACOSX" / "raw")
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
            for path in sorted(stand_in.folder.rglob("*")):
                file.write(path, Path("d-1") / path.relative_to(stand_in.folder))
    else:
        with tarfile.open(archive, "w:gz" if archive.suffix == ".gz" else "w") as file:
            file.add(stand_in.folder, "d-1")
    return archive


@pytest.mark.parametrize("archive", ["a.zip", "a.tar", "a.tar.gz"])
def test_an_archive_is_as_good_as_a_folder(three: StandIn, tmp_path: Path, archive: str) -> None:
    bring(three, tmp_path / "from_folder")
    source = packed(three, tmp_path / archive)
    fetch(three.description, tmp_path / "out", FetchOptions(source=source))
    first, second = (
        json.loads((tmp_path / name / "datasets.json").read_text())["volumes"]
        for name in ("from_folder", "out")
    )
    for name, entry in first.items():
        assert second[name]["image"]["source_sha256"] == entry["image"]["source_sha256"]
        np.testing.assert_array_equal(
            tifffile.imread(tmp_path / f"out/labels/{name}.ome.tif"), three.labels[name] > 0
        )
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "datasets.json",
        "images",
        "labels",
        "recipe.yaml",
    ]


@pytest.mark.parametrize("archive", ["a.zip", "a.tar", "a.tar.gz"])
def test_a_truncated_archive_is_refused(three: StandIn, tmp_path: Path, archive: str) -> None:
    source = packed(three, tmp_path / archive)
    content = source.read_bytes()
    for kept in (len(content) // 3, len(content) * 2 // 3):
        source.write_bytes(content[:kept])
        with pytest.raises(DataError, match=r"cut short|lack files|truncated|cannot be read"):
            fetch(three.description, tmp_path / "out", FetchOptions(source=source))
        assert not (tmp_path / "out/recipe.yaml").exists()


@pytest.mark.parametrize(
    "name", ["../outside/raw/mv01.nii.gz", "/raw/mv01.nii.gz", "C:/raw/mv01.nii.gz", "..\\raw"]
)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_names_that_lead_outside_are_refused(
    three: StandIn, tmp_path: Path, kind: str, name: str
) -> None:
    source = tmp_path / f"a.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(source, "w") as file:
            file.writestr(name, b"x")
    else:
        with tarfile.open(source, "w") as file:
            file.addfile(tarfile.TarInfo(name))
    with pytest.raises(DataError, match="would be written outside of its folder"):
        fetch(three.description, tmp_path / "deep" / "out", FetchOptions(source=source))
    assert sorted(p.name for p in tmp_path.iterdir()) in (
        [source.name, "deep", "mine"],
        [source.name, "mine"],
    )


def test_a_link_in_an_archive_is_refused(three: StandIn, tmp_path: Path) -> None:
    link = tarfile.TarInfo("raw/mv01.nii.gz")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
    with tarfile.open(tmp_path / "a.tar", "w") as file:
        file.addfile(link)
    with pytest.raises(DataError, match="is a link or device, no file"):
        fetch(three.description, tmp_path / "out", FetchOptions(source=tmp_path / "a.tar"))


def test_the_right_class_is_taken_where_classes_share_names(tmp_path: Path) -> None:
    stand_in = make_stand_in(DATASETS["selma3d"], tmp_path / "mine", volumes=1)
    other = np.ones(SHAPE, np.uint16)
    write_volume(stand_in.folder / "shannel_cells/raw/patchvolume_000_0000.nii.gz", other)
    write_volume(stand_in.folder / "shannel_cells/gt/patchvolume_000.nii.gz", other)
    bring(stand_in, tmp_path / "out")
    # The folder of the class itself will do as well.
    below = FetchOptions(source=stand_in.folder / "VessAP_vessel")
    fetch(stand_in.description, tmp_path / "below", below)
    for out in ("out", "below"):
        got = tifffile.imread(tmp_path / out / "images/patchvolume_000.ome.tif")
        np.testing.assert_array_equal(got, stand_in.images["patchvolume_000"])


# ---------------------------------------------------------------------------------------- patterns


def patterns(folder: Path, count: int) -> None:
    rng = np.random.default_rng(1)
    for number in range(count):
        write_volume(folder / f"wga/brain{number}_ch0.npy", rng.integers(0, 99, SHAPE))
        write_volume(folder / f"truth/brain{number}.npy", rng.integers(0, 2, SHAPE))


def test_files_of_other_names_are_paired_by_patterns(tmp_path: Path) -> None:
    patterns(tmp_path / "mine", 3)
    options = FetchOptions(
        source=tmp_path / "mine", images="wga/*_ch0.npy", labels="truth/*.npy", by_volume=True
    )
    done = fetch(DATASETS["vessap"], tmp_path / "out", options)
    assert done.parts.labelled == ("brain0", "brain1", "brain2")
    assert done.parts.test == ()
    assert "nothing about animals" in done.parts.note
    alone = fetch(DATASETS["vessap"], tmp_path / "out", replace(options, by_volume=False))
    assert alone.parts.labelled == done.parts.labelled
    assert "--by-volume" not in alone.parts.note  # it would split nothing
    np.testing.assert_array_equal(
        tifffile.imread(tmp_path / "out/images/brain1.ome.tif"),
        np.load(tmp_path / "mine/wga/brain1_ch0.npy"),
    )


@pytest.mark.parametrize(
    ("images", "labels", "error", "says"),
    [
        ("wga/brain0.npy", "truth/*.npy", ConfigError, "exactly one"),
        ("wga/*.npy", "truth/*.npy", DataError, "brain0.npy has no image .4 such files"),
        ("wga/*_ch0.npy", "truth/*0.npy", DataError, "has no"),
        ("none/*.npy", "none/*.npy", DataError, "no file ends like"),
    ],
)
def test_patterns_that_do_not_pair_are_refused(
    images: str, labels: str, error: type[Exception], says: str, tmp_path: Path
) -> None:
    patterns(tmp_path / "mine", 2)
    options = FetchOptions(source=tmp_path / "mine", images=images, labels=labels)
    with pytest.raises(error, match=says):
        fetch(DATASETS["vessap"], tmp_path / "out", options)


def test_two_files_for_one_name_are_refused(tmp_path: Path) -> None:
    patterns(tmp_path / "mine", 1)
    shutil.copytree(tmp_path / "mine/wga", tmp_path / "mine/old/wga")
    options = FetchOptions(source=tmp_path / "mine", images="wga/*_ch0.npy", labels="truth/*.npy")
    with pytest.raises(DataError, match=r"both fit 'wga/\*_ch0.npy' with \* = 'brain0'"):
        fetch(DATASETS["vessap"], tmp_path / "out", options)


def test_patterns_need_a_folder_and_each_other(tmp_path: Path) -> None:
    for options in (FetchOptions(images="a*"), FetchOptions(labels="a*", source=tmp_path)):
        with pytest.raises(ConfigError, match="belong together"):
            fetch(DATASETS["vessap"], tmp_path / "out", options)
    with pytest.raises(ConfigError, match="say where with --from"):
        fetch(DATASETS["vessap"], tmp_path / "out", FetchOptions(images="a*", labels="b*"))


# ---------------------------------------------------------------------------------------- download


def served(stand_in: StandIn, server: FileServer) -> Description:
    """Put the files of a stand-in on the server; return the description with its addresses."""

    def address(file: SourceFile) -> SourceFile:
        server.files[file.key] = content = (stand_in.folder / file.key).read_bytes()
        assert content
        digest = sha256_of(stand_in.folder / file.key)
        return SourceFile(file.paths, server.url(file.key), digest)

    volumes = [
        replace(v, image=address(v.image), label=address(v.label))
        for v in stand_in.description.volumes
    ]
    return replace(stand_in.description, volumes=tuple(volumes))


def test_a_download_ends_like_a_folder(three: StandIn, server: FileServer, tmp_path: Path) -> None:
    description = served(three, server)
    heard: list[str] = []
    done = fetch(description, tmp_path / "out", progress=lambda name, *_: heard.append(name))
    assert done.parts.labelled == ("mv01", "mv02", "mv03")
    assert len(server.asked) == 6 == len(set(heard))
    np.testing.assert_array_equal(
        tifffile.imread(tmp_path / "out/images/mv03.ome.tif"), three.images["mv03"]
    )


def test_what_was_downloaded_or_converted_is_not_asked_for_again(
    three: StandIn, server: FileServer, tmp_path: Path
) -> None:
    description = served(three, server)
    fetch(description, tmp_path / "out")
    server.asked.clear()
    before = contents(tmp_path / "out")
    fetch(description, tmp_path / "out")
    shutil.rmtree(tmp_path / "out/downloads")  # the converted files are enough
    fetch(description, tmp_path / "out")
    assert server.asked == []
    after = contents(tmp_path / "out")
    assert all(after[n] == before[n] for n in before if n.endswith(".ome.tif"))
    # Of one volume that is gone, only the files of that one are fetched anew.
    (tmp_path / "out/labels/mv02.ome.tif").unlink()
    fetch(description, tmp_path / "out")
    assert [path for path, _ in server.asked] == ["raw/mv02.nii.gz", "seg/mv02_y.nii.gz"]


def test_a_file_that_the_server_lacks_is_told_or_left_out(
    three: StandIn, server: FileServer, tmp_path: Path
) -> None:
    description = served(three, server)
    del server.files["raw/mv02.nii.gz"]
    with pytest.raises(DataError, match=r"raw/mv02.nii.gz cannot be had: .* 404 .* --from"):
        fetch(description, tmp_path / "out")
    done = fetch(description, tmp_path / "out", FetchOptions(incomplete=True))
    assert done.parts.labelled == ("mv01", "mv03")


def test_a_data_set_without_addresses_says_how_to_get_it(tmp_path: Path, three: StandIn) -> None:
    with pytest.raises(ConfigError, match=r"minivess cannot be downloaded .*search.kg.ebrains"):
        fetch(three.description, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_recipe_is_yaml_with_all_four_roles(three: StandIn, tmp_path: Path) -> None:
    tree = yaml.safe_load(bring(three, tmp_path / "out").recipe.read_text(encoding="utf-8"))
    assert list(tree["data"]) == ["root", "labelled", "unlabelled", "validation", "test"]
    assert tree["data"]["labelled"][0] == {
        "image": "images/mv01.ome.tif",
        "label": "labels/mv01.ome.tif",
    }
