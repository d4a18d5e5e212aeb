"""Test helpers: conformance suites that plug-ins inherit, and crash tests of whole campaigns.

    from alflow.testing import ModelFamilyTests, PotentialTests, SuiteTests, TrainerTests

The suites are classes with tests; a plug-in's test file inherits one and names what is tested.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alflow.testing.families import ModelFamilyTests
    from alflow.testing.potentials import PotentialTests
    from alflow.testing.suites import SuiteTests
    from alflow.testing.trainers import TrainerTests

__all__ = ["ModelFamilyTests", "PotentialTests", "SuiteTests", "TrainerTests"]

_HOMES = {
    "ModelFamilyTests": "alflow.testing.families",
    "PotentialTests": "alflow.testing.potentials",
    "SuiteTests": "alflow.testing.suites",
    "TrainerTests": "alflow.testing.trainers",
}


def __getattr__(name: str) -> Any:
    """Import a suite when it is asked for: `alflow chaos` needs no torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
