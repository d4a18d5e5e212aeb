"""The suites hold for what is here, and catch what breaks the contract."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from alflow.core.errors import SettingsError
from alflow.core.labels import Failure, FailureKind
from alflow.core.structures import Structure
from alflow.models.ani.settings import AniSettings
from alflow.models.gupta import GuptaPotential
from alflow.testing import ModelFamilyTests, PotentialTests, TrainerTests, samples
from alflow.training.settings import StackedSettings

SMALL = {"members": 2, "hidden": (8, 6), "radial_shifts": 6, "angular_shifts": 3}


class TestAni(ModelFamilyTests):
    settings = AniSettings(dtype="float64", **SMALL)
    elements = ("H", "C", "O")


class TestAniSingle(ModelFamilyTests):
    settings = AniSettings(**SMALL)
    elements = ("H", "O")


class TestGupta(PotentialTests):
    elements = ("Al", "Cu")

    def make_potential(self):
        return GuptaPotential.published("Al", "Cu")


class TestStacked(TrainerTests):
    trainer = StackedSettings(
        epochs=2, warm_epochs=2, minimum_steps=0, folds=2, checkpoint_minutes=0.0
    )
    model = AniSettings(**SMALL)
    elements = ("H", "O")


def names_of_tests(suite):
    return sorted(name for name in dir(suite) if name.startswith("test_"))


def failures(suite):
    """Names of the tests of a suite that fail, with what they say."""
    found = {}
    for name in names_of_tests(suite):
        try:
            getattr(suite(), name)()
        except AssertionError as error:
            found[name] = str(error)
    return found


def toy(toys, flaw, **changes):
    class Toy(ModelFamilyTests):
        settings = toys["toy_family"].ToySettings(flaw=flaw, **changes)
        elements = ("H", "O")

    return Toy


def test_a_family_that_keeps_the_contract_passes(toys):
    assert failures(toy(toys, "none")) == {}


@pytest.mark.parametrize(
    ("flaw", "test"),
    [
        ("absolute positions", "test_a_shift_changes_nothing"),
        ("prefers x", "test_forces_turn_with_the_structure"),
        ("first atom is special", "test_the_order_of_atoms_does_not_matter"),
        ("forces of half size", "test_forces_are_minus_the_slope_of_the_energy"),
        ("forgets images", "test_images_are_the_same_atoms"),
        ("counts the batch", "test_company_in_the_batch_does_not_matter"),
        ("trusts the list", "test_a_list_that_reaches_too_far_changes_nothing"),
        ("energy per atom", "test_what_is_far_apart_adds_up"),
        ("knows everything", "test_an_unknown_element_is_refused"),
        ("NaN is nothing", "test_a_position_that_is_no_number_gives_no_number"),
        ("clones", "test_members_have_their_own_energies"),
        ("never the same", "test_a_second_evaluation_gives_the_same_bits"),
        (
            "extensive fingerprint",
            "test_fingerprints_tell_structures_apart_and_nothing_else",
        ),
        ("blind fingerprint", "test_fingerprints_tell_structures_apart_and_nothing_else"),
        ("no forces", "test_results_have_their_shapes"),
        ("energies in float32", "test_results_have_their_shapes"),
        ("restless bytes", "test_weights_come_back_as_they_were"),
        ("loads other weights", "test_weights_come_back_as_they_were"),
        ("ignores the seed", "test_the_seed_decides_the_weights"),
        ("nameless weights", "test_the_header_names_the_family"),
        ("drops an element", "test_the_family_keeps_its_protocol"),
    ],
)
def test_a_flaw_is_caught(toys, flaw, test):
    with pytest.raises(AssertionError):
        getattr(toy(toys, flaw)(), test)()


def test_bytes_that_are_loaded_all_the_same_are_caught(toys, monkeypatch):
    suite = toy(toys, "none")
    settings = suite.settings
    monkeypatch.setattr(
        type(settings), "load", classmethod(lambda _cls, _bytes: settings.create([1], 0))
    )
    with pytest.raises(AssertionError, match="nothing was loaded as weights"):
        suite().test_bytes_that_are_no_weights_are_refused()


def test_settings_that_import_torch_are_caught(toys):
    class Hasty(ModelFamilyTests):
        settings = toys["toy_hasty"].HastySettings()
        elements = ("H",)

    with pytest.raises(AssertionError, match="imports torch"):
        Hasty().test_settings_import_no_torch()
    with pytest.raises(AssertionError, match="lack a method"):
        Hasty().test_the_family_keeps_its_protocol()


def test_a_suite_without_a_potential_says_what_to_give():
    with pytest.raises(NotImplementedError, match="make_potential"):
        PotentialTests().make_potential()


@dataclass
class Bare:
    """What every trainer hands back, and nothing else."""

    weights: bytes
    members: list = field(default_factory=list)
    epochs: list = field(default_factory=list)


class _Flawed:
    """A trainer that breaks the contract in one way; trains by the real one."""

    def __init__(self, flaw, model):
        self.flaw, self.model, self.calls = flaw, model, 0
        self.inner = TestStacked.trainer.create(model)

    def train(self, data, seed, initial, progress, context=None):  # noqa: C901, PLR0912
        data = list(data)
        if self.flaw == "takes NaN":
            data = [
                item
                for item in data
                if np.isfinite(item.label.energy)
                and (item.label.forces is None or np.isfinite(item.label.forces).all())
            ]
        if self.flaw == "needs forces" and data[0].label.forces is None:
            raise AssertionError("no forces")
        if self.flaw == "one seed":
            seed = 1
        if self.flaw == "by the clock":
            _Flawed.clock += 1
            seed += _Flawed.clock
        if self.flaw == "always cold":
            initial = None
        if self.flaw == "fails":
            return Failure(FailureKind.DIVERGED, "it diverged")
        if self.flaw == "lazy":
            return Bare(initial or self.model.create([1, 8], seed).to_bytes())
        told = (lambda _: None) if self.flaw == "silent" else progress
        if self.flaw == "trusts checkpoints" and context and context.checkpoint():
            seed = context.checkpoint()[0]
        result = self.inner.train(data, seed, initial, told)
        if self.flaw == "trusts checkpoints" and context:
            context.save_checkpoint(bytes([seed]))
        if self.flaw == "forgets members":
            result.members.pop()
        if self.flaw == "NaN metrics":
            result.epochs[0]["loss"] = float("nan")
        if self.flaw == "keeps the parent" and initial is not None:
            return Bare(initial, result.members, result.epochs)
        if self.flaw == "numbers labels anew":
            result.held_out.label_id[:] = np.arange(len(data))
        return result

    clock = 0


class _FlawedSettings:
    def __init__(self, flaw):
        self.flaw = flaw

    def create(self, model):
        return _Flawed(self.flaw, model)


@pytest.mark.parametrize(
    ("flaw", "test"),
    [
        ("by the clock", "test_the_same_seed_gives_the_same_bytes"),
        ("one seed", "test_another_seed_gives_other_weights"),
        ("always cold", "test_a_warm_start_begins_at_the_parent"),
        ("keeps the parent", "test_a_warm_start_begins_at_the_parent"),
        ("takes NaN", "test_labels_that_are_no_numbers_are_refused"),
        ("silent", "test_progress_is_told"),
        (
            "trusts checkpoints",
            "test_a_training_goes_on_where_it_was_interrupted",
        ),
        ("forgets members", "test_the_result_has_its_parts"),
        ("numbers labels anew", "test_errors_are_told_by_label"),
        ("NaN metrics", "test_the_result_has_its_parts"),
        ("lazy", "test_the_labels_decide_the_weights"),
        ("fails", "test_the_result_has_its_parts"),
        ("needs forces", "test_energies_alone_can_be_trained_on"),
    ],
)
def test_a_flaw_of_a_trainer_is_caught(flaw, test):
    class Broken(TestStacked):
        trainer = _FlawedSettings(flaw)

    with pytest.raises(AssertionError):
        getattr(Broken(), test)()


def test_a_trainer_that_never_starts_warm_may_say_so():
    class Cold(TestStacked):
        trainer = _FlawedSettings("always cold")
        uses_initial = False

    Cold().test_a_warm_start_begins_at_the_parent()


def test_sample_labels_are_consistent():
    item = samples.labelled(("H", "O"), 3)[2]
    found = item.label.forces
    assert np.abs(found).max() > 0.01
    step = 1e-5
    for atom, axis in np.ndindex(found.shape):
        energies = []
        for sign in (1, -1):
            positions = item.structure.positions.copy()
            positions[atom, axis] += sign * step
            energies.append(_energy(Structure(item.structure.numbers, positions)))
        slope = (energies[0] - energies[1]) / (2 * step)
        assert abs(found[atom, axis] + slope) < 1e-6


def _energy(structure):
    """The energy of the samples once more, pair by pair."""
    rest = samples.spacing_A(("H", "O"))
    energy = -10.0 * float(structure.numbers.astype(float).sum())
    for i in range(structure.n_atoms):
        for j in range(i):
            r = np.linalg.norm(structure.positions[i] - structure.positions[j])
            weight = np.exp(-((r / rest) ** 2))
            energy += 0.5 * samples.STIFFNESS_EV_PER_A2 * weight * (r - rest) ** 2
    return energy


def test_gupta_gives_no_number_for_what_is_no_number():
    from dataclasses import replace

    import torch

    from alflow.models.neighbours import neighbour_pairs
    from alflow.models.potential import Batch

    potential = GuptaPotential.published("Al")
    fine = samples.a_structure(("Al",), 4)
    batch = Batch.from_structures([fine, fine])
    positions = batch.positions.clone()
    positions[1] = torch.inf
    batch = replace(batch, positions=positions)
    found = potential.evaluate(batch, neighbour_pairs(batch, potential.cutoff_A))
    assert found.energies.isnan().tolist() == [[True, False]]
    assert found.forces[:4].isnan().all()
    assert found.forces[4:].isfinite().all()


def test_unknown_names_of_the_package_are_unknown():
    import alflow.testing

    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        alflow.testing.Nothing  # noqa: B018
    with pytest.raises(SettingsError):
        samples.numbers_of(("Xx",))
