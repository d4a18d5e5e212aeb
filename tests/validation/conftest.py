"""What the tests of suites share."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest

from alflow.testing.suites import Scaled


@pytest.fixture(scope="session")
def bonded():
    """A potential that is known exactly, and copies of one."""
    place = Path(__file__).parent / "bonded.py"
    spec = importlib.util.spec_from_file_location("validation_bonded", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return SimpleNamespace(Bonded=module.Bonded, Scaled=Scaled)


@pytest.fixture(scope="session")
def values():
    """Values of a result by name."""
    return lambda result: {one.name: one.value for one in result.properties}
