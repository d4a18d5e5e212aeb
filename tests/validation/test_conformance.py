"""Suites keep the contract that plug-ins inherit; a suite that does not is told why."""

import pytest

from alflow.core.properties import Property, SuiteResult
from alflow.labelers.analytic import AnalyticSettings
from alflow.testing import SuiteTests
from alflow.validation.crystal import CrystalSettings
from alflow.validation.stacking_fault import StackingFaultSettings
from alflow.validation.surface import SurfaceSettings
from alflow.validation.vacancy import VacancySettings


class Gupta(SuiteTests):
    def make_potential(self):
        return AnalyticSettings().create().as_potential()


class TestCrystal(Gupta):
    settings = CrystalSettings(element="Al", phases=["fcc", "bcc"])


class TestVacancy(Gupta):
    settings = VacancySettings(element="Al")


class TestSurface(Gupta):
    settings = SurfaceSettings(element="Al", facets=["111"])


class TestStackingFault(Gupta):
    settings = StackingFaultSettings(element="Al")


class Drawn:
    """A suite that tells other numbers each time, under one name."""

    draws = 0

    def __init__(self, settings):
        del settings

    def run(self, potential, seed):
        del potential, seed
        Drawn.draws += 1
        one = Property("lattice", float(Drawn.draws), "Å", (1.0,))
        return SuiteResult((one, one))


class DrawnSettings(CrystalSettings):
    def create(self):
        return Drawn(self)


class Bad(Gupta):
    settings = DrawnSettings(element="Al")


@pytest.mark.parametrize(
    ("test", "sentence"),
    [
        ("test_names_and_units_are_told", "there twice"),
        ("test_the_same_seed_tells_the_same", "differ"),
        ("test_members_are_asked_one_by_one", "1 of 2 members"),
        ("test_the_entry_point_names_the_settings", "finds"),
    ],
)
def test_a_suite_that_breaks_the_contract_is_told(test, sentence):
    with pytest.raises(AssertionError, match=sentence):
        getattr(Bad(), test)()
