from __future__ import annotations

import numpy as np
import pytest

from vpbsd.data.simulate.grow import GrowSettings, grow_network, sample_growth
from vpbsd.data.simulate.mesh import capillary_mesh
from vpbsd.data.simulate.network import VesselKind, VesselNetwork
from vpbsd.data.simulate.trees import TreeSettings, grow_tree

EXTENT = (120.0, 160.0, 160.0)


def grown(seed: int, **settings: object) -> VesselNetwork:
    return grow_network(EXTENT, np.random.default_rng(seed), GrowSettings(**settings))  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(4))
def test_a_network_is_one_part_with_loops_and_radii_in_range(seed: int) -> None:
    network = grown(seed)
    assert network.components == 1
    assert network.loops > 0
    assert network.radii_um.min() >= 2
    assert network.radii_um.max() <= 25
    assert set(network.kinds.tolist()) == set(VesselKind)


def test_curves_start_and_end_at_their_nodes() -> None:
    network = grown(0)
    first, last = network.offsets[:-1], network.offsets[1:] - 1
    np.testing.assert_allclose(network.points_um[first], network.nodes_um[network.edges[:, 0]])
    np.testing.assert_allclose(
        network.points_um[last], network.nodes_um[network.edges[:, 1]], atol=1e-9
    )


def test_no_node_merely_joins_two_capillaries() -> None:
    network = grown(1)
    thin = network.kinds == VesselKind.CAPILLARY
    thin_ends = np.bincount(network.edges[thin].ravel(), minlength=len(network.nodes_um))
    own_loop = np.bincount(
        network.edges[network.edges[:, 0] == network.edges[:, 1], 0],
        minlength=len(network.nodes_um),
    )
    assert not ((network.degrees == 2) & (thin_ends == 2) & (own_loop == 0)).any()


def test_no_capillary_ends_blindly_inside_the_box() -> None:
    network = grown(2, deep_radii_um=())
    tips = network.nodes_um[network.degrees == 1]
    assert ((tips < 0) | (tips > EXTENT)).any(axis=1).all()


def test_radius_varies_smoothly() -> None:
    network = grown(3)
    start = network.segment_start
    change = np.log(network.radii_um[start + 1] / network.radii_um[start])
    assert 0 < np.abs(change).max() < 0.6
    assert np.quantile(np.abs(change), 0.95) < 0.2


@pytest.mark.parametrize(("spacing", "density"), [(30.0, 1 / 900), (60.0, 1 / 3600)])
def test_spacing_sets_the_length_per_volume(spacing: float, density: float) -> None:
    extent = (300.0, 300.0, 300.0)
    network = grow_network(
        extent,
        np.random.default_rng(5),
        GrowSettings(spacing_um=spacing, deep_radii_um=(), tortuosity=0.02),
    )
    start = network.segment_start
    a, b = network.points_um[start], network.points_um[start + 1]
    inside = ((a >= 0) & (a <= extent)).all(axis=1)
    length = np.linalg.norm(b - a, axis=1)[inside].sum()
    assert 0.65 * density < length / 300**3 < 1.45 * density


def test_stretch_turns_capillaries_along_its_axis() -> None:
    share = []
    for stretch in ((1.0, 1.0, 1.0), (2.0, 0.7, 0.7)):
        mesh = capillary_mesh(
            np.array([200.0, 200.0, 200.0]),
            np.random.default_rng(0),
            spacing_um=35.0,
            stretch=np.array(stretch),
        )
        along = np.abs(np.diff(mesh.nodes_um[mesh.edges], axis=1)[:, 0])
        share.append(along[:, 0].sum() / along.sum())
    assert share[0] == pytest.approx(1 / 3, abs=0.06)
    assert share[1] > 0.5


def test_a_tree_keeps_murrays_law_where_it_branches() -> None:
    tree = grow_tree(
        np.array([0.0, 200.0, 200.0]),
        np.array([1.0, 0.0, 0.0]),
        np.full(3, 400.0),
        np.random.default_rng(1),
        TreeSettings(root_radius_um=16.0, tip_radius_um=3.0, bulge=0.0),
    )
    radius_in = {b: r[0] for (_, b), r in zip(tree.edges, tree.radii_um, strict=True)}
    out: dict[int, list[float]] = {}
    for (a, _), r in zip(tree.edges, tree.radii_um, strict=True):
        out.setdefault(a, []).append(float(r[0]))
    checked = 0
    for node, radii in out.items():
        if node in radius_in and len(radii) == 2 and min(radii) > 2.71:  # not lifted to the tip
            assert sum(r**3 for r in radii) == pytest.approx(radius_in[node] ** 3)
            checked += 1
    assert checked >= 5


def test_the_same_seed_grows_the_same_network() -> None:
    one, two, other = grown(7), grown(7), grown(8)
    np.testing.assert_array_equal(one.points_um, two.points_um)
    assert one.points_um.shape != other.points_um.shape


@pytest.mark.parametrize("extent", [(160.0, 220.0, 220.0), (80.0, 190.0, 190.0), (5.0, 9.0, 9.0)])
def test_every_sampled_anatomy_grows(extent: tuple[float, float, float]) -> None:
    lengths = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        network = grow_network(extent, rng, sample_growth(rng, extent))
        assert np.isfinite(network.points_um).all()
        assert network.radii_um.min(initial=2.0) >= 2
        assert network.radii_um.max(initial=0.0) <= 60
        lengths.append(network.length_um)
    assert max(lengths) > 1.5 * min(lengths)


def test_a_network_without_a_mesh_has_only_trees() -> None:
    network = grown(0, spacing_um=float("inf"), flat_radii_um=(12.0,), deep_radii_um=())
    assert set(network.kinds.tolist()) == {VesselKind.ARTERIOLE}
    assert network.loops == 0
