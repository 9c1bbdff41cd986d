"""Simple points against their definition, worked out with scipy's labelling."""

import numpy as np
from scipy import ndimage

from vpbsd.graph.skeleton.simple_points import is_simple

FACES = ndimage.generate_binary_structure(3, 1)
FACES_AND_EDGES = ndimage.generate_binary_structure(3, 2)
ALL = np.ones((3, 3, 3), bool)
BITS = 1 << np.arange(27)


def simple_by_definition(cube):
    """One 26-piece of vessel in N26, one 6-piece of background in N18 that touches by a face."""
    vessel = cube.copy()
    vessel[1, 1, 1] = False
    _, vessel_pieces = ndimage.label(vessel, ALL)
    background = ~cube & FACES_AND_EDGES
    background[1, 1, 1] = False
    labels, _ = ndimage.label(background, FACES)
    touching = set(labels[FACES & ~np.pad([[[True]]], 1)].tolist()) - {0}
    return vessel_pieces == 1 and len(touching) == 1


def test_agrees_with_the_definition_on_random_neighbourhoods():
    rng = np.random.default_rng(0)
    answers = []
    for share in np.repeat([0.1, 0.3, 0.5, 0.7, 0.9], 800):
        cube = rng.random((3, 3, 3)) < share
        expected = simple_by_definition(cube)
        assert is_simple(int(BITS @ cube.ravel())) == expected, cube
        answers.append(expected)
    assert 500 < sum(answers) < 3500


def test_known_neighbourhoods():
    empty = np.zeros((3, 3, 3), bool)
    line = empty.copy()
    line[1, 1, :] = True
    end = empty.copy()
    end[1, 1, :2] = True
    wall = empty.copy()
    wall[:2] = True
    plate = empty.copy()
    plate[1] = True
    full = ~empty
    cases = [(empty, False), (line, False), (end, True), (wall, True), (plate, False)]
    for cube, expected in [*cases, (full, False)]:
        assert is_simple(int(BITS @ cube.ravel())) is expected
