"""Every suite of the project file is one, and its settings import nothing heavy."""

import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from alflow.core.errors import SettingsError
from alflow.core.protocols import ValidationSuite
from alflow.validation.crystal import CrystalSettings
from alflow.validation.settings import SuiteSettings

ROOT = Path(__file__).parents[2]
# what is installed may be older than the project file
POINTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
SUITES = POINTS["alflow.validation"]
REQUIRED = {
    "melting": {
        "element": "Al",
        "temperature_K": 900,
        "crystal_density_g_per_cm3": 2.6,
        "melt_density_g_per_cm3": 2.4,
    },
    "melt": {"element": "Al", "density_g_per_cm3": 2.4},
    "stability": {"element": "Al", "density_g_per_cm3": 2.4},
}


@pytest.mark.parametrize("kind", sorted(SUITES))
def test_every_suite_is_registered_under_its_kind(kind, tmp_path):
    if kind == "phonons":
        pytest.importorskip("phonopy")
    module, name = SUITES[kind].split(":")
    found = getattr(import_module(module), name)
    assert issubclass(found, SuiteSettings)
    assert found.model_fields["kind"].default == kind
    file = tmp_path / "molecule.xyz"
    file.write_text("1\n\nAr 0 0 0\n")
    required = {**REQUIRED, "molecule": {"file": str(file)}}
    settings = found.model_validate(required.get(kind, {"element": "Al"}))
    assert isinstance(settings.create(), ValidationSuite)
    assert found.model_validate_json(settings.model_dump_json()) == settings


@pytest.mark.parametrize("heavy", ["torch", "ase"])
def test_settings_import_nothing_heavy(heavy):
    modules = ", ".join(sorted({value.split(":")[0] for value in SUITES.values()}))
    code = f"import sys, {modules}; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_element_must_exist():
    with pytest.raises(SettingsError):
        CrystalSettings(element="Xx")


@pytest.mark.parametrize("kind", sorted(SUITES))
def test_every_suite_is_in_the_guide(kind):
    assert f"| `{kind}` |" in (ROOT / "docs" / "guide.md").read_text()
