"""Block by block, a volume gets the scores that it gets at once."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from vpbsd.blockwise import Block, Stopped, Workers, plan_blocks
from vpbsd.errors import ConfigError, DataError, OutputError
from vpbsd.geometry import VoxelSize
from vpbsd.metrics import Scores, score
from vpbsd.metrics.by_block import (
    BYTES_PER_VOXEL,
    BlockwiseOptions,
    peak_bytes,
    plan_scoring,
    score_by_block,
)
from vpbsd.metrics.scores import scores_of
from vpbsd.metrics.tally import Rules, Tally, tally
from vpbsd.metrics.view import View
from vpbsd.volumes import ArrayVolume

SHAPE = (12, 150, 90)  # blocks of 64 are 1 x 3 x 2
SIZE = VoxelSize(3, 1.5, 1.5)
HALO = 12
# Beside what a process holds anyway, room for one block of 64 and its halo (12 x 88 x 76 voxels).
OPTIONS = BlockwiseOptions(memory_bytes=512 * 2**20 + 88_000 * BYTES_PER_VOXEL, halo_voxels=HALO)
ABOUT_THE_WAY = {"note", "betti_0_error", "betti_1_error", "betti_2_error"}
ON_LINES = {
    "cldice",
    "topology_precision",
    "topology_sensitivity",
    "centreline_precision_2_voxels",
    "centreline_recall_2_voxels",
    "capillary_precision",
    "capillary_recall",
    "large_vessel_precision",
    "large_vessel_recall",
}


def _vessels(seed: int, shape: tuple[int, int, int] = SHAPE) -> tuple[np.ndarray, np.ndarray]:
    """A prediction and a truth of tubes with branches, at most 4 voxels in radius."""
    rng = np.random.default_rng(seed)
    smooth = gaussian_filter(rng.standard_normal(shape), 3)
    noise = gaussian_filter(rng.standard_normal(shape), 1.5)
    valley = np.abs(smooth) < 0.3 * smooth.std()
    truth = valley & (gaussian_filter(rng.standard_normal(shape), 3) > 0)
    prediction = (np.abs(smooth + 0.1 * noise) < 0.25 * smooth.std()) & truth
    prediction[:, :40] |= noise[:, :40] > 2.2 * noise.std()
    return prediction, truth


def _by_block(p: np.ndarray, t: np.ndarray, options: BlockwiseOptions = OPTIONS) -> Scores:
    mask, truth = (ArrayVolume(a.astype(np.uint8), SIZE) for a in (p, t))
    return score_by_block(mask, truth, SIZE, options)


@pytest.fixture(scope="module")
def case() -> tuple[np.ndarray, np.ndarray, Scores, Scores]:
    p, t = _vessels(0)
    assert len(plan_scoring(SHAPE, OPTIONS)) == 6
    return p, t, score(p, t, SIZE), _by_block(p, t)


def test_what_blocks_tell_exactly_is_exact(
    case: tuple[np.ndarray, np.ndarray, Scores, Scores],
) -> None:
    _, _, at_once, by_block = case
    assert 0.2 < at_once.dice < 0.95
    assert at_once.euler_error > 3
    expected, got = at_once.to_dict(), by_block.to_dict()
    exact = set(expected) - ABOUT_THE_WAY - ON_LINES - {"hd95_um", "assd_um"}
    assert len(exact) == 12
    assert {name: got[name] for name in exact} == {name: expected[name] for name in exact}


def test_centrelines_are_those_of_one_pass(
    case: tuple[np.ndarray, np.ndarray, Scores, Scores],
) -> None:
    _, _, at_once, by_block = case
    for name in ON_LINES:
        assert getattr(by_block, name) == pytest.approx(getattr(at_once, name), abs=1e-3), name


def test_distances_up_to_the_cutoff_are_those_of_one_pass() -> None:
    # Every surface is found within 3 voxels, far below the cut-off of 11.
    t = _vessels(1)[1]
    p = np.roll(t, 2, axis=2)
    p[..., :2] = t[..., :2]
    p[..., -3:] = t[..., -3:]
    at_once, by_block = score(p, t, SIZE), _by_block(p, t)
    assert at_once.hd95_um is not None
    assert 1.4 < at_once.hd95_um < 6
    assert by_block.hd95_um == pytest.approx(at_once.hd95_um, rel=1e-5)
    assert by_block.assd_um == pytest.approx(at_once.assd_um, rel=1e-5)


def test_distances_beyond_the_cutoff_are_not_guessed(
    case: tuple[np.ndarray, np.ndarray, Scores, Scores],
) -> None:
    # One stray voxel among many: the mean is not known, the 95th percentile is.
    tube = np.zeros(SHAPE, bool)
    tube[4:8, 4:8, :] = True
    stray = tube.copy()
    stray[6, 140, 80] = True
    got = _by_block(stray, tube)
    assert (got.hd95_um, got.assd_um) == (0.0, None)
    assert "longer than 16.5 µm, so that assd_um is not known" in str(got.note)
    far = _by_block(np.roll(tube, 60, axis=1), tube)
    assert (far.hd95_um, far.assd_um) == (None, None)
    assert "100 % of the surface distances" in str(far.note)
    assert "hd95_um and assd_um are not known" in str(far.note)


def test_the_note_says_how_it_was_done(
    case: tuple[np.ndarray, np.ndarray, Scores, Scores],
) -> None:
    _, _, at_once, by_block = case
    assert at_once.note is None
    assert (by_block.betti_0_error, by_block.betti_1_error) == (None, None)
    assert "block by block with a halo of 12 voxels" in str(by_block.note)
    assert "not counted" in str(by_block.note)
    thick = np.zeros(SHAPE, bool)
    thick[:, 20:40, 20:80] = True
    assert "radius of 15 µm, more than a third of the halo (18 µm" in str(
        _by_block(thick, thick).note
    )
    thin = np.zeros(SHAPE, bool)
    thin[5, 70, :] = True
    assert "radius" not in str(_by_block(thin, thin).note)


@pytest.mark.parametrize("which", ["prediction", "truth", "both"])
def test_empty_masks_follow_the_one_convention(which: str) -> None:
    tube = np.zeros(SHAPE, bool)
    tube[4:8, 60:68, :] = True
    p = tube if which == "truth" else tube & False
    t = tube if which == "prediction" else tube & False
    expected, got = score(p, t, SIZE), _by_block(p, t)
    for name in set(expected.to_dict()) - ABOUT_THE_WAY:
        assert getattr(got, name) == getattr(expected, name), name
    assert str(got.note).startswith(str(expected.note))
    assert "longer" not in str(got.note)


@pytest.mark.parametrize("shape", [(12, 90, 70), (5, 64, 65)])
@pytest.mark.parametrize("block", [(64, 64, 64), (8, 24, 16)])
def test_counts_of_any_blocks_add_up(
    shape: tuple[int, int, int], block: tuple[int, int, int]
) -> None:
    p, t = _vessels(3, shape)
    rules = Rules(voxel_size_um=SIZE, cutoff_um=9.0)
    whole = tally(View.whole(p, t), rules)
    parts = [
        tally(View.of_block(one, p[one.read.slices], t[one.read.slices], shape), rules)
        for one in plan_blocks(shape, block, 12)
    ]
    total = parts[0]
    for part in parts[1:]:
        total += part
    # Sub-blocks of the Betti errors need blocks that are multiples of theirs.
    skipped = {"betti"} if block[2] % 64 else set()
    on_lines = {"lines", "capillaries", "lines_near"}
    expected, got = whole.to_dict(), total.to_dict()
    for name in set(expected) - skipped - on_lines:
        assert _rounded(got[name]) == _rounded(expected[name]), name
    for name in on_lines:
        assert got[name] == pytest.approx(expected[name], abs=3), name
    assert total.widest_radius_um == pytest.approx(whole.widest_radius_um)
    assert Tally.from_dict(json.loads(json.dumps(got))).to_dict() == got
    assert scores_of(total).dice == scores_of(whole).dice


def _rounded(value: object) -> object:
    """Distances may differ in the last digit with the array that they are measured in."""
    if isinstance(value, dict):
        return {**value, "values": [round(v, 4) for v in value["values"]]}
    return round(value, 4) if isinstance(value, float) else value


# ----------------------------------------------------------------------- workers, and going on


@pytest.mark.slow
def test_workers_count_the_same(case: tuple[np.ndarray, np.ndarray, Scores, Scores]) -> None:
    p, t, _, by_block = case
    workers = dataclasses.replace(OPTIONS, workers=Workers(processes=2, threads=1))
    assert _by_block(p, t, workers) == by_block


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The blocks that are counted; the fourth is stopped."""
    from vpbsd.metrics import by_block

    blocks: list[int] = []
    honest = by_block._Count.compute

    def compute(self: by_block._Count, block: Block, data: tuple[np.ndarray, np.ndarray]) -> Tally:
        blocks.append(block.index)
        if len(blocks) == 4:
            raise Stopped("stopped with 3 of 6 blocks finished; the same command goes on")
        return honest(self, block, data)

    monkeypatch.setattr(by_block._Count, "compute", compute)
    yield blocks


def test_a_stopped_run_goes_on(
    case: tuple[np.ndarray, np.ndarray, Scores, Scores], counted: list[int], tmp_path: Path
) -> None:
    p, t, _, by_block = case
    kept = dataclasses.replace(OPTIONS, work=tmp_path / "work", workers=Workers(lanes=1))
    with pytest.raises(Stopped, match="goes on"):
        _by_block(p, t, kept)
    assert _by_block(p, t, kept) == by_block
    assert counted == [0, 1, 2, 3, 3, 4, 5]
    assert _by_block(p, t, kept) == by_block
    assert len(counted) == 7


def test_a_stopped_run_without_a_folder_says_that_nothing_is_kept(
    case: tuple[np.ndarray, np.ndarray, Scores, Scores], counted: list[int]
) -> None:
    p, t, _, _ = case
    with pytest.raises(Stopped, match="nothing was kept; with --work FOLDER"):
        _by_block(p, t)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    tube = np.zeros((8, 8, 70), bool)
    tube[3:5, 3:5] = True
    kept = dataclasses.replace(OPTIONS, work=tmp_path / "work")
    _by_block(tube, tube, kept)
    with pytest.raises(OutputError, match=r"differs: mask was .* is "):
        _by_block(np.roll(tube, 1, 1), tube, kept)
    with pytest.raises(OutputError, match=r"capillary radius was 5.0 and is 4.0"):
        _by_block(tube, tube, dataclasses.replace(kept, capillary_radius_um=4.0))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds something else"):
        _by_block(tube, tube, dataclasses.replace(kept, work=tmp_path / "mine"))


# ------------------------------------------------------------------------------------ bad input


def test_probabilities_in_one_block_are_refused() -> None:
    values = np.zeros(SHAPE, np.float32)
    values[3, 140, 80] = 0.5
    masks = ArrayVolume(values, SIZE, "half.npy"), ArrayVolume(np.zeros(SHAPE, np.uint8), SIZE)
    with pytest.raises(DataError, match=r"'half.npy' holds probabilities"):
        score_by_block(*masks, SIZE, OPTIONS)


def test_shapes_that_differ() -> None:
    masks = ArrayVolume(np.zeros(SHAPE, np.uint8)), ArrayVolume(np.zeros((1, 2, 3), np.uint8))
    with pytest.raises(DataError, match="same resolution"):
        score_by_block(*masks, SIZE, OPTIONS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"halo_voxels": 3}, "at least 4"),
        ({"capillary_radius_um": 0.0}, "radius of capillaries"),
        ({"memory_bytes": 512 * 2**20}, r"smallest block .*--memory"),
        ({"workers": Workers(processes=10_000)}, "fewer workers"),
    ],
)
def test_bad_options(change: dict[str, object], message: str) -> None:
    nothing = np.zeros(SHAPE, bool)
    with pytest.raises(ConfigError, match=message):
        _by_block(nothing, nothing, dataclasses.replace(OPTIONS, **change))  # type: ignore[arg-type]


def test_the_plan_keeps_to_the_memory() -> None:
    for gib in (1, 2, 4, 16):
        options = BlockwiseOptions(memory_bytes=gib * 2**30)
        plan = plan_scoring((2000, 3000, 4000), options)
        assert peak_bytes(plan) <= gib * 2**30
        assert all(edge % 64 == 0 for edge in plan.block)
