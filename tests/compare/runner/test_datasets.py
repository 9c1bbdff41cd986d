"""Data sets: recipes and changes to them, simulated volumes by seed, test volumes apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from comparisons import settings, volume, write_volumes

from vpbsd.compare.runner.datasets import Dataset, open_dataset, volume_name
from vpbsd.config import DatasetConfig, VolumeConfig
from vpbsd.errors import CheckpointError, ConfigError, DataError, VoxelSizeUnknownError

SIMULATED: dict[str, Any] = {
    "folder": "sim",
    "seed": 3,
    "volumes": {"shape_voxels": [8, 16, 16], "specimen_seed": 2, "images_per_anatomy": 1},
    "labelled": {"count": 3, "shape_voxels": [8, 12, 12]},
    "unlabelled": {"count": 1},
    "validation": {"count": 1},
    "test": {"count": 2},
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "volumes"
    folder.mkdir()
    write_volumes(folder)
    return folder


def opened(folder: Path, **config: Any) -> Dataset:
    return open_dataset(DatasetConfig(name="d", **config), folder)


def with_data(root: Path, **data: Any) -> dict[str, Any]:
    tree = settings(root)
    return {**tree, "data": {**tree["data"], **data}}


# --------------------------------------------------------------------------------------- recipes


def test_recipe_is_changed_by_settings(root: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "base.yaml"
    recipe.write_text("name: base\ncodebook: {size: 64, dimension: 8}\n", "utf-8")
    changes = {**settings(root), "codebook": {"size": 32}, "distill.temperature": 0.5}
    run = opened(tmp_path, recipe=str(recipe), settings=changes).run
    assert (run.name, run.codebook.size, run.codebook.dimension) == ("d", 32, 8)
    assert run.distill.temperature == 0.5


def test_first_labelled_volumes_are_taken(root: Path, tmp_path: Path) -> None:
    data = opened(tmp_path, settings=settings(root), labelled=1).run.data
    assert [v.name for v in data.labelled] == ["labelled_a"]
    with pytest.raises(ConfigError, match="learn from 3 labelled volumes and lists 2"):
        opened(tmp_path, settings=settings(root), labelled=3)


def labelled(data_set: Dataset) -> list[str]:
    return [v.name for v in data_set.run.data.labelled]


def test_each_seed_draws_its_own_labelled_volumes(tmp_path: Path) -> None:
    own = {k: v for k, v in settings(tmp_path).items() if k != "data"}
    many = {**SIMULATED, "labelled": {"count": 6, "shape_voxels": [8, 12, 12]}}
    two, three = (
        opened(tmp_path, simulated=many, settings=own, labelled=n, draw_labelled=True)
        for n in (2, 3)
    )
    draws = [labelled(two.of_seed(seed)) for seed in range(8)]
    assert all(len(set(draw)) == 2 for draw in draws)
    assert {name for draw in draws for name in draw} == set(labelled(two))
    # A few are among the many, and a seed draws the same each time.
    assert [labelled(three.of_seed(seed))[:2] for seed in range(8)] == draws
    # What is learnt from decides whether a training is the same; what is scored stays.
    prints = two.of_seed(0).fingerprints
    assert sorted(k for k in prints if k.startswith("labelled")) == sorted(
        key for name in draws[0] for key in (f"labelled/{name}", f"labelled/{name}/label")
    )
    assert two.of_seed(0).scored_fingerprints == two.of_seed(1).scored_fingerprints


def test_without_a_draw_all_seeds_learn_from_the_first(root: Path, tmp_path: Path) -> None:
    first = opened(tmp_path, settings=settings(root), labelled=1)
    # Itself, so that files are opened and read for their fingerprints once for all seeds.
    assert all(first.of_seed(seed) is first for seed in range(8))
    assert labelled(first) == ["labelled_a"]
    with pytest.raises(ValueError, match="draws labelled volumes: set 'labelled' too"):
        opened(tmp_path, settings=settings(root), draw_labelled=True)


def test_refused_setting_names_the_data_set(root: Path, tmp_path: Path) -> None:
    changes = {**settings(root), "distill.stepz": 3}
    with pytest.raises(ConfigError, match=r"data set d: distill\.stepz: .*not permitted"):
        opened(tmp_path, settings=changes)


def test_without_anything_to_score_it_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="neither test nor validation volumes"):
        opened(tmp_path, settings=with_data(root, validation=[], test=[]))


# ---------------------------------------------------------------------------------- what is scored


def test_test_volumes_are_scored_and_training_does_not_know_them(
    root: Path, tmp_path: Path
) -> None:
    dataset = opened(tmp_path, settings=settings(root))
    assert dataset.scored_on == "test"
    assert set(dataset.scored_fingerprints) == {"test", "test label"}
    assert not [name for name in dataset.fingerprints if "test" in name]


def test_validation_volumes_are_scored_where_there_are_no_others(
    root: Path, tmp_path: Path
) -> None:
    dataset = opened(tmp_path, settings=with_data(root, test=[]))
    assert dataset.scored_on == "validation"
    assert set(dataset.scored_fingerprints) == {"validation", "validation label"}


@pytest.mark.parametrize("original", ["labelled_b", "unlabelled", "validation"])
def test_copy_of_another_volume_is_no_test_volume(
    original: str, root: Path, tmp_path: Path
) -> None:
    tifffile.imwrite(root / "test.tif", tifffile.imread(root / f"{original}.tif"))
    role = "validation" if original == "validation" else "training"
    with pytest.raises(DataError, match=f"test volume test has the same content as {role} volume"):
        opened(tmp_path, settings=settings(root)).scored_fingerprints  # noqa: B018


def test_scored_volume_needs_a_voxel_size(root: Path, tmp_path: Path) -> None:
    np.save(root / "t.npy", tifffile.imread(root / "test.tif"))
    test = [{"image": "t.npy", "label": "test_label.tif"}]
    with pytest.raises(VoxelSizeUnknownError):
        opened(tmp_path, settings=with_data(root, test=test)).scored_fingerprints  # noqa: B018


def test_names_of_volumes_hold_their_folder_and_are_distinct(root: Path, tmp_path: Path) -> None:
    names = [VolumeConfig(image=Path(p)) for p in ("a/b/c.ome.tif", "c.tif", "/x/y/c.ome.zarr")]
    assert [volume_name(v) for v in names] == ["b/c", "c", "y/c"]
    np.save(root / "test.npy", tifffile.imread(root / "labelled_a.tif") + 1)
    twin = {**volume("test"), "image": "test.npy", "label": "labelled_a_label.tif"}
    data = with_data(root, test=[volume("test"), twin], labelled=[volume("labelled_b")])
    with pytest.raises(ConfigError, match="two volumes to be scored are called test"):
        opened(tmp_path, settings=data).scored_fingerprints  # noqa: B018


# -------------------------------------------------------------------------------------- simulated


def test_simulated_volumes_are_the_same_everywhere(tmp_path: Path) -> None:
    own = {k: v for k, v in settings(tmp_path).items() if k != "data"}
    first = opened(tmp_path / "a", simulated=SIMULATED, settings=own)
    second = opened(tmp_path / "b", simulated=SIMULATED, settings=own)
    data = first.run.data
    assert [len(v) for v in (data.labelled, data.unlabelled, data.validation, data.test)] == [
        *(3, 1, 1, 2),
    ]
    assert first.collection.labelled[0].shape == (8, 12, 12)
    assert first.collection.validation[0].shape == (8, 16, 16)
    assert set(first.scored_fingerprints) == {
        *("test/volume_000_image", "test/volume_000_image label"),
        *("test/volume_001_image", "test/volume_001_image label"),
    }
    for role in ("labelled", "test"):
        name = f"data/sim/{role}/volume_001_image.ome.tif"
        both = [tifffile.imread(tmp_path / folder / name) for folder in "ab"]
        np.testing.assert_array_equal(*both)
    assert second.scored_fingerprints == first.scored_fingerprints


def test_more_labelled_volumes_leave_the_others_as_they_are(tmp_path: Path) -> None:
    own = {k: v for k, v in settings(tmp_path).items() if k != "data"}
    one = opened(tmp_path, simulated=SIMULATED, settings=own, labelled=1)
    three = opened(tmp_path, simulated=SIMULATED, settings=own, labelled=3)
    assert len(one.run.data.labelled) == 1
    assert one.scored_fingerprints == three.scored_fingerprints
    assert {k: v for k, v in three.fingerprints.items() if k in one.fingerprints} == (
        one.fingerprints
    )


def test_roles_may_have_specimens_of_their_own(tmp_path: Path) -> None:
    own = {k: v for k, v in settings(tmp_path).items() if k != "data"}
    volumes = {**SIMULATED["volumes"], "zoom": [1, 1]}
    test = {"count": 2, "specimen_seed": [2, 7]}
    apart = {**SIMULATED, "volumes": volumes, "test": test}
    opened(tmp_path, simulated=apart, settings=own)

    def microscope(role: str, index: int) -> Any:
        file = tmp_path / f"data/sim/{role}/volume_{index:03d}.json"
        return json.loads(file.read_text("utf-8"))["microscope"]

    assert microscope("test", 0) == microscope("labelled", 0) == microscope("labelled", 1)
    assert microscope("test", 1) != microscope("test", 0)


def test_simulated_volumes_are_written_once_and_never_replaced(tmp_path: Path) -> None:
    own = {k: v for k, v in settings(tmp_path).items() if k != "data"}
    opened(tmp_path, simulated=SIMULATED, settings=own)
    file = tmp_path / "data/sim/test/volume_000_image.ome.tif"
    before = file.stat().st_mtime_ns
    opened(tmp_path, simulated=SIMULATED, settings=own)
    assert file.stat().st_mtime_ns == before
    with pytest.raises(CheckpointError, match=r"other settings \(seed: 3 then, 4 now\)"):
        opened(tmp_path, simulated={**SIMULATED, "seed": 4}, settings=own)
    noted = json.loads((tmp_path / "data/sim/simulated.json").read_text("utf-8"))
    assert noted["seed"] == 3


def test_simulated_data_set_takes_no_recipe_with_volumes(tmp_path: Path) -> None:
    recipe = tmp_path / "base.yaml"
    recipe.write_text("data: {root: elsewhere}\n", "utf-8")
    with pytest.raises(ConfigError, match="take a recipe without a data section"):
        opened(tmp_path, recipe=str(recipe), simulated=SIMULATED)
