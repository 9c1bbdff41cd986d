"""Lengths of digitised lines, circles, helices and corners against those of the curves."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import pytest
from drawn_graphs import digitised, drawn, straight
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from vpbsd.graph.measures.length import edge_chunks, edge_lengths_um, smoothed_points_um

ISOTROPIC, THICK = (1.0, 1.0, 1.0), (5.0, 1.0, 1.0)


def _length(chain, voxel_size_um=ISOTROPIC) -> float:
    (length,) = edge_lengths_um(drawn([chain], voxel_size_um=voxel_size_um))
    return float(length)


def _ends(rng: np.random.Generator, voxels: int, count: int) -> list[np.ndarray]:
    """Return last voxels of lines from the origin: any direction, half of them near an axis."""
    found = []
    for i in range(count):
        way = rng.normal(size=3)
        if i % 2:
            way *= np.roll([1, 0.15, 0.15], i // 2)
        found.append(np.rint(way / np.abs(way).max() * (voxels - 1)))
    return found


@pytest.mark.parametrize("voxel_size_um", [ISOTROPIC, THICK])
@pytest.mark.parametrize("voxels", [10, 20, 80])
def test_straight_lines_at_any_angle(voxels: int, voxel_size_um) -> None:
    errors = []
    for end in _ends(np.random.default_rng(7), voxels, 60):
        stop = end * voxel_size_um
        chain = digitised(lambda t, stop=stop: t[:, None] * stop, voxel_size_um)
        errors.append(_length(chain, voxel_size_um) / math.hypot(*stop) - 1)
    assert max(errors) < 0.02
    assert min(errors) > -1e-9, "shorter than the straight line"
    assert np.mean(errors) < 0.012


def _helix(radius_um: float, pitch_um: float, turns: int, axis: int):
    def curve(t: np.ndarray) -> np.ndarray:
        angle = 2 * np.pi * turns * t
        along = [pitch_um * turns * t, radius_um * np.cos(angle), radius_um * np.sin(angle)]
        return np.roll(np.stack(along, axis=1), axis, axis=1)

    return curve


@pytest.mark.parametrize(
    ("radius_um", "pitch_um", "voxel_size_um"),
    [
        (8, 6, ISOTROPIC),
        (8, 12, ISOTROPIC),
        (8, 30, ISOTROPIC),
        (20, 15, ISOTROPIC),
        (40, 50, THICK),
    ],
)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_helix(radius_um: float, pitch_um: float, voxel_size_um, axis: int) -> None:
    chain = digitised(_helix(radius_um, pitch_um, 4, axis), voxel_size_um)
    exact = 4 * math.hypot(2 * math.pi * radius_um, pitch_um)
    assert _length(chain, voxel_size_um) == pytest.approx(exact, rel=0.02)


def _circle(radius: float, centre: np.ndarray):
    def curve(t: np.ndarray) -> np.ndarray:
        angle = 2 * np.pi * (t + 0.5)  # a ring begins at its first voxel
        return centre + radius * np.stack([0 * t, np.cos(angle), np.sin(angle)], axis=1)

    return curve


@pytest.mark.parametrize(
    ("radius", "mean", "single"), [(6, 0.01, 0.03), (8, 0.01, 0.02), (30, 0.01, 0.01)]
)
def test_a_circle_around_any_point(radius: float, mean: float, single: float) -> None:
    # On so few voxels, some circles lose 2 % when they are digitised.
    centres = np.random.default_rng(3).random((12, 3))
    lengths = np.array([_length(digitised(_circle(radius, c))) for c in centres])
    errors = lengths / (2 * math.pi * radius) - 1
    assert abs(errors.mean()) < mean
    assert np.abs(errors).max() < single


def test_tilted_circles_on_average() -> None:
    # A single circle of so few voxels is up to 3 % off, by where it happens to lie on the grid.
    lengths = []
    for turn in Rotation.random(20, random_state=5):
        curve = _helix(8, 0, 1, 0)
        lengths.append(_length(digitised(lambda t, turn=turn, curve=curve: turn.apply(curve(t)))))
    assert np.mean(lengths) == pytest.approx(2 * math.pi * 8, rel=0.02)


@pytest.mark.parametrize("arm", [15, 20, 40])
@pytest.mark.parametrize("diagonal", [False, True])
def test_a_right_angle(arm: int, diagonal: bool) -> None:
    middle = (0, arm, arm) if diagonal else (0, 0, arm)
    far = (0, 0, 2 * arm) if diagonal else (0, arm, arm)
    chain = [*straight((0, 0, 0), middle), *straight(middle, far)[1:]]
    exact = 2 * arm * (math.sqrt(2) if diagonal else 1)
    assert _length(chain) == pytest.approx(exact, rel=0.02)


@pytest.mark.parametrize(
    ("points", "length"),
    [
        ([(0, 0, 0), (0, 3, 4)], 5),
        ([(0, 0, 0), (0, 0, 1), (0, 0, 2)], 2),
        ([(0, 0, 0), (1, 1, 1), (2, 2, 2)], math.sqrt(12)),
        ([(3, 3, 3), (3, 3, 3)], 0),
        ([(3, 3, 3), (3, 3, 3), (3, 3, 3)], 0),
    ],
)
def test_the_shortest_edges(points, length: float) -> None:
    assert _length(points) == pytest.approx(length)


@pytest.mark.slow  # skan compiles
def test_skan_agrees_where_the_sum_of_steps_is_right() -> None:
    # skan sums the steps from voxel to voxel, which is exact along axes and diagonals only.
    skan = pytest.importorskip("skan")
    for stop in [(0, 0, 20), (0, 20, 20), (20, 20, 20)]:
        chain = straight((0, 0, 0), stop)
        image = np.zeros((21, 21, 21), dtype=bool)
        image[tuple(np.array(chain, dtype=int).T)] = True
        (oracle,) = skan.Skeleton(image, spacing=(5, 1, 2)).path_lengths()
        assert _length(chain, (5, 1, 2)) == pytest.approx(oracle)


@pytest.mark.slow  # skan compiles
@pytest.mark.parametrize("curve", [_helix(16, 40, 2, 0), _helix(16, 40, 2, 1), _helix(3, 90, 1, 2)])
def test_thinned_tubes(curve) -> None:
    # By scikit-image's thinning, and put in order by skan: nothing of this package but the length.
    skan, morphology = pytest.importorskip("skan"), pytest.importorskip("skimage.morphology")
    exact = curve(np.linspace(0, 1, 5000)) + (60 - curve(np.array([0.0, 1.0])).mean(axis=0))
    voxels = np.stack(np.indices((120, 120, 120)), axis=-1).reshape(-1, 3)
    near, _ = cKDTree(exact).query(voxels, distance_upper_bound=4)
    tube = np.isfinite(near).reshape(120, 120, 120)
    chain = skan.Skeleton(morphology.skeletonize(tube)).path_coordinates(0)
    # Thinning shortens the ends: the length of the curve is that between the points next to them.
    _, (begin, end) = cKDTree(exact).query(chain[[0, -1]])
    between = exact[min(begin, end) : max(begin, end) + 1]
    length = float(np.linalg.norm(np.diff(between, axis=0), axis=1).sum())
    assert len(chain) > 60
    assert _length([tuple(p) for p in chain]) == pytest.approx(length, rel=0.02)


def test_ends_stay_and_edges_are_smoothed_each_for_itself() -> None:
    stairs = [(0, i // 2, i) for i in range(31)]
    other = [(0, 15 + i, 30) for i in range(20)]
    graph = drawn([stairs, other])
    both = smoothed_points_um(graph, slice(0, 2))
    assert both[[0, 30, 31, 50]].tolist() == [[0, 0, 0], [0, 15, 30], [0, 15, 30], [0, 34, 30]]
    assert np.array_equal(smoothed_points_um(graph, slice(1, 2)), both[31:])
    # Off the straight line by less than the half voxel of the staircase.
    assert np.abs(both[:31, 1] - both[:31, 2] / 2 + 0.25).max() < 0.26


def test_edges_come_in_runs_of_limited_points() -> None:
    graph = drawn([straight((0, i, 0), (0, i, 9)) for i in range(7)])
    runs = [(run.start, run.stop) for run in edge_chunks(graph, 25)]
    assert runs == [(0, 2), (2, 4), (4, 6), (6, 7)]
    assert [(r.start, r.stop) for r in edge_chunks(graph, 1)] == [(i, i + 1) for i in range(7)]
    assert list(edge_chunks(drawn([]), 25)) == []


def test_runs_do_not_change_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    steps = rng.integers(-1, 2, size=(30, 40, 3))
    graph = drawn([[tuple(p) for p in np.cumsum(s, axis=0).tolist()] for s in steps])
    whole = edge_lengths_um(graph)
    monkeypatch.setattr("vpbsd.graph.measures.length.edge_chunks", lambda g: edge_chunks(g, 100))
    assert np.array_equal(edge_lengths_um(graph), whole)


def test_memory_mapped_points_are_read(tmp_path) -> None:
    graph = drawn([straight((0, 0, 0), (0, 0, 20))])
    np.save(tmp_path / "points.npy", graph.point_position_um)
    mapped = replace(graph, point_position_um=np.load(tmp_path / "points.npy", mmap_mode="r"))
    assert edge_lengths_um(mapped).tolist() == [20]


@pytest.mark.slow
def test_five_million_points_take_seconds() -> None:
    rng = np.random.default_rng(0)
    line = np.cumsum(rng.integers(-1, 2, size=(100, 3)), axis=0)
    few = drawn([[tuple(p) for p in line.tolist()]])
    edge_lengths_um(few)  # compiles
    graph = replace(
        few,
        edge_nodes=np.tile(few.edge_nodes, (50_000, 1)),
        edge_offsets=np.arange(0, 5_000_001, 100),
        point_position_um=np.tile(few.point_position_um, (50_000, 1)),
        point_radius_um=np.tile(few.point_radius_um, 50_000),
    )
    begin = time.process_time()
    edge_lengths_um(graph)
    assert time.process_time() - begin < 8
