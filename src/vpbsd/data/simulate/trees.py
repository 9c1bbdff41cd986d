"""Arteriole and venule trees that enter through a face and branch down to capillaries.

At a branching the radii keep Murray's law, r0³ = r1³ + r2³, and the angles are those of least
work (Murray, J. Gen. Physiol. 9, 1926):

    cos a1 = (r0⁴ + r1⁴ - r2⁴) / (2 r0² r1²),   and a2 with 1 and 2 swapped.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["Tree", "TreeSettings", "grow_tree"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TreeSettings:
    """How a tree grows.

    Attributes
    ----------
    root_radius_um
        Radius where it enters.
    tip_radius_um
        Branches thinner than this end, to be joined to capillaries.
    side_branches
        Share of branchings that shed a thin side branch in place of splitting evenly.
    wander
        Change of direction per square root of radius travelled, in radians.
    lies_flat
        Keeps to its depth, as vessels on the brain's surface do.
    piece_radii
        Mean distance between branchings, in radii.
    bulge
        Relative variation of the radius along a branch.
    most_edges
        The tree stops growing after this many edges.
    """

    root_radius_um: float
    tip_radius_um: float
    side_branches: float = 0.5
    wander: float = 0.25
    lies_flat: bool = False
    piece_radii: float = 7.0
    bulge: float = 0.08
    most_edges: int = 300


@dataclass
class Tree:
    """Nodes (3,) and edges with their curves (P, 3) and radii (P,), and which nodes are tips."""

    nodes_um: list[Floats] = field(default_factory=list)
    edges: list[tuple[int, int]] = field(default_factory=list)
    curves_um: list[Floats] = field(default_factory=list)
    radii_um: list[Floats] = field(default_factory=list)
    tips: list[int] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class _Bud:
    node: int
    direction: Floats
    radius_um: float
    lies_flat: bool


def grow_tree(
    root_um: Floats,
    direction: Floats,
    extent_um: Floats,
    rng: np.random.Generator,
    settings: TreeSettings,
) -> Tree:
    """Grow a tree from ``root_um`` until its branches are thin or outside 0..``extent_um``."""
    tree = Tree(nodes_um=[np.asarray(root_um, float)])
    buds = [_Bud(0, _unit(direction), settings.root_radius_um, settings.lies_flat)]
    while buds and len(tree.edges) < settings.most_edges:
        # Thick branches first, so that a tree cut short by most_edges lacks only twigs.
        buds.sort(key=lambda bud: bud.radius_um)
        bud = buds.pop()
        heading = _grow_edge(tree, bud, rng, settings)
        tip = len(tree.nodes_um) - 1
        outside = 2 * bud.radius_um
        if ((tree.nodes_um[tip] < -outside) | (tree.nodes_um[tip] > extent_um + outside)).any():
            continue
        if bud.radius_um <= settings.tip_radius_um:
            tree.tips.append(tip)
            continue
        buds.extend(_branch(tip, heading, bud, rng, settings))
    tree.tips.extend(bud.node for bud in buds)
    return tree


def _grow_edge(tree: Tree, bud: _Bud, rng: np.random.Generator, settings: TreeSettings) -> Floats:
    """Append one edge that starts at the bud; return the direction at its end."""
    radius = bud.radius_um
    length = max(15.0, radius * settings.piece_radii * rng.uniform(0.5, 1.5))
    length = min(length, 150.0 + 2 * radius)
    steps = max(3, round(length / float(np.clip(0.5 * radius, 3.0, 12.0))))
    turn = settings.wander * np.sqrt(length / steps / radius)
    kicks = np.cumsum(rng.normal(0.0, turn, (steps, 3)), axis=0)
    if bud.lies_flat:
        kicks[:, 0] *= 0.3
    headings = _unit(bud.direction + kicks)
    start = tree.nodes_um[bud.node]
    curve = np.concatenate([start[None], start + np.cumsum(headings * (length / steps), axis=0)])
    t = np.linspace(0.0, 1.0, steps + 1)
    wobble = sum(rng.normal(0.0, settings.bulge / k) * np.sin(np.pi * k * t) for k in (1, 2, 3))
    tree.nodes_um.append(curve[-1])
    tree.edges.append((bud.node, len(tree.nodes_um) - 1))
    tree.curves_um.append(curve)
    tree.radii_um.append(radius * np.exp(wobble))
    heading: Floats = headings[-1]
    return heading


def _branch(
    node: int, heading: Floats, bud: _Bud, rng: np.random.Generator, settings: TreeSettings
) -> list[_Bud]:
    r0 = bud.radius_um
    side = rng.random() < settings.side_branches
    share = rng.uniform(0.88, 0.985) if side else rng.uniform(0.5, 0.85)
    r1, r2 = r0 * share ** (1 / 3), r0 * (1 - share) ** (1 / 3)
    r2 = max(r2, 0.9 * settings.tip_radius_um)
    across = np.cross(heading, rng.normal(size=3))
    if bud.lies_flat:
        across = np.cross(heading, np.array([rng.choice((-1.0, 1.0)), 0.0, 0.0]))
    across = _unit(across)
    # Side branches of flat vessels dive into the tissue.
    dives = bud.lies_flat and r2 < 0.6 * r0 and rng.random() < 0.5
    second = _turned(heading, across, -_murray_angle(r0, r2, r1))
    if dives:
        second = _unit(np.array([1.0, 0.0, 0.0]) + 0.5 * second)
    first = _turned(heading, across, _murray_angle(r0, r1, r2))
    return [
        _Bud(node, first, r1, bud.lies_flat),
        _Bud(node, second, r2, bud.lies_flat and not dives),
    ]


def _murray_angle(r0: float, own: float, other: float) -> float:
    cosine = (r0**4 + own**4 - other**4) / (2 * r0**2 * own**2)
    return float(np.arccos(np.clip(cosine, 0.1, 1.0)))


def _turned(heading: Floats, across: Floats, angle: float) -> Floats:
    return _unit(np.cos(angle) * heading + np.sin(angle) * across)


def _unit(vector: Floats) -> Floats:
    length = np.linalg.norm(vector, axis=-1, keepdims=True)
    unit: Floats = vector / np.maximum(length, 1e-12)
    return unit
