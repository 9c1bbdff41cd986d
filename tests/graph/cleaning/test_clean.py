"""Cleaning as a whole: order, defaults, records; and its smaller steps."""

from __future__ import annotations

import json

import numpy as np
import pytest
from drawn_graphs import drawn, same, shuffled, straight

from vpbsd.errors import ConfigError
from vpbsd.graph import VesselGraph
from vpbsd.graph.cleaning.chains import join_chains, remove_duplicates
from vpbsd.graph.cleaning.clean import CleanOptions, clean
from vpbsd.graph.cleaning.components import remove_small_components


def _mess() -> VesselGraph:
    """A trunk in two parts with a gap, a spur, a copy, an idle node, a crumb and a point."""
    trunk = [straight((0, 9, 0), (0, 9, 10)), straight((0, 9, 10), (0, 9, 20))]
    return drawn(
        [
            *trunk,
            trunk[1],
            straight((0, 9, 20), (0, 9, 30)),
            straight((0, 9, 20), (0, 12, 20)),
            straight((0, 9, 34), (0, 9, 50)),
            straight((40, 0, 0), (40, 0, 3)),
        ],
        4.0,
        alone=[(50, 50, 50)],
    )


def test_defaults_take_copies_and_spurs_and_nothing_else() -> None:
    cleaned, steps = clean(_mess())
    assert [s.step for s in steps] == ["duplicates", "chains", "spurs"]
    wanted = drawn(
        [
            straight((0, 9, 0), (0, 9, 30)),
            straight((0, 9, 34), (0, 9, 50)),
            straight((40, 0, 0), (40, 0, 3)),
        ],
        4.0,
        alone=[(50, 50, 50)],
    )
    assert same(cleaned, wanted)
    assert [s.edges_removed for s in steps] == [1, 0, 1]
    assert [s.length_removed_um for s in steps] == pytest.approx([10, 0, 3])
    assert [s.nodes_dissolved for s in steps] == [0, 1, 1]


def test_every_step_in_its_order() -> None:
    options = CleanOptions(gap_longest_um=5, component_shortest_um=10, isolated_points=True)
    cleaned, steps = clean(_mess(), options)
    assert [s.step for s in steps] == ["duplicates", "chains", "spurs", "gaps", "components"]
    assert same(cleaned, drawn([straight((0, 9, 0), (0, 9, 50))], 4.0))
    assert steps[3].length_added_um == 4
    assert steps[4].details == ({"components": 1, "isolated_points": 1},)
    assert (steps[4].edges_removed, steps[4].nodes_removed) == (1, 3)
    assert steps[4].length_removed_um == pytest.approx(3)


def test_records_are_json() -> None:
    options = CleanOptions(gap_longest_um=5, component_shortest_um=10, isolated_points=True)
    _, steps = clean(_mess(), options)
    noted = json.loads(json.dumps([s.as_json() for s in steps]))
    assert noted[2]["step"] == "spurs"
    assert noted[2]["settings"] == {"factor": 1.5, "extra_um": 0.0}
    assert noted[3]["details"][0]["to_um"] == [0, 9, 34]


def test_the_order_of_edges_does_not_matter() -> None:
    options = CleanOptions(gap_longest_um=5, component_shortest_um=10)
    cleaned, _ = clean(_mess(), options)
    for seed in range(5):
        assert same(clean(shuffled(_mess(), seed), options)[0], cleaned)


def test_cleaning_twice_changes_nothing() -> None:
    cleaned, _ = clean(_mess())
    again, steps = clean(cleaned)
    assert same(again, cleaned)
    assert not any(s.changed for s in steps)


def test_everything_off_keeps_dead_ends() -> None:
    cleaned, steps = clean(_mess(), CleanOptions(spur_factor=0))
    assert [s.step for s in steps] == ["duplicates", "chains"]
    assert cleaned.edges == 5


def test_nothing_can_be_cleaned() -> None:
    cleaned, steps = clean(drawn([]), CleanOptions(gap_longest_um=3, component_shortest_um=1))
    assert (cleaned.nodes, cleaned.edges) == (0, 0)
    assert not any(s.changed for s in steps)


# --------------------------------------------------------------------------------- smaller steps


def test_a_copy_turned_round_is_a_copy() -> None:
    line = [(0, 0, 0), (0, 1, 1), (0, 0, 2)]
    kept, step = remove_duplicates(drawn([line, line[::-1], line]))
    assert same(kept, drawn([line]))
    assert step.details == ({"copies": 2, "without_length": 0},)


def test_two_vessels_between_the_same_nodes_are_no_copies() -> None:
    over, under = [(0, 0, 0), (0, 1, 1), (0, 0, 2)], [(0, 0, 0), (0, -1, 1), (0, 0, 2)]
    ring = [(0, 0, 0), (0, 1, 1), (0, 2, 0), (0, 0, 0)]
    graph = drawn([under, over, ring])
    assert not remove_duplicates(graph)[1].changed


def test_an_edge_of_no_length_goes_and_its_node_stays_if_others_meet_there() -> None:
    point = [(0, 0, 0), (0, 0, 0)]
    kept, step = remove_duplicates(drawn([point, straight((0, 0, 0), (0, 0, 5))]))
    assert same(kept, drawn([straight((0, 0, 0), (0, 0, 5))]))
    assert step.details == ({"copies": 0, "without_length": 1},)


def test_a_chain_of_edges_becomes_one_in_the_right_sense() -> None:
    # The second part runs against the others.
    parts = [
        straight((0, 0, 0), (0, 0, 4)),
        straight((0, 6, 4), (0, 0, 4)),
        straight((0, 6, 4), (9, 6, 4)),
    ]
    joined, step = join_chains(drawn(parts, [[1] * 5, [3] * 7, [5] * 10]))
    assert joined.edge_nodes.tolist() == [[0, 1]]
    path = [*parts[0], *parts[1][::-1][1:], *parts[2][1:]]
    assert [tuple(p) for p in joined.point_position_um.tolist()] == path
    assert joined.point_radius_um.tolist() == [1] * 5 + [3] * 6 + [5] * 9
    assert step.nodes_dissolved == 2


def test_a_ring_of_three_parts_keeps_its_first_node() -> None:
    corners = [(0, 0, 0), (0, 0, 4), (0, 4, 4)]
    parts = [straight(corners[i - 1], corners[i]) for i in (1, 2)]
    parts.append(straight(corners[2], corners[0]))
    joined, step = join_chains(drawn(parts))
    assert joined.node_position_um.tolist() == [[0, 0, 0]]
    assert joined.edge_nodes.tolist() == [[0, 0]]
    assert step.nodes_dissolved == 2
    # Twelve steps, and the first point again; the smaller neighbour of the node comes first.
    assert joined.point_position_um[:2].tolist() == [[0, 0, 0], [0, 0, 1]]
    assert len(joined.point_radius_um) == 13


def test_components_are_judged_by_all_their_edges() -> None:
    y = [straight((5, 5, 5), p) for p in ((5, 5, 9), (5, 9, 5), (5, 1, 5))]
    line = straight((20, 0, 0), (20, 0, 11))
    graph = drawn([*y, line], alone=[(0, 0, 0)])
    kept, step = remove_small_components(graph, 12)
    assert kept.edges == 3
    assert kept.nodes == 5  # the isolated point stays
    assert step.length_removed_um == pytest.approx(11)
    assert remove_small_components(graph, 12.1)[0].edges == 0
    assert remove_small_components(graph)[0] is graph


@pytest.mark.parametrize("length", [-1.0, np.inf, np.nan])
def test_a_component_length_that_is_none_is_refused(length: float) -> None:
    with pytest.raises(ConfigError, match="from 0 upwards"):
        remove_small_components(drawn([]), length)
