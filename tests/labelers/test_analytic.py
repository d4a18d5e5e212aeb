"""Labels from the Gupta potential."""

import numpy as np
import pytest

from alflow import registry
from alflow.core.errors import SettingsError
from alflow.core.labels import Failure, FailureKind, Label
from alflow.core.structures import Structure
from alflow.core.units import GPA_PER_EV_PER_ANGSTROM3
from alflow.labelers.analytic import AnalyticSettings

FCC = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])


def crystal(a0_A: float = 4.05, number: int = 13) -> Structure:
    cell = a0_A * np.eye(3)
    return Structure(np.full(4, number, np.uint8), FCC @ cell, cell, np.ones(3, bool))


@pytest.fixture(scope="module")
def labeler():
    return AnalyticSettings().create()


def test_entry_point_finds_it():
    assert registry.find("labelers", "analytic") is AnalyticSettings


def test_crystal_has_its_cohesive_energy_and_no_stress(labeler):
    label = labeler.label(crystal())
    assert isinstance(label, Label)
    assert label.energy / 4 == pytest.approx(-3.339, abs=1e-3)
    assert label.forces is not None
    assert np.abs(label.forces).max() < 1e-8
    assert label.stress is not None
    assert np.abs(label.stress).max() * GPA_PER_EV_PER_ANGSTROM3 < 0.5


def test_stretched_crystal_is_under_tension(labeler):
    label = labeler.label(crystal(4.15))
    assert isinstance(label, Label)
    assert label.stress is not None
    assert (label.stress[:3] > 0).all()


def test_same_structure_gives_the_same_bits(labeler):
    rng = np.random.default_rng(0)
    rough = crystal()
    moved = Structure(
        rough.numbers, rough.positions + rng.normal(0, 0.1, (4, 3)), rough.cell, rough.pbc
    )
    first, second = labeler.label(moved), AnalyticSettings().create().label(moved)
    assert first.to_json() == second.to_json()


def test_molecules_have_no_stress(labeler):
    pair = Structure(np.array([13, 13], np.uint8), np.array([[0, 0, 0], [2.7, 0, 0.0]]))
    label = labeler.label(pair)
    assert isinstance(label, Label)
    assert label.stress is None
    assert label.energy < 0


def test_what_cannot_be_labelled_is_a_failure(labeler):
    strange = labeler.label(crystal(number=26))
    assert isinstance(strange, Failure)
    assert strange.kind is FailureKind.INVALID_INPUT
    assert "Fe" in strange.message
    same_place = Structure(np.array([13, 13], np.uint8), np.zeros((2, 3)))
    fused = labeler.label(same_place)
    assert isinstance(fused, Failure)
    assert fused.kind is FailureKind.BAD_GEOMETRY


def test_elements_without_parameters_are_refused():
    with pytest.raises(SettingsError, match="Fe"):
        AnalyticSettings(elements=("Al", "Fe")).create()


def test_alloys_take_parameters_of_each_element():
    label = (
        AnalyticSettings(elements=("Au", "Cu"))
        .create()
        .label(
            Structure(np.array([29, 79], np.uint8), np.array([[0, 0, 0], [2.6, 0, 0.0]]))
        )
    )
    assert isinstance(label, Label)
    assert label.energy < 0
