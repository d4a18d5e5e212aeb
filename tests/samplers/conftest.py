"""The fixtures of the tests of molecular dynamics."""

import importlib.util
from pathlib import Path

import pytest

_PATH = Path(__file__).parent.parent / "md" / "conftest.py"
_SPEC = importlib.util.spec_from_file_location("md_fixtures", _PATH)
_FIXTURES = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_FIXTURES)

potentials = _FIXTURES.potentials
crystal = _FIXTURES.crystal


@pytest.fixture(scope="session")
def springs():
    """The class `Springs`."""
    path = Path(__file__).parent / "spring_potential.py"
    spec = importlib.util.spec_from_file_location("spring_potential", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Springs
