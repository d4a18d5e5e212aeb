"""Dispersion corrections: the right parameters or none, and forces that are their slope."""

from importlib.metadata import distributions

import numpy as np
import pytest
from pydantic import ValidationError

from alflow.core.errors import SettingsError, SiteError
from alflow.core.labels import Failure, FailureKind, Label
from alflow.core.structures import Structure
from alflow.labelers import dispersion, engine
from alflow.labelers.level import level_digest, level_identity
from alflow.labelers.pyscf import PyscfSettings

needs_library = pytest.mark.skipif(
    not list(distributions(name="pyscf-dispersion")),
    reason="pyscf-dispersion is not installed",
)
MODELS = ("d3bj", "d3zero", "d4")
DIMER = np.array(
    [
        [0, 0, 0],
        [0.1, 0.8, -0.5],
        [0, -0.7, -0.5],
        [0.2, 0, 2.9],
        [0, 0.7, 3.4],
        [0, -0.8, 3.4],
    ]
)


def dimer(positions=DIMER, charge: int = 0) -> Structure:
    return Structure(np.array([8, 1, 1, 8, 1, 1], np.uint8), positions, charge=charge)


def settings(**changes) -> PyscfSettings:
    raw = {"method": "pbe0", "basis": "6-31g", "grid_level": 1, "stability": "off"}
    return PyscfSettings.model_validate({**raw, **changes})


def label(of: PyscfSettings, structure: Structure) -> Label:
    answer = of.create().label(structure)
    assert isinstance(answer, Label), answer
    return answer


def molecule(positions=DIMER, symbols="OHHOHH", charge: int = 0):
    atoms = list(zip(symbols, positions.tolist(), strict=True))
    spin = None if charge else 0
    return engine.load("pyscf.gto").M(
        atom=atoms, basis="sto-3g", charge=charge, spin=spin, verbose=0
    )


@needs_library
@pytest.mark.parametrize("model", MODELS)
def test_gradients_are_the_slope_of_the_energy(model):
    what = dispersion.resolve(model, "pbe0")
    _, gradient = dispersion.correction(what, molecule())
    step_A = 1e-3
    step = step_A / 0.529177210544
    for atom, axis in ((0, 0), (1, 1), (3, 2)):
        ends = []
        for sign in (1, -1):
            moved = DIMER.copy()
            moved[atom, axis] += sign * step_A
            ends.append(dispersion.correction(what, molecule(moved))[0])
        slope = (ends[0] - ends[1]) / (2 * step)
        assert gradient[atom, axis] == pytest.approx(slope, abs=1e-8)
    assert np.abs(gradient).max() > 1e-5


@needs_library
@pytest.mark.parametrize("model", MODELS)
def test_a_label_is_that_without_and_the_correction(model):
    bare = label(settings(), dimer())
    found = label(settings(dispersion=model), dimer())
    what = dispersion.resolve(model, "pbe0")
    energy, gradient = dispersion.correction(what, molecule())
    assert found.energy - bare.energy == pytest.approx(energy * 27.211386245988, abs=1e-9)
    assert energy < -1e-4
    change = -gradient * 27.211386245988 / 0.529177210544
    assert np.abs(found.forces - bare.forces - change).max() < 1e-6
    parts = found.extras["components"]
    assert set(parts) == {
        f"{one}_hartree" for one in settings(dispersion=model).components()
    }
    assert sum(parts.values()) * 27.211386245988 == pytest.approx(found.energy, abs=1e-8)
    assert found.extras["program"].startswith("pyscf 2.")
    assert ", pyscf-dispersion 1." in found.extras["program"]


@needs_library
def test_it_is_what_pyscf_takes_where_the_name_means_the_same():
    dft = engine.load("pyscf.dft")
    for method, model in (
        ("pbe0", "d3bj"),
        ("b3lyp", "d3zero"),
        ("pbe", "d4"),
        ("wb97x", "d4"),
    ):
        field = dft.RKS(molecule(), xc=method)
        suffix = ":wb97x-2008" if method == "wb97x" else ""
        expected = field.get_dispersion(disp=model + suffix)
        canonical = settings(method=method).method
        found, _ = dispersion.correction(dispersion.resolve(model, canonical), molecule())
        assert found == pytest.approx(expected, abs=1e-12)


@needs_library
def test_d4_knows_the_charge():
    what = dispersion.resolve("d4", "pbe0")
    neutral, _ = dispersion.correction(what, molecule())
    cation, _ = dispersion.correction(what, molecule(charge=1))
    assert abs(cation - neutral) > 1e-5


@pytest.mark.parametrize(
    ("method", "model"),
    [
        ("wb97x", "d3bj"),
        ("wb97x", "d3zero"),
        ("wb97", "d4"),
        ("b97", "d4"),
        ("b971", "d3bj"),
    ],
)
def test_parameters_of_another_functional_are_refused(method, model):
    with pytest.raises(ValidationError, match="made for another one"):
        settings(method=method, dispersion=model)


@pytest.mark.parametrize(
    "name", ["wb97x-d3bj", "pbe0-d3bj", "b3lyp-d4", "wB97X-D", "b97-d"]
)
def test_names_with_a_correction_say_how_it_is_written(name):
    with pytest.raises(ValidationError, match="its correction as 'dispersion'"):
        settings(method=name)


def test_correlated_methods_have_none():
    with pytest.raises(ValidationError, match="not for mp2"):
        settings(method="mp2", frozen_core=True, dispersion="d4")


@needs_library
def test_functionals_and_elements_without_parameters_are_told():
    (found,) = settings(method="m06l", dispersion="d3bj").problems(["H", "O"])
    assert found.path == ("dispersion",)
    assert "no parameters for 'm06l'" in found.message
    with pytest.raises(SettingsError, match="no parameters"):
        settings(method="svwn", dispersion="d3bj").create()
    found = list(settings(basis="def2-svp", dispersion="d4").problems(["H", "Rn", "Pu"]))
    assert [one.path for one in found if "d4 does not know Pu" in one.message] == [
        ("dispersion",)
    ]
    answer = settings(dispersion="d4").create().label(uranium())
    assert isinstance(answer, Failure)
    assert answer.kind == FailureKind.INVALID_INPUT


@needs_library
def test_heavy_elements_never_reach_the_library():
    # It does not refuse them: it asks for more memory than there is and ends the process.
    for model, heaviest in (("d3bj", 94), ("d4", 86)):
        what = dispersion.resolve(model, "pbe0")
        dispersion.check(what, [1, heaviest])
        with pytest.raises(SettingsError, match="does not know"):
            dispersion.check(what, [1, heaviest + 1, 118])
        mol = engine.load("pyscf.gto").M(
            atom="Og 0 0 0; H 0 0 2",
            basis={"default": "sto-3g", "Og": [[0, [1, 1]]]},
            spin=None,
        )
        with pytest.raises(SettingsError, match="does not know Og"):
            dispersion.correction(what, mol)


def uranium() -> Structure:
    return Structure(np.array([92, 1], np.uint8), np.array([[0, 0, 0], [0, 0, 2.0]]))


def test_it_is_part_of_the_level():
    digests = {level_digest(settings(dispersion=model)) for model in (None, *MODELS)}
    assert len(digests) == 4
    found = level_identity(settings(method="wb97x", dispersion="d4"))["dispersion"]
    assert found == {"model": "d4", "parameters": "wb97x-2008", "three_body": True}
    found = level_identity(settings(method="b3lyp", dispersion="d3bj"))["dispersion"]
    assert found == {"model": "d3bj", "parameters": "b3lyp", "three_body": False}
    assert "dispersion" not in level_identity(settings())


def test_a_missing_package_is_told(monkeypatch):
    def load(module):
        if module.startswith("pyscf.dispersion"):
            raise ModuleNotFoundError(name="pyscf.dispersion")
        return engine.load(module)

    monkeypatch.setattr(dispersion, "load", load)
    with pytest.raises(SiteError, match="pyscf-dispersion is not installed"):
        settings(dispersion="d4").create()
