"""The toy family, importable by its name as an installed one is."""

import importlib.util
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def _import(name):
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session", autouse=True)
def toys():
    """Modules of the toy family by name."""
    names = ("toy_potential", "toy_family", "toy_hasty")
    for name in names:
        sys.modules[name] = _import(name)
    yield {name: sys.modules[name] for name in names}
    for name in names:
        del sys.modules[name]
