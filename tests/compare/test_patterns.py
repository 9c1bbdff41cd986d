"""The patches nearest to each code, from a teacher whose codes are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from vpbsd.compare.patterns import PatternOptions, collect_patterns
from vpbsd.config import CodebookConfig, TeacherConfig
from vpbsd.data.collection import TrainingVolume
from vpbsd.errors import CollapseError, ConfigError
from vpbsd.geometry import Box
from vpbsd.models import Model, Teacher
from vpbsd.stages.label import TeacherRuntime
from vpbsd.volumes import ArrayVolume, IntensityScale

SHAPE = (16, 24, 21)  # the last is no multiple of the stride
CELL = 4


def make_teacher(quantiser: str = "ema", threshold: float = 0.5) -> Model:
    torch.manual_seed(0)
    config = TeacherConfig(widths=(8, 16, 16, 16), heads=2, attention_blocks=1, window_tokens=2)
    codebook = CodebookConfig.model_validate({"size": 8, "dimension": 4, "quantiser": quantiser})
    net = Teacher(config, codebook)
    net(torch.randn(2, 1, 16, 16, 16), "segment")
    return Model(net.eval(), "teacher", threshold, {}, "none")


class Oracle(TeacherRuntime):
    """Says of each cell what its brightness tells: code, distance and vessel are then known.

    A cell of mean brightness ``10 k + d`` gets code k at distance d / 10; cells of code 0 are
    background, all others vessels throughout.
    """

    def encode(self, block: np.ndarray) -> tuple[Any, Any, Any]:
        z, y, x = (n // CELL for n in block.shape[1:])
        mean = block[0].reshape(z, CELL, y, CELL, x, CELL).mean(axis=(1, 3, 5))
        codes = (mean // 10).astype(int)
        table = self._net.codebook.table.detach().numpy()
        encodings = np.moveaxis(table[codes], -1, 0).copy()
        encodings[0] += (mean - 10 * codes) / 10
        vessel = np.kron(codes > 0, np.ones((CELL,) * 3))
        return vessel.astype(np.float32), codes, encodings.astype(np.float32)


def volume(cells: dict[tuple[int, int, int], float], name: str = "a") -> TrainingVolume:
    """Return a volume with the given brightness in some cells, 0 in all others."""
    image = np.zeros(SHAPE, np.float32)
    for (z, y, x), value in cells.items():
        image[Box.at((CELL * z, CELL * y, CELL * x), (CELL, CELL, CELL)).slices] = value
    return as_normalised(image, name)


def as_normalised(values: np.ndarray, name: str = "a") -> TrainingVolume:
    """Return a volume whose normalised intensities are these; the scale takes the asinh."""
    return TrainingVolume(name, ArrayVolume(np.sinh(values)), IntensityScale((0.0,), (1.0,)))


def collected(volumes: list[TrainingVolume], **options: Any) -> Any:
    teacher = make_teacher()
    assert isinstance(teacher.net, Teacher)
    chosen = PatternOptions(**{"codes": 3, "patches": 2, "patch_voxels": (8, 8, 8), **options})
    return collect_patterns(teacher, volumes, Oracle(teacher.net), chosen)


def test_codes_are_ranked_by_the_vessels_in_their_cells() -> None:
    found = collected(
        [volume({(0, 0, 0): 20, (0, 0, 3): 21, (2, 3, 3): 22, (3, 5, 0): 50, (1, 1, 1): 30})]
    )
    # Code 2 in three cells of 64 vessel voxels, 3 and 5 in one each; of two alike the first counts.
    assert found.codes.tolist() == [2, 3, 5]
    assert found.vessel_share.tolist() == pytest.approx([0.6, 0.2, 0.2])
    # 4 x 6 x 6 cells, the last of which reaches one voxel into the volume.
    assert found.cell_share.tolist() == pytest.approx([3 / 144, 1 / 144, 1 / 144])
    assert found.cell_voxels == (4, 4, 4)


def test_patches_are_the_nearest_that_lie_apart() -> None:
    first = volume({(0, 0, 0): 20.1, (2, 2, 2): 20, (2, 2, 1): 20.5})
    found = collected([first, volume({(2, 4, 3): 21}, "b")], codes=1)
    # The cell at the corner is near to the code too, but its patch would stick out; the neighbour
    # at distance 0.05 shows the same place as the cell at 0.
    assert found.distances.tolist() == [pytest.approx([0.0, 0.1], abs=1e-6)]
    # Both have the cell in the middle: voxels 2 to 5 of 8.
    assert found.cells[0].tolist() == [[2, 2, 2], [2, 2, 2]]
    for patch, brightness in zip(found.patches[0], (20, 21), strict=True):
        assert patch[2:6, 2:6, 2:6] == pytest.approx(brightness)


def test_a_code_at_the_border_alone_is_shown_there() -> None:
    found = collected([volume({(3, 5, 4): 21})], codes=1)
    # The patch is moved into the volume, so that its cell lies off the middle.
    assert found.cells[0, 0].tolist() == [4, 4, 3]
    assert found.patches[0, 0, 4:, 4:, 3:7] == pytest.approx(21)


def test_places_without_a_patch_are_nan() -> None:
    found = collected([volume({(1, 1, 1): 20})], codes=5, patches=3)
    assert found.codes.tolist() == [2]
    assert np.isfinite(found.patches[0, 0]).all()
    assert np.isnan(found.patches[0, 1:]).all()
    assert np.isnan(found.distances[0, 1:]).all()


def test_patches_are_no_larger_than_the_smallest_volume() -> None:
    found = collected([volume({(1, 1, 1): 20})], patch_voxels=(32, 16, 99))
    assert found.patches.shape[2:] == (16, 16, 21)


def test_a_real_teacher_runs() -> None:
    teacher = make_teacher(threshold=0.0)
    assert isinstance(teacher.net, Teacher)
    rng = np.random.default_rng(0)
    noise = as_normalised(rng.normal(size=SHAPE).astype(np.float32))
    found = collect_patterns(
        teacher, [noise], TeacherRuntime(teacher.net), PatternOptions(3, 2, (8, 8, 8))
    )
    # Everything is vessel at a threshold of 0, also in cells that reach beyond the volume.
    assert found.vessel_share.sum() <= 1
    assert (np.diff(found.vessel_share) <= 0).all()
    assert np.isfinite(found.patches[0, 0]).all()


def test_what_cannot_be_shown() -> None:
    with pytest.raises(CollapseError, match="the teacher finds no vessel in any"):
        collected([volume({})])
    with pytest.raises(ConfigError, match="give at least one"):
        collected([])
    with pytest.raises(ConfigError, match="at least 1"):
        PatternOptions(codes=0)
    teacher = make_teacher("none")
    assert isinstance(teacher.net, Teacher)
    with pytest.raises(ConfigError, match="this teacher has no codebook"):
        collect_patterns(teacher, [volume({})], TeacherRuntime(teacher.net))
