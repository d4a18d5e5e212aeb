"""Labels that agree with themselves, and labels whose mistakes are found."""

from dataclasses import replace

import numpy as np
import pytest

from alflow.core.labels import Label
from alflow.core.structures import Structure
from alflow.labelers.analytic import AnalyticSettings
from alflow.labelers.consistency import STEP_A, compare, direction, probes, tilt
from alflow.labelers.pyscf import PyscfSettings


def crystal() -> Structure:
    rng = np.random.default_rng(2)
    corner = np.array([[0, 0, 0], [0, 2.02, 2.02], [2.02, 0, 2.02], [2.02, 2.02, 0]])
    cell = np.eye(3) * 4.04 + rng.normal(0, 0.05, (3, 3))
    positions = corner + rng.normal(0, 0.15, (4, 3))
    return Structure(np.full(4, 13, np.uint8), positions, cell, np.ones(3, bool))


def water() -> Structure:
    return Structure(
        np.array([8, 1, 1], np.uint8),
        np.array([[0, 0, 0.1], [0, 0.8, -0.5], [0.1, -0.7, -0.5]]),
    )


def labelled(settings, structure, change=lambda label: label):
    labeler = settings.create()

    def ask(one):
        label = labeler.label(one)
        assert isinstance(label, Label)
        return change(label)

    label = ask(structure)
    probed = {name: ask(one) for name, one in probes(structure, label).items()}
    return {one.name: one for one in compare(structure, label, probed)}


GUPTA = AnalyticSettings(potential="gupta", elements=("Al",))


def test_an_exact_potential_agrees_with_itself():
    found = labelled(GUPTA, crystal())
    assert set(found) == {"force", "stress"}
    for one in found.values():
        assert one.is_consistent
        assert one.told == pytest.approx(one.from_energies, rel=2e-3, abs=2e-5)
        assert abs(one.told) > 5 * one.noise, "or nothing would be seen"


def test_molecules_with_pyscf_do():
    found = labelled(PyscfSettings(method="pbe", basis="6-31g", grid_level=2), water())
    assert set(found) == {"force"}
    assert found["force"].is_consistent


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (lambda one: replace(one, forces=-one.forces), {"force"}),
        (lambda one: replace(one, forces=one.forces * 27.2114 / 0.529177), {"force"}),
        (lambda one: replace(one, stress=-one.stress), {"stress"}),
        (lambda one: replace(one, stress=one.stress * 160.2), {"stress"}),
        (lambda one: replace(one, energy=one.energy * 27.2114), {"force", "stress"}),
    ],
)
def test_mistakes_of_sign_and_unit_are_found(change, wrong):
    found = labelled(GUPTA, crystal(), change)
    assert {name for name, one in found.items() if not one.is_consistent} == wrong


def test_only_what_a_label_has_is_asked_for():
    energy_alone = Label(1.0)
    assert set(probes(water(), energy_alone)) == {"again"}
    assert compare(water(), energy_alone, {"again": energy_alone}) == []


def test_a_probe_that_failed_is_left_out():
    structure = crystal()
    label = GUPTA.create().label(structure)
    assert compare(structure, label, {"forth": label}) == []


def test_directions_belong_to_structures():
    one, other = crystal(), water()
    assert np.array_equal(direction(one), direction(one))
    assert np.linalg.norm(direction(other)) == pytest.approx(3**0.5)
    assert np.allclose(direction(other).sum(axis=0), 0)
    assert np.array_equal(tilt(one), tilt(one).T)
    moved = probes(one, Label(0.0, np.zeros((4, 3))))["forth"].positions - one.positions
    assert np.sqrt((moved**2).sum() / 4) == pytest.approx(STEP_A, rel=1e-4)
