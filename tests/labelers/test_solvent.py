"""Solvents as continua: forces are the slope of the energy, and the level says which it is."""

import numpy as np
import pytest
from pydantic import ValidationError

from alflow.core.errors import SettingsError
from alflow.core.labels import Label
from alflow.core.structures import Structure
from alflow.labelers import scf
from alflow.labelers.level import level_digest
from alflow.labelers.pyscf import PyscfSettings

WATER = np.array([[0, 0, 0.12], [0.03, 0.78, -0.49], [0, -0.74, -0.47]])
HYDROXYL = np.array([[0, 0, 0], [0, 0.1, 1.0]])
CONTINUA = ("c-pcm", "ief-pcm", "ss(v)pe", "cosmo", "ddcosmo")


def settings(solvent, **changes) -> PyscfSettings:
    raw = {"method": "hf", "basis": "sto-3g", "stability": "off", "conv_tol_hartree": 1e-11}
    return PyscfSettings.model_validate({**raw, "solvent": solvent, **changes})


def water(positions=WATER) -> Structure:
    return Structure(np.array([8, 1, 1], np.uint8), positions)


def hydroxyl(positions=HYDROXYL) -> Structure:
    return Structure(np.array([8, 1], np.uint8), positions, multiplicity=2)


def label(of: PyscfSettings, structure: Structure) -> Label:
    answer = of.create().label(structure)
    assert isinstance(answer, Label), answer
    return answer


def slope(of: PyscfSettings, make, positions, atom: int, axis: int) -> float:
    """Minus the slope of the energy [eV/Å]."""
    ends = []
    for sign in (1, -1):
        moved = positions.copy()
        moved[atom, axis] += sign * 2e-3
        ends.append(label(of, make(moved)).energy)
    return -(ends[0] - ends[1]) / 4e-3


@pytest.mark.parametrize("model", CONTINUA)
def test_forces_are_the_slope_of_the_energy(model):
    of = settings({"model": model, "name": "water"})
    found = label(of, water())
    assert found.forces[1, 1] == pytest.approx(slope(of, water, WATER, 1, 1), abs=4e-4)
    vacuum = label(settings(None), water())
    assert found.energy < vacuum.energy - 0.05
    assert np.abs(found.forces - vacuum.forces).max() > 0.01


def test_forces_of_smd_are_the_slope_of_the_energy():
    of = settings({"model": "smd", "name": "acetonitrile"})
    found = label(of, hydroxyl()).forces
    assert found[1, 2] == pytest.approx(slope(of, hydroxyl, HYDROXYL, 1, 2), abs=4e-4)


@pytest.mark.parametrize("fitted", [True, False])
def test_open_shells_and_functionals_too(fitted):
    medium = {"model": "ief-pcm", "eps": 20.0}
    of = settings(medium, method="pbe", grid_level=1, density_fit=fitted)
    found = label(of, hydroxyl()).forces
    assert found[1, 2] == pytest.approx(slope(of, hydroxyl, HYDROXYL, 1, 2), abs=4e-4)


def test_rescue_finds_the_same_state_and_forces(monkeypatch):
    of = settings({"model": "c-pcm", "name": "water"})
    usual = label(of, water())
    first = scf._diis

    def fails(*arguments, **named):
        rung = first(*arguments, **named)
        rung.solver.converged = False
        return rung

    monkeypatch.setattr(scf, "_diis", fails)
    monkeypatch.setattr(scf, "_LADDER", (scf._newton,))
    changed = of.model_copy(update={"second_start": False})
    rescued = label(changed, water())
    assert rescued.extras["rung"] == "newton"
    assert rescued.energy == pytest.approx(usual.energy, abs=1e-6)
    assert np.abs(rescued.forces - usual.forces).max() < 1e-4


def test_a_name_is_its_permittivity():
    named = label(settings({"model": "c-pcm", "name": "Water"}), water()).energy
    given = label(settings({"model": "c-pcm", "eps": 78.355}), water()).energy
    assert named == pytest.approx(given, abs=1e-10)
    less = label(settings({"model": "c-pcm", "eps": 2.0}), water()).energy
    assert less > given + 0.05


def test_every_setting_is_part_of_the_level():
    media = [
        None,
        *({"model": model, "name": "water"} for model in (*CONTINUA, "smd")),
        {"model": "smd", "name": "acetonitrile"},
        {"model": "c-pcm", "eps": 78.0},
    ]
    assert len({level_digest(settings(medium)) for medium in media}) == len(media)
    upper = settings({"model": "C-PCM", "name": "WATER"})
    assert level_digest(upper) == level_digest(settings(media[1]))


@pytest.mark.parametrize(
    ("solvent", "words"),
    [
        ({"model": "pcm", "name": "water"}, "programs differ in what they take for it"),
        ({"model": "ddpcm", "name": "water"}, "PySCF has no forces of ddPCM"),
        ({"model": "cpcm", "name": "water"}, "c-pcm"),
        ({"model": "c-pcm"}, "one of the two"),
        ({"model": "c-pcm", "name": "water", "eps": 78.0}, "one of the two"),
        ({"model": "smd", "eps": 78.0}, "smd needs the name"),
        ({"model": "c-pcm", "eps": 1.0}, "greater than 1"),
    ],
)
def test_solvents_that_say_too_little_are_refused(solvent, words):
    with pytest.raises(ValidationError, match=words):
        settings(solvent)


def test_correlated_methods_have_none():
    with pytest.raises(ValidationError, match=r"solvent: for hf and functionals only"):
        settings({"model": "smd", "name": "water"}, method="ccsd", frozen_core=True)


def test_unknown_solvents_are_told():
    of = settings({"model": "c-pcm", "name": "watr"})
    (found,) = of.problems(["H", "O"])
    assert found.path == ("solvent",)
    assert found.message == "there is no solvent 'watr' in the table of SMD"
    assert found.hint == "did you mean 'water'?"
    with pytest.raises(SettingsError, match="watr"):
        of.create()
