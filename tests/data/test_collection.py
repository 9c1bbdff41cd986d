"""The volumes of a run: opened once, checked against each other, told apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vpbsd.config import DataConfig
from vpbsd.data import collection as module
from vpbsd.data.collection import Collection, open_collection
from vpbsd.errors import DataError, IntensityError, VolumeFormatError, VpbsdError
from vpbsd.geometry import Box, VoxelSize
from vpbsd.volumes import ArrayVolume

SHAPE = (6, 8, 10)


def write(folder: Path, name: str, seed: int, shape: tuple[int, ...] = SHAPE) -> str:
    folder.mkdir(exist_ok=True)
    counts = np.random.default_rng(seed).integers(0, 1000, shape).astype(np.uint16)
    np.save(folder / f"{name}.npy", counts)
    return f"{name}.npy"


def write_label(folder: Path, name: str, shape: tuple[int, ...] = SHAPE) -> str:
    label = np.zeros(shape, np.uint8)
    label[..., 2:4] = 255
    np.save(folder / f"{name}.npy", label)
    return f"{name}.npy"


def opened(root: Path, channels: int = 1, **roles: list[dict[str, Any]]) -> Collection:
    return open_collection(DataConfig.model_validate({"root": root, **roles}), channels)


@pytest.fixture
def labelled(tmp_path: Path) -> dict[str, str]:
    return {"image": write(tmp_path, "a", 0), "label": write_label(tmp_path, "a_label")}


# ------------------------------------------------------------------------------------------- roles


def test_each_volume_plays_its_part(tmp_path: Path, labelled: dict[str, str]) -> None:
    validation = {"image": write(tmp_path, "v", 1), "label": write_label(tmp_path, "v_label")}
    unlabelled = {"image": write(tmp_path, "u", 2), "voxel_size_um": [3, 2, 1]}
    found = opened(tmp_path, labelled=[labelled], unlabelled=[unlabelled], validation=[validation])
    assert [v.name for v in found.labelled] == ["a"]
    assert [v.name for v in found.unlabelled] == ["u"]
    assert [v.name for v in found.validation] == ["v"]
    # Images of labelled volumes are learnt from without their labels too; validation never is.
    assert [v.name for v in found.images] == ["a", "u"]
    assert found.unlabelled[0].image.voxel_size_um == VoxelSize(3, 2, 1)
    assert found.labelled[0].shape == SHAPE


def test_label_is_true_above_nought(tmp_path: Path, labelled: dict[str, str]) -> None:
    (volume,) = opened(tmp_path, labelled=[labelled]).labelled
    truth = volume.truth(Box.at((1, 2, 0), (1, 1, 6)))
    assert truth.dtype == bool
    assert truth.tolist() == [[[False, False, True, True, False, False]]]


def test_without_label_nothing_is_vessel(tmp_path: Path) -> None:
    (volume,) = opened(tmp_path, unlabelled=[{"image": write(tmp_path, "u", 2)}]).unlabelled
    assert not volume.truth(Box.whole(SHAPE)).any()


def test_intensities_are_scaled_by_the_whole_volume(
    tmp_path: Path, labelled: dict[str, str]
) -> None:
    (volume,) = opened(tmp_path, labelled=[labelled]).labelled
    box = Box.at((1, 2, 3), (2, 3, 4))
    whole = volume.intensities(Box.whole(SHAPE))
    np.testing.assert_array_equal(volume.intensities(box), whole[(slice(None), *box.slices)])
    assert whole.dtype == np.float32


def test_dark_vessels_become_bright(tmp_path: Path, labelled: dict[str, str]) -> None:
    (bright,) = opened(tmp_path, labelled=[labelled]).labelled
    (dark,) = opened(tmp_path, labelled=[{**labelled, "invert": True}]).labelled
    box = Box.whole(SHAPE)
    a, b = bright.intensities(box).ravel(), dark.intensities(box).ravel()
    assert np.corrcoef(np.sinh(a), np.sinh(b))[0, 1] == pytest.approx(-1.0, abs=1e-4)


@pytest.mark.parametrize("limit", [0, 2**30])
def test_large_volumes_stay_on_disk(
    tmp_path: Path, labelled: dict[str, str], limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_KEEP_BELOW_BYTES", limit)
    (volume,) = opened(tmp_path, labelled=[labelled]).labelled
    assert isinstance(volume.image, ArrayVolume) == (limit > 0)
    expected = np.load(tmp_path / "a.npy")
    np.testing.assert_array_equal(volume.image.read(Box.whole(SHAPE))[0], expected)


# ----------------------------------------------------------------------------------------- refusal


def test_label_of_another_shape(tmp_path: Path, labelled: dict[str, str]) -> None:
    turned = write_label(tmp_path, "turned", (10, 8, 6))
    with pytest.raises(
        DataError, match=r"turned\.npy has shape \(10, 8, 6\).*has \(6, 8, 10\).*same order"
    ):
        opened(tmp_path, labelled=[{**labelled, "label": turned}])


def test_label_of_two_channels(tmp_path: Path, labelled: dict[str, str]) -> None:
    two = write_label(tmp_path, "two", (2, *SHAPE))
    with pytest.raises(DataError, match="has 2 channels; a label has one"):
        opened(tmp_path, labelled=[{**labelled, "label": two}])


@pytest.mark.parametrize(("channels", "shape"), [(2, SHAPE), (1, (2, *SHAPE))])
def test_channels_differ_from_the_nets(
    tmp_path: Path, channels: int, shape: tuple[int, ...]
) -> None:
    image = write(tmp_path, "other", 0, shape)
    with pytest.raises(DataError, match=r"other\.npy has \d channels, the nets take \d"):
        opened(tmp_path, channels, unlabelled=[{"image": image}])


@pytest.mark.parametrize("role", ["labelled", "unlabelled"])
def test_copy_of_a_training_volume_in_validation(
    tmp_path: Path, labelled: dict[str, str], role: str
) -> None:
    copy = write(tmp_path / "elsewhere", "renamed", 0)
    label = write_label(tmp_path, "other_label")
    with pytest.raises(DataError, match="renamed has the same content as training volume a"):
        opened(
            tmp_path,
            **{role: [labelled]},
            validation=[{"image": f"elsewhere/{copy}", "label": label}],
        )


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(VolumeFormatError, match=r"missing\.npy"):
        opened(tmp_path, unlabelled=[{"image": "missing.npy"}])


@pytest.mark.parametrize("value", [np.nan, 7.0])
def test_images_without_information(tmp_path: Path, value: float) -> None:
    np.save(tmp_path / "flat.npy", np.full(SHAPE, value, np.float32))
    with pytest.raises(IntensityError):
        opened(tmp_path, unlabelled=[{"image": "flat.npy"}])


# ------------------------------------------------------------------------------------ fingerprints


def test_fingerprints_name_every_file_and_change_with_it(
    tmp_path: Path, labelled: dict[str, str]
) -> None:
    other = {"image": write(tmp_path, "u", 2)}
    before = opened(tmp_path, labelled=[labelled], unlabelled=[other]).fingerprints()
    assert set(before) == {"labelled/a", "labelled/a/label", "unlabelled/u"}
    assert opened(tmp_path, labelled=[labelled], unlabelled=[other]).fingerprints() == before
    label = np.load(tmp_path / "a_label.npy")
    label[0, 0, 0] = 1
    np.save(tmp_path / "a_label.npy", label)
    after = opened(tmp_path, labelled=[labelled], unlabelled=[other]).fingerprints()
    assert {k for k in before if before[k] != after[k]} == {"labelled/a/label"}


def test_files_of_one_name_have_a_fingerprint_each(tmp_path: Path) -> None:
    names = [f"{d}/{write(tmp_path / d, 'image', i)}" for i, d in enumerate(("x", "y", "z"))]
    label = write_label(tmp_path, "label")
    volumes = [{"image": n, "label": label} for n in names]
    found = opened(tmp_path, labelled=volumes).fingerprints()
    assert len(found) == 6
    assert len({v for k, v in found.items() if "label" not in k.split("/")[2:]}) == 3


def test_every_refusal_is_ours(tmp_path: Path, labelled: dict[str, str]) -> None:
    for broken in (b"", b"\x93NUMPY\x01\x00", b"not an array"):
        (tmp_path / "broken.npy").write_bytes(broken)
        with pytest.raises(VpbsdError):
            opened(tmp_path, labelled=[{**labelled, "image": "broken.npy"}])
