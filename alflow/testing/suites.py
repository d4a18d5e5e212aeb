"""The contract of a validation suite, as tests that a plug-in inherits.

    class TestMine(SuiteTests):
        settings = MySettings(element="Al")

        def make_potential(self):
            return AnalyticSettings().create().as_potential()

Give a potential of one member, and settings that make the suite fast: each test runs it.
"""

import re
from typing import Any, ClassVar

import numpy as np
import torch

from alflow import registry
from alflow.core.properties import SuiteResult
from alflow.core.protocols import ValidationSuite
from alflow.models.potential import Batch, Evaluation, Forces, Pairs, Potential
from alflow.testing.samples import must
from alflow.validation.potentials import Unanswered

_NAME = re.compile(r"[a-z0-9][\w.+-]*(/[\w.+-]+)+", re.IGNORECASE)
_FACTORS = (1.0, 1.1)


class SuiteTests:
    """What must hold for every suite; inherit it and give `settings` and `make_potential`.

    Attributes:
        settings: Settings of the suite.
        is_registered: Whether its entry point is installed where the tests run.
    """

    settings: ClassVar[Any] = None
    is_registered: ClassVar[bool] = True

    def make_potential(self) -> Potential:
        """A potential of one member that the suite can ask."""
        raise NotImplementedError("give make_potential() in the class that inherits")

    def run(self, potential: Potential, seed: int = 1) -> SuiteResult:
        """What the suite says about a potential."""
        suite = self.settings.create()
        must(isinstance(suite, ValidationSuite), "create() gives no ValidationSuite")
        found: SuiteResult = suite.run(potential, seed)
        return found

    def test_settings_survive_the_store(self) -> None:
        """Settings are stored as JSON."""
        text = self.settings.model_dump_json()
        must(type(self.settings).model_validate_json(text) == self.settings, text)

    def test_the_entry_point_names_the_settings(self) -> None:
        """A campaign file finds the suite by its kind."""
        if self.is_registered:
            found = registry.find("validation", self.settings.kind)
            must(found is type(self.settings), f"{self.settings.kind!r} finds {found}")

    def test_names_and_units_are_told(self) -> None:
        """Numbers are `what/quantity`, each once, with a unit."""
        found = self.run(self.make_potential())
        names = [one.name for one in found.properties]
        names += [one.name for one in found.curves]
        must(names, "nothing was told")
        must(len(set(names)) == len(names), f"a name is there twice: {names}")
        for name in names:
            must(_NAME.fullmatch(name), f"{name!r} is not what/quantity")
        must(all(one.unit for one in found.properties), "a number has no unit")

    def test_the_same_seed_tells_the_same(self) -> None:
        """A task that is run again is the same task."""
        first, second = (self.run(self.make_potential()) for _ in range(2))
        must(_numbers(first) == _numbers(second), "two runs with one seed differ")

    def test_members_are_asked_one_by_one(self) -> None:
        """Each member has its number, or none has; the mean of equal ones is theirs."""
        alone = {one.name: one for one in self.run(self.make_potential()).properties}
        twice = Scaled(self.make_potential(), (1.0, 1.0))
        for one in self.run(twice).properties:
            if one.members is None:
                continue
            n_members = len(one.members)
            must(n_members == twice.n_members, f"{one.name}: {n_members} of 2 members")
            value = alone[one.name].value
            close = np.allclose(one.members, value, rtol=1e-6, atol=1e-8, equal_nan=True)
            must(close, f"{one.name}: {one.members}, and {value} of the same alone")

    def test_members_that_differ_have_a_spread(self) -> None:
        """At least one number tells members apart whose energies are not the same."""
        found = self.run(Scaled(self.make_potential(), _FACTORS)).properties
        spreads = [one.spread for one in found if one.spread is not None]
        must(not spreads or max(spreads) > 0, "no number tells members apart")

    def test_the_result_survives_the_store(self) -> None:
        """Results are stored as JSON."""
        found = self.run(self.make_potential())
        must(_numbers(SuiteResult.from_json(found.to_json())) == _numbers(found), "")

    def test_curves_can_be_compared(self) -> None:
        """Grids ascend, and each run has a value at each of their points."""
        for one in self.run(self.make_potential()).curves:
            must(np.all(np.diff(one.x) > 0), f"{one.name}: its grid does not ascend")
            fits = all(len(run) == len(one.x) for run in one.runs)
            must(one.runs and fits, f"{one.name}: a run that does not fit its grid")

    def test_a_potential_without_the_answer_is_no_crash(self) -> None:
        """Atoms that feel nothing have no minimum: a note, or `Unanswered`."""
        nothing = Scaled(self.make_potential(), (0.0,))
        try:
            found = self.run(nothing)
        except Unanswered:
            return
        must(isinstance(found, SuiteResult), "no SuiteResult")


class Scaled:
    """Copies of a potential of one member, each with its energy times a factor."""

    def __init__(self, potential: Potential, factors: tuple[float, ...]) -> None:
        """Copy a potential."""
        self._potential = potential
        self._factors = torch.tensor(factors, dtype=torch.float64)
        self.n_members = len(factors)
        self.cutoff_A, self.elements = potential.cutoff_A, potential.elements
        self.dtype, self.device = potential.dtype, potential.device

    def evaluate(
        self, batch: Batch, pairs: Pairs, *, forces: Forces = "mean"
    ) -> Evaluation:
        """Energies and forces of all copies."""
        found = self._potential.evaluate(batch, pairs, forces=forces)
        factors = self._factors
        return Evaluation(
            factors[:, None] * found.energies,
            None if found.forces is None else factors.mean().to(self.dtype) * found.forces,
            factors[:, None, None].to(self.dtype) * found.forces
            if forces == "members" and found.forces is not None
            else None,
        )

    def fingerprint(self, batch: Batch, pairs: Pairs) -> torch.Tensor:
        """That of the potential."""
        return self._potential.fingerprint(batch, pairs)


def _numbers(found: SuiteResult) -> str:
    return repr(found.to_json())
