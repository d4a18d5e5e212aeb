"""The contract of a model family, as tests that a plug-in inherits.

class TestMine(ModelFamilyTests):
    settings = MySettings(members=2, dtype="float64")
    elements = ("H", "O")
"""

import inspect
import os
import subprocess
import sys
from typing import Any, ClassVar

import torch

from alflow import registry
from alflow.core.errors import SettingsError
from alflow.models.family import ModelFamily, WritablePotential
from alflow.models.headers import read_header
from alflow.models.loading import load_potential
from alflow.models.potential import Potential
from alflow.testing.potentials import PotentialTests, forces_of
from alflow.testing.samples import a_structure, must, numbers_of

_SEED = 11
_LOOK = """
import importlib, importlib.util, sys
name, file = sys.argv[1:]
try:
    importlib.import_module(name)
except ImportError:
    spec = importlib.util.spec_from_file_location(name, file)
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])
sys.exit("torch" in sys.modules)
"""


class ModelFamilyTests(PotentialTests):
    """What must hold for every model family; inherit it and give `settings` and `elements`.

    Attributes:
        settings: Settings of a small ensemble of the family, of two members or more.
    """

    settings: ClassVar[Any] = None

    def make_potential(self) -> Potential:
        """A fresh ensemble."""
        return self.create()

    def create(self, seed: int = _SEED) -> WritablePotential:
        """A fresh ensemble of a seed."""
        created: WritablePotential = self.settings.create(numbers_of(self.elements), seed)
        return created

    def test_the_family_keeps_its_protocol(self) -> None:
        """Settings are frozen pydantic models with `kind`, `members`, `create` and `load`."""
        settings = self.settings
        must(isinstance(settings, registry.Settings), "settings do not inherit Settings")
        must(isinstance(settings, ModelFamily), "settings lack a method of ModelFamily")
        again = type(settings).model_validate(settings.model_dump(mode="json"))
        must(again == settings, "settings that were stored and read are other ones")
        created = self.create()
        must(isinstance(created, WritablePotential), "the potential has no to_bytes")
        must(created.n_members == settings.members, "members are not as many as asked for")
        must(
            sorted(created.elements) == sorted(numbers_of(self.elements)),
            f"it knows {created.elements}, not what was asked for",
        )

    def test_the_entry_point_names_it(self) -> None:
        """Where the family is installed, its kind leads to its settings."""
        kind = self.settings.kind
        if kind in registry.available("models"):
            found = registry.find("models", kind)
            must(found is type(self.settings), f"the entry point {kind!r} is {found}")
            weights = self.create().to_bytes()
            must(
                load_potential(weights).n_members, "weights are not loaded by their header"
            )

    def test_settings_import_no_torch(self) -> None:
        """`alflow check` reads settings, and must stay fast."""
        owner = type(self.settings)
        command = [sys.executable, "-c", _LOOK, owner.__module__, inspect.getfile(owner)]
        variables = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        done = subprocess.run(  # noqa: S603 - this very Python
            command, check=False, env=variables, capture_output=True, text=True
        )
        must(not done.stderr, f"the module of the settings fails: {done.stderr}")
        must(done.returncode == 0, f"{owner.__module__} imports torch; create() should")

    def test_weights_come_back_as_they_were(self) -> None:
        """Bytes, and from them the same numbers bit by bit, and the same bytes again."""
        created = self.create()
        weights = created.to_bytes()
        must(weights == created.to_bytes(), "the same potential gives other bytes")
        again = self.settings.load(weights)
        must(again.to_bytes() == weights, "what was loaded gives other bytes")
        batch, pairs = self._batch(created, self._samples(), 0.0)
        one, other = (p.evaluate(batch, pairs, forces="members") for p in (created, again))
        must(torch.equal(one.energies, other.energies), "loaded weights: other energies")
        same = torch.equal(forces_of(one), forces_of(other))
        must(same, "loaded weights: other forces")
        must(
            (again.n_members, again.elements, again.cutoff_A)
            == (created.n_members, created.elements, created.cutoff_A),
            "loaded weights: other members, elements or cutoff",
        )

    def test_the_header_names_the_family(self) -> None:
        """Bytes alone are enough to find the family, and keep what they are told."""
        header = read_header(self.create().to_bytes({"note": "kept"}))
        must(header.get("family") == self.settings.kind, f"the header says {header}")
        must(any("kept" in value for value in header.values()), "metadata are lost")

    def test_bytes_that_are_no_weights_are_refused(self) -> None:
        """A SettingsError, whatever the bytes."""
        weights = self.create().to_bytes()
        for what, content in {
            "nothing": b"",
            "text": b"these are not weights",
            "half of a file": weights[: len(weights) // 2],
        }.items():
            try:
                self.settings.load(content)
            except SettingsError:
                continue
            raise AssertionError(f"{what} was loaded as weights")

    def test_the_seed_decides_the_weights(self) -> None:
        """The same seed, the same bytes; another seed, other energies."""
        must(
            self.create(3).to_bytes() == self.create(3).to_bytes(),
            "one seed, other weights",
        )
        molecule = [a_structure(self.elements, 7, seed=1)]
        energies = []
        for seed in (3, 4):
            potential = self.create(seed)
            batch, pairs = self._batch(potential, molecule, 0.0)
            energies.append(potential.evaluate(batch, pairs, forces="none").energies)
        must(not torch.equal(*energies), "two seeds, the same energies")
