import json
import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from alflow.core.structures import Structure
from alflow.report import svg
from alflow.report.readings import most_wrong
from alflow.report.thumbnails import (
    MAX_ATOMS,
    colours,
    legend,
    model,
    still,
    thumbnail,
)
from alflow.store.chosen import ForcePair

WATER = np.array([[0, 0, 0.1], [0, 0.76, -0.47], [0, -0.76, -0.47]])
OHH = np.array([8, 1, 1], np.uint8)


def lengths(points):
    return np.linalg.norm(points[:, None] - points[None], axis=2)


def test_a_molecule_keeps_its_shape_and_its_bonds():
    seen = thumbnail(Structure(OHH, WATER + 7.0))
    assert lengths(seen.positions) == pytest.approx(lengths(WATER), abs=0.02)
    assert seen.bonds.tolist() == [[0, 1], [0, 2]]
    assert len(seen.edges) == 0
    middle = (seen.positions.min(axis=0) + seen.positions.max(axis=0)) / 2
    assert np.abs(middle).max() < 1.0


def test_atoms_are_wrapped_along_periodic_vectors_alone():
    cell = np.diag([4.0, 5.0, 20.0])
    pbc = np.array([True, True, False])
    seen = thumbnail(
        Structure(
            np.array([13, 13], np.uint8), np.array([[9.0, -1, 3], [1, 4, 33]]), cell, pbc
        )
    )
    # Both are at (1, 4) in the cell, and thirty apart along the vector that does not repeat.
    assert lengths(seen.positions)[0, 1] == pytest.approx(30.0, abs=0.02)
    assert seen.edges.shape == (12, 2, 3)
    ends = np.linalg.norm(seen.edges[:, 1] - seen.edges[:, 0], axis=1)
    assert sorted(ends) == pytest.approx([4.0] * 4 + [5.0] * 4 + [20.0] * 4, abs=0.02)
    # The cell is drawn about the middle of the picture.
    assert seen.edges.mean(axis=(0, 1)) == pytest.approx(np.zeros(3), abs=0.02)


def test_metals_are_drawn_without_bonds():
    close = np.array([[0.0, 0, 0], [2.5, 0, 0]])
    assert len(thumbnail(Structure(np.array([13, 13], np.uint8), close)).bonds) == 0
    hydride = Structure(np.array([13, 1], np.uint8), close * 0.64)
    assert thumbnail(hydride).bonds.tolist() == [[0, 1]]


def test_a_structure_with_too_many_atoms_is_not_drawn():
    n = MAX_ATOMS + 1
    positions = np.arange(3.0 * n).reshape(n, 3)
    assert thumbnail(Structure(np.full(n, 13, np.uint8), positions)) is None


def test_colours_are_told_apart_and_named():
    numbers = np.array([29, 13, 8, 1, 29], np.uint8)
    assert list(colours(numbers)) == [1, 8, 13, 29]
    assert len(set(colours(numbers).values())) == 4
    assert colours(numbers)[8] == svg.VERMILION
    assert [symbol for symbol, _ in legend(numbers)] == ["H", "O", "Al", "Cu"]


def test_the_viewer_gets_whole_numbers():
    value = json.loads(model(thumbnail(Structure(OHH, WATER), ringed=2)))
    assert value["kinds"] == [1, 0, 0]
    assert [colour for colour, _ in value["elements"]] == ["#D5DAE1", svg.VERMILION]
    assert np.array(value["atoms"]).shape == (9,)
    points = np.array(value["atoms"]).reshape(3, 3) / 100
    assert lengths(points) == pytest.approx(lengths(WATER), abs=0.02)
    assert value["bonds"] == [0, 1, 0, 2]
    assert value["ring"] == 2
    assert value["box"] == []
    largest = max(radius for _, radius in value["elements"])
    assert value["reach"] >= 100 * np.linalg.norm(points, axis=1).max() + largest - 1


def test_the_still_picture_has_every_atom_and_the_ring():
    cell = np.diag([6.0, 6.0, 6.0])
    seen = thumbnail(Structure(OHH, WATER + 3.0, cell, np.ones(3, bool)), ringed=0)
    picture = ET.fromstring(still(seen, 'a "picture" & more'))
    assert picture.get("aria-label") == 'a "picture" & more'
    assert len(picture.findall("circle")) == 2
    # An atom is drawn twice, its edge first; the box is one path of twelve lines.
    paths = [path.get("d") for path in picture.findall("path")]
    assert sum(path.count("h0") for path in paths) == 2 * len(OHH)
    assert paths[0].count("L") == 12
    shown = [int(x) for path in paths for x in re.findall(r"-?\d+", path)]
    assert max(map(abs, shown)) <= 200
    assert "<circle" not in still(thumbnail(Structure(OHH, WATER)), "")


def test_the_ring_is_around_the_largest_error_of_a_force():
    labelled = np.zeros((3, 3))
    predicted = np.array([[0.1, 0, 0], [0, -0.3, 0.1], [0.2, 0, 0]])
    assert most_wrong(ForcePair(labelled, predicted)) == 1
    assert most_wrong(ForcePair(labelled, np.full((3, 3), np.nan))) is None
    assert most_wrong(None) is None
