"""Regions of an atlas, with a stand-in for what brainglobe-atlasapi hands out."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from vpbsd.errors import DataError, MissingExtraError
from vpbsd.geometry import VoxelSize
from vpbsd.graph.regions.atlas import atlas_regions, open_atlas

STRUCTURES = {
    997: {"id": 997, "name": "root", "acronym": "root", "structure_id_path": [997]},
    8: {"id": 8, "name": "grey", "acronym": "grey", "structure_id_path": [997, 8]},
    315: {"id": 315, "name": "isocortex", "acronym": "CTX", "structure_id_path": [997, 8, 315]},
}


@dataclass
class StandIn:
    """The four attributes that are used of a BrainGlobeAtlas, with their types there."""

    annotation: np.ndarray = field(
        default_factory=lambda: np.array([315, 8], np.uint32).reshape(2, 1, 1)
    )
    resolution: tuple[float, ...] = (25.0, 25.0, 25.0)
    orientation: str = "asr"
    structures: dict[int, dict[str, Any]] = field(default_factory=lambda: dict(STRUCTURES))


def test_labels_names_and_parents() -> None:
    opened: list[str] = []

    def opener(name: str) -> StandIn:
        opened.append(name)
        return StandIn()

    regions = atlas_regions("tiny_25um", (10, 5, 5), VoxelSize(5.0, 5.0, 5.0), opener)
    assert opened == ["tiny_25um"]
    assert regions.at(np.array([[20.0, 0, 0], [25.0, 0, 0]])).tolist() == [315, 8]
    assert regions.names.name(315) == "isocortex"
    assert regions.names.parents == {8: 997, 315: 8}
    assert regions.source == "atlas tiny_25um"


def test_mask_that_is_not_registered_is_told_what_is_expected() -> None:
    with pytest.raises(DataError, match=r"covers 50 x 25 x 25 µm.*anterior to posterior"):
        atlas_regions("tiny", (40, 40, 40), VoxelSize(5.0, 5.0, 5.0), lambda _: StandIn())


def test_axes_in_another_order_are_named() -> None:
    with pytest.raises(DataError, match="axes are probably permuted"):
        atlas_regions(
            "tiny",
            (5, 20, 5),
            VoxelSize(5.0, 5.0, 5.0),
            lambda _: StandIn(annotation=np.ones((4, 1, 1), np.uint32)),
        )


def test_another_orientation_is_refused() -> None:
    with pytest.raises(DataError, match="stored as 'lpi'"):
        atlas_regions(
            "tiny", (10, 5, 5), VoxelSize(5.0, 5.0, 5.0), lambda _: StandIn(orientation="lpi")
        )


def test_missing_extra_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "brainglobe_atlasapi", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'vpbsd\[atlas\]'"):
        open_atlas("allen_mouse_25um")
