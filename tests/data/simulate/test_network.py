from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vpbsd.data.simulate import VesselKind, VesselNetwork
from vpbsd.data.simulate.chains import join_chains
from vpbsd.data.simulate.crop import crop_network
from vpbsd.errors import DataError


def square_with_tail() -> VesselNetwork:
    """A square of 10 µm sides, one side bent to 14 µm, and a tail of 5 µm; a lone 3 µm vessel."""
    nodes = [(0, 0, 0), (0, 0, 10), (0, 10, 10), (0, 10, 0), (5, 0, 0), (50, 0, 0), (50, 3, 0)]
    edges = [(0, 1), (1, 2), (2, 3), (3, 0), (0, 4), (5, 6)]
    curves = [
        [(0, 0, 0), (0, 0, 10)],
        [(0, 0, 10), (0, 10, 10)],
        [(0, 10, 10), (0, 12, 10), (0, 12, 0), (0, 10, 0)],
        [(0, 10, 0), (0, 0, 0)],
        [(0, 0, 0), (5, 0, 0)],
        [(50, 0, 0), (50, 3, 0)],
    ]
    kinds = [VesselKind.CAPILLARY] * 5 + [VesselKind.VENULE]
    return VesselNetwork.from_curves(nodes, edges, curves, [2, 2, [2, 3, 3, 4], 2, 2, 6], kinds)


def test_lengths_loops_and_parts_of_a_drawn_network() -> None:
    network = square_with_tail()
    assert network.edge_lengths_um.tolist() == [10, 10, 14, 10, 5, 3]
    assert network.length_um == 52
    assert network.components == 2
    assert network.loops == 1
    assert network.degrees.tolist() == [3, 2, 2, 2, 1, 1, 1]


def test_tables_state_length_radius_and_kind() -> None:
    nodes, edges = square_with_tail().to_tables()
    assert nodes["y_um"].tolist() == [0, 0, 10, 10, 0, 0, 3]
    assert edges["length_um"].tolist() == [10, 10, 14, 10, 5, 3]
    assert edges["mean_radius_um"].tolist() == [2, 2, 3, 2, 2, 6]
    assert edges["kind"].tolist() == ["capillary"] * 5 + ["venule"]


def test_save_and_load_keep_everything(tmp_path: Path) -> None:
    network = square_with_tail()
    network.save(tmp_path / "n.npz")
    loaded = VesselNetwork.load(tmp_path / "n.npz")
    for name in VesselNetwork.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(loaded, name), getattr(network, name))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"not an archive at all"])
def test_a_broken_file_is_one_clear_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "n.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"n\.npz is not a readable vessel network"):
        VesselNetwork.load(tmp_path / "n.npz")


def test_a_missing_file_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.npz"):
        VesselNetwork.load(tmp_path / "absent.npz")


def test_an_edge_to_no_node_is_refused() -> None:
    with pytest.raises(DataError, match=r"outside 0\.\.1"):
        VesselNetwork.from_curves(np.zeros((2, 3)), [(0, 2)], [np.zeros((2, 3))], [1.0])


def test_a_curve_of_one_point_is_refused() -> None:
    with pytest.raises(DataError, match="at least 2 points"):
        VesselNetwork.from_curves(np.zeros((2, 3)), [(0, 1)], [np.zeros((1, 3))], [1.0])


def test_mapped_swaps_then_flips_then_shifts() -> None:
    moved = square_with_tail().mapped((1.0, -1.0, 1.0), (0.0, 100.0, 1.0), swap_yx=True)
    assert moved.nodes_um[2].tolist() == [0, 90, 11]
    assert moved.nodes_um[3].tolist() == [0, 100, 11]
    assert moved.length_um == 52


def test_crop_cuts_at_the_face_and_interpolates_the_radius() -> None:
    network = VesselNetwork.from_curves(
        [(0, 0, 0), (0, 0, 20)], [(0, 1)], [[(0, 0, 0), (0, 0, 20)]], [[2.0, 4.0]]
    )
    cut = crop_network(network, (-1, -1, 5), (1, 1, 15))
    assert cut.points_um.tolist() == [[0, 0, 5], [0, 0, 15]]
    assert cut.radii_um.tolist() == [2.5, 3.5]
    assert cut.degrees.tolist() == [1, 1]


def test_crop_splits_a_vessel_that_leaves_and_comes_back() -> None:
    bow = [(0, 0, 0), (0, 0, 10), (0, 30, 10), (0, 30, 20), (0, 0, 20), (0, 0, 30)]
    network = VesselNetwork.from_curves([bow[0], bow[-1]], [(0, 1)], [bow], [2.0])
    cut = crop_network(network, (-1, -1, -1), (1, 10, 40))
    assert cut.edge_lengths_um.tolist() == [20, 20]
    assert cut.components == 2


def test_crop_keeps_forks_inside_and_drops_what_is_outside() -> None:
    cut = crop_network(square_with_tail(), (-1, -1, -1), (3, 20, 20))
    assert cut.loops == 1
    assert cut.components == 1
    assert cut.length_um == 47  # the tail loses 2 µm, the lone vessel is gone
    assert sorted(cut.degrees.tolist()) == [1, 2, 2, 2, 3]


def test_crop_to_an_empty_place_is_an_empty_network() -> None:
    cut = crop_network(square_with_tail(), (20, 20, 20), (30, 30, 30))
    assert (len(cut.nodes_um), len(cut.edges), cut.length_um, cut.loops) == (0, 0, 0.0, 0)


def test_joining_chains_keeps_forks_loops_and_ends() -> None:
    joined = join_chains(square_with_tail(), smooth_points=0.01)
    assert (joined.loops, joined.components) == (1, 2)
    assert sorted(joined.edge_lengths_um.tolist()) == pytest.approx([3, 5, 44])
    assert sorted(joined.degrees.tolist()) == [1, 1, 1, 3]
    assert joined.kinds.tolist().count(VesselKind.VENULE) == 1
    for edge, (a, b) in enumerate(joined.edges):
        np.testing.assert_array_equal(joined.curve_um(edge)[0], joined.nodes_um[a])
        np.testing.assert_array_equal(joined.curve_um(edge)[-1], joined.nodes_um[b])


def test_joining_keeps_a_ring_without_forks() -> None:
    corners = [(0, 0, 0), (0, 0, 9), (0, 9, 0)]
    edges = [(0, 1), (2, 1), (0, 2)]  # one of them backwards
    ring = VesselNetwork.from_curves(
        corners, edges, [[corners[a], corners[b]] for a, b in edges], [2, 2, 2]
    )
    joined = join_chains(ring, smooth_points=0.01)
    assert (joined.loops, len(joined.edges)) == (1, 1)
    assert joined.length_um == pytest.approx(18 + np.sqrt(162))
