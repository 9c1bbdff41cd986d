"""The options for regions on the command line."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from vpbsd.cli.regions import add_region_options, region_options
from vpbsd.errors import ConfigError
from vpbsd.geometry import VoxelSize
from vpbsd.graph.regions.run import RegionOptions


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_region_options(parser)
    return parser.parse_args(words)


def test_nothing_said_is_the_default() -> None:
    assert region_options(parsed()) == RegionOptions()


def test_everything_said_arrives() -> None:
    words = "--regions atlas.nii --region-names n.csv --region-voxel-size 25 20 10 --tissue t.tif"
    found = region_options(
        parsed(*words.split(), "--extravascular", "50"),
        memory_bytes=2**29,
        capillary_radius_um=4.0,
    )
    assert found == RegionOptions(
        regions="atlas.nii",
        names=Path("n.csv"),
        voxel_size=VoxelSize(25.0, 20.0, 10.0),
        tissue="t.tif",
        extravascular_um=50.0,
        memory_bytes=2**29,
        capillary_radius_um=4.0,
    )


def test_label_volume_and_atlas_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed("--regions", "a", "--atlas", "b")
    assert "not allowed with" in capsys.readouterr().err


def test_names_without_regions_are_refused() -> None:
    with pytest.raises(ConfigError, match="--regions"):
        region_options(parsed("--region-names", "n.csv"))
