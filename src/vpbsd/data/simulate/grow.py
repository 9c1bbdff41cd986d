"""Grow a vessel network: trees from the faces, joined by a capillary mesh with loops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from vpbsd.data.simulate.chains import join_chains
from vpbsd.data.simulate.mesh import Mesh, Tubes, capillary_mesh, curve_edges
from vpbsd.data.simulate.network import VesselKind, VesselNetwork
from vpbsd.data.simulate.trees import Tree, TreeSettings, grow_tree

__all__ = ["GrowSettings", "grow_network", "sample_growth"]

Floats = NDArray[np.float64]

_STEP_UM = 4.0  # between points of a capillary
_SMOOTH_POINTS = 2.0


@dataclass(frozen=True)
class GrowSettings:
    """Anatomy of one network.

    Attributes
    ----------
    spacing_um
        Mean distance between capillaries; infinite for none.
    capillary_radius_um
        Median radius of capillaries.
    radius_spread
        Standard deviation of the logarithm of their radii.
    tortuosity
        Height of a capillary's bends, as a share of its length.
    stretch
        (z, y, x) factors; capillaries run mainly along axes above 1.
    mean_degree
        Edges per node of the mesh before pieces are joined: lower makes longer capillaries.
    bulge
        Relative variation of the radius along a vessel.
    deep_radii_um
        Root radius of each tree that dives in from a face.
    flat_radii_um
        Root radius of each tree that runs level, as on the brain's surface.
    wander
        How much the trees bend.
    least_radius_um, greatest_radius_um
        All radii are kept within these.
    """

    spacing_um: float = 50.0
    capillary_radius_um: float = 3.0
    radius_spread: float = 0.15
    tortuosity: float = 0.08
    stretch: tuple[float, float, float] = (1.0, 1.0, 1.0)
    mean_degree: float = 2.7
    bulge: float = 0.12
    deep_radii_um: tuple[float, ...] = (9.0, 11.0)
    flat_radii_um: tuple[float, ...] = ()
    wander: float = 0.25
    least_radius_um: float = 2.0
    greatest_radius_um: float = 25.0


def sample_growth(rng: np.random.Generator, extent_um: Sequence[float]) -> GrowSettings:
    """Draw an anatomy: capillary beds, penetrating trees, wide surface vessels, sparse fields.

    Surface vessels are as wide as a share of the field, up to 60 µm in radius, and commoner in
    shallow fields, as those of a two-photon microscope; all others keep within 2 to 25 µm.
    """
    width = float(min(extent_um[1], extent_um[2]))
    shallow = extent_um[0] < 0.6 * width
    odds = [0.15, 0.1, 0.55, 0.12, 0.08] if shallow else [0.32, 0.18, 0.15, 0.27, 0.08]
    style = str(rng.choice(["cortex", "bed", "surface", "wide", "sparse"], p=odds))
    spacing = {
        "cortex": _log_uniform(rng, 20, 60),
        "bed": _log_uniform(rng, 18, 55),
        "surface": _log_uniform(rng, 25, 100),
        "wide": _log_uniform(rng, 24, 60),
        "sparse": _log_uniform(rng, 60, 110),
    }[style]
    thickness = rng.uniform(0.14, 0.27) if style == "wide" else rng.uniform(0.06, 0.17)
    deep = {
        "cortex": rng.integers(1, 4),
        "wide": rng.integers(0, 3),
        "surface": rng.integers(0, 2),
        "sparse": rng.integers(0, 3),
    }.get(style, 0)
    flat = int(rng.integers(1, 4)) if style == "surface" else int(rng.random() < 0.12)
    share = rng.uniform(0.1, 0.5) / np.sqrt(max(flat, 1))
    direction = rng.uniform(-0.5, 0.5, 3) * (rng.random() < 0.6)
    stretch_z, stretch_y, stretch_x = np.exp(direction - direction.mean())
    return GrowSettings(
        spacing_um=spacing,
        capillary_radius_um=float(np.clip(spacing * thickness, 2.0, 9.0)),
        radius_spread=float(rng.uniform(0.05, 0.35)),
        tortuosity=float(rng.uniform(0.03, 0.16)),
        stretch=(float(stretch_z), float(stretch_y), float(stretch_x)),
        mean_degree=float(rng.uniform(2.4, 3.2)),
        bulge=float(rng.uniform(0.03, 0.14)),
        deep_radii_um=tuple(_log_uniform(rng, 6, 22) for _ in range(deep)),
        flat_radii_um=tuple(
            float(np.clip(width * share * rng.uniform(0.6, 1.4) / 2, 8, 60)) for _ in range(flat)
        ),
        wander=float(rng.uniform(0.08, 0.35)),
        greatest_radius_um=60.0 if flat else 25.0,
    )


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def grow_network(
    extent_um: Sequence[float], rng: np.random.Generator, settings: GrowSettings
) -> VesselNetwork:
    """Grow a network in the box from 0 to ``extent_um`` (z, y, x), and a little beyond it.

    Every tree's tips are joined to the nearest free capillary nodes, so that with a capillary
    mesh the network is one connected part with loops.
    """
    extent = np.asarray(extent_um, float)
    mesh = Mesh(np.zeros((0, 3)), np.zeros((0, 2), np.int64))
    if np.isfinite(settings.spacing_um):
        mesh = capillary_mesh(
            extent,
            rng,
            spacing_um=settings.spacing_um,
            stretch=np.array(settings.stretch),
            mean_degree=settings.mean_degree,
        )
    trees = [_tree(extent, rng, settings, r, flat=False) for r in settings.deep_radii_um]
    trees += [_tree(extent, rng, settings, r, flat=True) for r in settings.flat_radii_um]
    return join_chains(_assemble(mesh, trees, rng, settings), _SMOOTH_POINTS)


def _tree(
    extent: Floats, rng: np.random.Generator, settings: GrowSettings, radius: float, *, flat: bool
) -> Tree:
    root = rng.uniform(0.15, 0.85, 3) * extent
    axis = int(rng.integers(1, 3)) if flat else int(rng.choice(3, p=[0.6, 0.2, 0.2]))
    far = bool(rng.random() < 0.5)
    root[axis] = extent[axis] + radius if far else -radius
    heading = rng.normal(0.0, 0.35, 3)
    heading[axis] = -1.0 if far else 1.0
    if flat:
        heading[0] *= 0.2
    growth = TreeSettings(
        root_radius_um=radius,
        tip_radius_um=1.3 * settings.capillary_radius_um,
        side_branches=float(rng.uniform(0.5, 0.95)),
        wander=settings.wander * (0.5 if flat else 1.0),
        lies_flat=flat,
        piece_radii=float(rng.uniform(3, 6) if flat else rng.uniform(4, 9)),
        bulge=settings.bulge / 2,
        most_edges=200,
    )
    return grow_tree(root, heading, extent, rng, growth)


def _assemble(
    mesh: Mesh, trees: list[Tree], rng: np.random.Generator, settings: GrowSettings
) -> VesselNetwork:
    capillaries = len(mesh.edges)
    nodes = [mesh.nodes_um]
    edges, curves, radii, kinds = [], [], [], []
    links: list[tuple[int, int]] = []
    link_radii: list[float] = []
    nearest = cKDTree(mesh.nodes_um) if capillaries else None
    first = len(mesh.nodes_um)
    for number, tree in enumerate(trees):
        nodes.append(np.array(tree.nodes_um))
        edges += [(a + first, b + first) for a, b in tree.edges]
        curves += tree.curves_um
        radii += tree.radii_um
        kinds += [VesselKind.ARTERIOLE if number % 2 == 0 else VesselKind.VENULE] * len(tree.edges)
        if nearest is not None and tree.edges:
            tips = tree.tips or [len(tree.nodes_um) - 1]
            _, found = nearest.query(np.array(tree.nodes_um)[tips])
            links += [(t + first, int(f)) for t, f in zip(tips, found, strict=True)]
            thin = {b: r[-1] for (_, b), r in zip(tree.edges, tree.radii_um, strict=True)}
            link_radii += [float(thin.get(t, settings.capillary_radius_um)) for t in tips]
        first += len(tree.nodes_um)
    all_nodes = np.concatenate(nodes)
    thin_edges = np.concatenate([mesh.edges, np.array(links, np.int64).reshape(-1, 2)])
    tubes = _capillary_tubes(
        Mesh(all_nodes, thin_edges), np.array(link_radii), len(mesh.edges), rng, settings
    )
    pieces = (
        np.split(np.arange(len(tubes.points_um)), tubes.offsets[1:-1]) if len(thin_edges) else []
    )
    limits = (settings.least_radius_um, settings.greatest_radius_um)
    return VesselNetwork.from_curves(
        all_nodes,
        np.concatenate([np.array(edges, np.int64).reshape(-1, 2), thin_edges]),
        curves + [tubes.points_um[p] for p in pieces],
        [np.clip(r, *limits) for r in [*radii, *(tubes.radii_um[p] for p in pieces)]],
        kinds + [VesselKind.CAPILLARY] * len(thin_edges),
    )


def _capillary_tubes(
    mesh: Mesh,
    link_radii: Floats,
    linked_from: int,
    rng: np.random.Generator,
    settings: GrowSettings,
) -> Tubes:
    middle = settings.capillary_radius_um * np.exp(
        rng.normal(0.0, settings.radius_spread, len(mesh.edges))
    )
    total = np.bincount(mesh.edges.ravel(), np.repeat(middle, 2), minlength=len(mesh.nodes_um))
    degree = np.bincount(mesh.edges.ravel(), minlength=len(mesh.nodes_um))
    ends = (total / np.maximum(degree, 1))[mesh.edges]
    ends[linked_from:, 0] = link_radii
    return curve_edges(
        mesh,
        ends,
        middle,
        rng,
        tortuosity=settings.tortuosity,
        bulge=settings.bulge,
        step_um=_STEP_UM,
    )
