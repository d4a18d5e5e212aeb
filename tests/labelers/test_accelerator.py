"""Where PySCF computes: the choice, and what goes there. Nothing here needs a GPU."""

import numpy as np
import pytest
from pydantic import ValidationError

from alflow.core.errors import SiteError
from alflow.core.labels import Label
from alflow.core.structures import Structure
from alflow.labelers import accelerator, scf
from alflow.labelers.level import level_digest
from alflow.labelers.pyscf import PyscfSettings

WATER = np.array([[0, 0, 0.119262], [0, 0.763239, -0.477047], [0, -0.763239, -0.477047]])


def settings(**changes) -> PyscfSettings:
    raw = {"method": "pbe", "basis": "6-31g", "grid_level": 2, **changes}
    return PyscfSettings.model_validate(raw)


def label(of: PyscfSettings) -> Label:
    answer = of.create().label(Structure(np.array([8, 1, 1], np.uint8), WATER))
    assert isinstance(answer, Label), answer
    return answer


@pytest.mark.parametrize(
    ("wanted", "hindrance", "found"),
    [
        ("cpu", "", "cpu"),
        ("cpu", "there is no device", "cpu"),
        ("auto", "", "gpu"),
        ("auto", "there is no device", "cpu"),
        ("gpu", "", "gpu"),
    ],
)
def test_the_choice(monkeypatch, wanted, hindrance, found):
    monkeypatch.setattr(accelerator, "missing", lambda: hindrance)
    assert accelerator.choose(wanted) == found


def test_a_gpu_that_is_not_there_is_told(monkeypatch):
    monkeypatch.setattr(accelerator, "missing", lambda: "there is no device")
    with pytest.raises(SiteError, match="gpu cannot be had here: there is no device"):
        settings(device="gpu").create()


def test_without_the_package_there_is_none(monkeypatch):
    monkeypatch.setattr(accelerator, "find_spec", lambda name: None if "gpu" in name else 1)
    assert accelerator.missing() == "gpu4pyscf is not installed"
    assert label(settings(device="auto")).extras["device"] == "cpu"


def test_labels_tell_where_they_come_from_and_the_way_goes_there_and_back(monkeypatch):
    went = []
    monkeypatch.setattr(accelerator, "missing", lambda: "")

    def passing(where):
        return lambda method: went.append(where) or method

    monkeypatch.setattr(scf, "on_gpu", passing("gpu"))
    monkeypatch.setattr(scf, "on_cpu", passing("cpu"))
    found = label(settings(device="gpu"))
    # The coarse grid and the fine one, each with its way back, and then the forces.
    assert went == ["gpu", "cpu", "gpu", "cpu", "gpu"]
    assert found.extras["device"] == "gpu"
    assert "gpu4pyscf" in found.extras["program"]
    went.clear()
    plain = label(settings())
    assert went == []
    assert plain.extras["device"] == "cpu"
    assert "gpu4pyscf" not in plain.extras["program"]
    assert found.energy == plain.energy


def test_the_device_is_no_part_of_the_level():
    assert level_digest(settings(device="auto")) == level_digest(settings())


def test_correlated_methods_stay_on_the_cpu():
    with pytest.raises(ValidationError, match="mp2 is computed on the CPU only"):
        settings(method="mp2", frozen_core=True, device="gpu")
