"""Laws over all data sets, and the facts of each as they were read at its sources."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from vpbsd.config import parse_config
from vpbsd.data.public import DATASETS, Description, dataset
from vpbsd.errors import ConfigError

ALL = pytest.mark.parametrize("real", DATASETS.values(), ids=DATASETS.keys())


def test_the_names_are_known() -> None:
    assert list(DATASETS) == ["selma3d", "vessap", "minivess", "vesselnn", "tubenet_octa"]
    assert dataset("vesselnn").name == "vesselnn"
    with pytest.raises(ConfigError, match=r"no data set 'vesselNN'; known: selma3d, vessap"):
        dataset("vesselNN")


@ALL
def test_every_volume_has_exactly_one_role(real: Description) -> None:
    split = real.split
    keys = [*split.train, *split.validation, *split.test]
    assert max(Counter(keys).values()) == 1, "a name plays two parts"
    by = {"specimen": [v.specimen for v in real.volumes], "volume": [v.name for v in real.volumes]}
    assert set(keys) == set(by[split.by]), "a name of the split is not there, or the reverse"


@ALL
def test_no_animal_is_on_two_sides(real: Description) -> None:
    roles: dict[str | None, set[str | None]] = {}
    for volume in real.volumes:
        roles.setdefault(volume.specimen, set()).add(real.split.role(volume))
    if real.split.by == "specimen":
        assert None not in roles, "a volume of an unknown animal cannot be put on a side"
        assert {len(sides) for sides in roles.values()} == {1}
    else:
        # Whoever knows the animals must split by them.
        assert set(roles) == {None}
        assert "may be on two sides" in real.split.why


@ALL
def test_names_files_and_addresses_are_distinct(real: Description) -> None:
    files = [f for v in real.volumes for f in (v.image, v.label)]
    for values in (
        [v.name for v in real.volumes],
        [f.key for f in files],
        [f.url for f in files if f.url],
        [f.sha256 for f in files if f.sha256],
    ):
        assert len(set(values)) == len(values)


@ALL
def test_addresses_are_https_and_end_like_the_file(real: Description) -> None:
    assert real.home.startswith("https://")
    assert real.evidence
    for volume in real.volumes:
        for file in (volume.image, volume.label):
            if file.url is not None:
                assert file.url.startswith("https://")
                assert file.url.endswith("/" + file.key.rpartition("/")[2])
            assert file.sha256 is None or re.fullmatch("[0-9a-f]{64}", file.sha256)


@ALL
def test_overlaps_are_mutual(real: Description) -> None:
    for other in real.overlaps:
        assert real.name in DATASETS[other].overlaps


@ALL
def test_settings_make_a_run(real: Description) -> None:
    data = {"labelled": [{"image": "a", "label": "b"}]}
    assert parse_config({"data": data, **real.settings}).data.labelled


@ALL
def test_axes_and_sizes_are_possible(real: Description) -> None:
    assert sorted(real.axes) == ["x", "y", "z"]
    for volume in real.volumes:
        if volume.voxel_size_um is not None:
            z, y, x = volume.voxel_size_um
            # All of these are sections: planes are further apart than pixels.
            assert 0.1 < x == y < z < 10


def test_selma3d() -> None:
    real = DATASETS["selma3d"]
    assert len(real.volumes) == 24
    first, known = real.volumes[0], real.volumes[6]
    assert first.image.paths == (
        "VessAP_vessel/raw/patchvolume_000_0000.nii.gz",
        "raw/patchvolume_000_0000.nii.gz",
    )
    assert first.image.sha256 is None  # nobody published those of patches 000 to 005
    assert known.label.key == "VessAP_vessel/gt/patchvolume_006.nii.gz"
    assert known.label.sha256 == "fe7f87450aad5eb1354541c443f1bf66ff2a6d44dcef13a28f86f348b489a270"
    assert known.label.url == (
        "https://ftp.ebi.ac.uk/biostudies/fire/S-BIAD/196/S-BIAD1196/Files/"
        "SELMA3D_training_annotated/VessAP_vessel/gt/patchvolume_006.nii.gz"
    )
    assert {v.shape_zyx for v in real.volumes} == {(50, 500, 500)}
    assert {v.voxel_size_um for v in real.volumes} == {(3.0, 1.625, 1.625)}
    assert sum(v.image.sha256 is not None for v in real.volumes) == 18


def test_minivess() -> None:
    real = DATASETS["minivess"]
    assert [v.name for v in real.volumes][::69] == ["mv01", "mv70"]
    assert real.volumes[1].label.url == (
        "https://data-proxy.ebrains.eu/api/v1/datasets/bf268b89-1420-476b-b428-b85a913eb523/"
        "seg/mv02_y.nii.gz"
    )
    assert real.volumes[1].voxel_size_um is None  # each header has its own


def test_vesselnn() -> None:
    real = DATASETS["vesselnn"]
    sizes = {v.name: v.voxel_size_um for v in real.volumes}
    assert len(sizes) == 12
    assert sizes["santos2015_tumor"] == (5.0, 0.621, 0.621)
    assert sizes["burgess2014_lowerRes_hiSNR"] == (5.0, 1.59, 1.59)
    assert [name for name, size in sizes.items() if size is None] == [
        "poon2015_BBB_Leakage",
        "santos2015_lowContrastVessels",
        "santos2015_mixedSizelowContrastVessels",
    ]
    assert {v.specimen for v in real.volumes} == {"burgess2014", "poon2015", "santos2015"}
    assert {v.name: v.planes for v in real.volumes if v.planes} == {
        "burgess2014_noisySparseVessels": 9
    }


@pytest.mark.parametrize("name", ["vessap", "tubenet_octa"])
def test_a_single_volume_is_for_testing_only(name: str) -> None:
    real = DATASETS[name]
    assert [real.split.role(v) for v in real.volumes] == ["test"]
