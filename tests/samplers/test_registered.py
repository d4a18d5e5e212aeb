"""Every sampler of the project file is one, and is documented."""

import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from alflow.core.protocols import Sampler
from alflow.samplers.settings import SamplerSettings

ROOT = Path(__file__).parents[2]
# what is installed may be older than the project file
POINTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
MD = {"duration_ps": 1.0, "temperature_K": {"start": 300, "end": 300}}
KINDS = ("ase", "clusters", "nemd", "normal_modes", "torsions", "udd")
REQUIRED = {"nemd": MD, "udd": MD, "clusters": MD, "ase": {"driver": "basin_hopping"}}


def settings_class(kind):
    module, name = POINTS["alflow.samplers"][kind].split(":")
    return getattr(import_module(module), name)


@pytest.fixture
def drivers(monkeypatch):
    from importlib.metadata import EntryPoint

    from alflow import registry

    group = "alflow.ase_samplers"
    found = {name: EntryPoint(name, value, group) for name, value in POINTS[group].items()}
    monkeypatch.setattr(registry, "available", lambda _point: found)


@pytest.mark.parametrize("kind", KINDS)
def test_every_sampler_is_registered_under_its_kind(kind, drivers):
    found = settings_class(kind)
    assert issubclass(found, SamplerSettings)
    assert found.model_fields["kind"].default == kind
    settings = found.model_validate(REQUIRED.get(kind, {}))
    assert isinstance(settings.create(), Sampler)
    assert found.model_validate_json(settings.model_dump_json()) == settings
    assert {"replicas", "tasks", "rounds"} <= set(found.model_fields)


@pytest.mark.parametrize("kind", POINTS["alflow.samplers"])
def test_every_sampler_is_in_the_guide(kind):
    assert f"| `{kind}` |" in (ROOT / "docs" / "guide.md").read_text()


@pytest.mark.parametrize("name", POINTS["alflow.ase_samplers"])
def test_every_driver_is_in_the_guide(name):
    assert f"`{name}`" in (ROOT / "docs" / "guide.md").read_text()


@pytest.mark.parametrize("heavy", ["torch", "ase"])
def test_settings_and_drivers_import_nothing_heavy(heavy):
    values = [*POINTS["alflow.samplers"].values(), *POINTS["alflow.ase_samplers"].values()]
    modules = ", ".join(sorted({value.split(":")[0] for value in values}))
    code = f"import sys, {modules}; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("kind", "is_refused"), [("torsions", True), ("nemd", False)])
def test_survival_cannot_be_asked_of_a_sampler_without_a_clock(kind, is_refused):
    from alflow.config.physics import find_problems

    sample = {"kind": kind, **REQUIRED.get(kind, {})}
    data = {"sample": sample, "stop": {"converged": {"survival_ps": 0.5}}}
    told = [f for f in find_problems(data) if f.path[-1] == "survival_ps"]
    assert bool(told) == is_refused
    assert all("no time passes" in finding.message for finding in told)
