"""The adapter for TorchSim; skipped where it is not installed."""

import sys
import warnings

import numpy as np
import pytest
import torch
from ase.build import bulk, molecule

from alflow.core.errors import PluginError, SettingsError
from alflow.models.ani.ensemble import fresh_ensemble
from alflow.models.ani.settings import AniSettings
from alflow.models.gupta import GuptaPotential, published_parameters
from alflow.models.neighbours import neighbour_pairs
from alflow.models.potential import Batch

with warnings.catch_warnings():
    # it scripts functions when it is imported, which torch has deprecated
    warnings.simplefilter("ignore")
    ts = pytest.importorskip("torch_sim", exc_type=ImportError)
    from torch_sim.models.interface import validate_model_outputs

    from alflow.md.torch_sim import TorchSimModel

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


class Plain:
    """A potential without a stress of its own."""

    def __init__(self, potential):
        self.potential = potential

    def __getattr__(self, name):
        if name == "stresses":
            raise AttributeError(name)
        return getattr(self.potential, name)


def rattled(atoms, seed, scale=1.0):
    atoms.set_cell(atoms.cell[:] * scale, scale_atoms=True)
    atoms.rattle(0.1, rng=np.random.default_rng(seed))
    return atoms


@pytest.fixture
def crystals():
    """Aluminium: cells of different sizes, none of them with right angles only."""
    cells = [
        rattled(bulk("Al", a=4.05).repeat((2, 2, 2)), 1),
        rattled(bulk("Al", a=4.05, cubic=True), 2, 0.95),
        rattled(bulk("Al", a=4.05).repeat((3, 1, 2)), 3, 1.04),
    ]
    cells[1].set_cell(
        cells[1].cell[:] @ (np.eye(3) + 0.03 * np.tri(3, k=-1)), scale_atoms=True
    )
    return cells


def state_of(atoms):
    return ts.io.atoms_to_state(atoms, torch.device("cpu"), torch.float64)


def batch_of(atoms):
    sizes = torch.tensor([len(one) for one in atoms])
    return Batch(
        torch.tensor(np.concatenate([one.positions for one in atoms])),
        torch.tensor(np.concatenate([one.numbers for one in atoms])),
        torch.repeat_interleave(torch.arange(len(atoms)), sizes),
        torch.tensor(np.array([one.cell[:] for one in atoms])),
        torch.tensor(np.array([one.pbc for one in atoms])),
    )


def ensemble(elements, dtype="float64"):
    settings = AniSettings(
        members=3, hidden=(8,), dtype=dtype, radial_cutoff_A=5.0, angular_cutoff_A=3.5
    )
    return fresh_ensemble(settings, elements, 3)


def test_torchsim_itself_finds_nothing_wrong():
    model = TorchSimModel(ensemble([1, 6, 12, 14, 26]))
    validate_model_outputs(model, torch.device("cpu"), torch.float64)
    assert model.compute_stress


def test_energies_forces_and_spreads_are_those_of_the_ensemble(crystals):
    potential = ensemble([13])
    batch = batch_of(crystals)
    expected = potential.evaluate(batch, neighbour_pairs(batch, 5.0), forces="members")
    found = TorchSimModel(potential)(state_of(crystals))
    sizes = torch.tensor([len(one) for one in crystals])
    torch.testing.assert_close(found["energy"], expected.energies.mean(0))
    torch.testing.assert_close(found["member_energies"], expected.energies.T)
    torch.testing.assert_close(found["forces"], expected.member_forces.mean(0))
    torch.testing.assert_close(found["force_spread"], expected.force_spread())
    spread = expected.energy_spread() / sizes.sqrt()
    torch.testing.assert_close(found["energy_spread"], spread)
    assert found["energy_spread"].min() > 0


def test_only_what_is_asked_for_is_computed(crystals):
    state, potential = state_of(crystals), ensemble([13])
    mean = TorchSimModel(potential, spread="mean")(state)
    full = TorchSimModel(potential)(state)
    assert "force_spread" not in mean
    torch.testing.assert_close(mean["forces"], full["forces"])
    assert "forces" not in TorchSimModel(potential, compute_forces=False)(state)
    assert "stress" not in full


def test_the_stress_is_that_of_the_virial(crystals):
    potential, state = GuptaPotential(published_parameters(["Al"])), state_of(crystals)
    exact = TorchSimModel(potential, compute_stress=True)(state)["stress"]
    measured = TorchSimModel(Plain(potential), compute_stress=True)(state)["stress"]
    assert exact.abs().max() > 0.01
    torch.testing.assert_close(measured, exact, rtol=1e-5, atol=1e-7)
    assert (exact - exact.transpose(1, 2)).abs().max() < 1e-12


def test_a_molecule_has_no_stress():
    state = state_of([molecule("CH4"), molecule("C2H6")])
    found = TorchSimModel(ensemble([1, 6]), compute_stress=True)(state)
    assert found["stress"].abs().max() == 0
    assert found["energy"].shape == (2,)


def test_single_precision_is_served_in_double_precision(crystals):
    state = state_of(crystals)
    single = TorchSimModel(ensemble([13], "float32"), compute_stress=True)(state)
    double = TorchSimModel(ensemble([13]), compute_stress=True)(state)
    assert {value.dtype for value in single.values()} == {torch.float64}
    assert single.keys() == double.keys()


def test_an_unknown_element_is_told():
    model = TorchSimModel(ensemble([13]))
    with pytest.raises(SettingsError, match="does not know H, C; it knows Al"):
        model(state_of([molecule("CH4")]))


def test_a_list_that_is_kept_is_as_good_as_a_new_one(crystals):
    potential = GuptaPotential(published_parameters(["Al"]))
    kept, stream = TorchSimModel(potential), np.random.default_rng(4)
    for atoms in crystals:
        atoms.wrap()
    for length in (0.0, 0.02, 0.02, 0.4, 3.0):
        for atoms in crystals:
            atoms.positions += stream.normal(size=atoms.positions.shape) * length / 3
        found = kept(state_of(crystals))
        fresh = TorchSimModel(potential)(state_of(crystals))
        torch.testing.assert_close(found["forces"], fresh["forces"], rtol=1e-9, atol=1e-9)
    fewer = kept(state_of(crystals[:2]))
    torch.testing.assert_close(fewer["energy"], found["energy"][:2])
    crystals[0].set_cell(crystals[0].cell[:] * 1.1, scale_atoms=True)
    wider = kept(state_of(crystals))
    assert wider["energy"][0] != found["energy"][0]
    torch.testing.assert_close(wider["energy"][1:], found["energy"][1:])


def test_dynamics_keeps_the_energy(crystals):
    potential = GuptaPotential(published_parameters(["Al"]))
    model = TorchSimModel(potential, spread="mean")

    def energy(state):
        kinetic = ts.calc_kinetic_energy(
            masses=state.masses, momenta=state.momenta, system_idx=state.system_idx
        )
        return model(state)["energy"] + kinetic

    run = {"integrator": getattr(getattr(ts, "Integrator", ts), "nve", ts.integrators.nve)}
    options = {"temperature": 300.0, "timestep": 0.001}
    begun = ts.integrate(state_of(crystals), model, n_steps=1, **run, **options)
    ended = ts.integrate(begun, model, n_steps=60, **run, **options)
    assert (ended.positions - begun.positions).abs().max() > 0.05
    assert (energy(ended) - energy(begun)).abs().max() < 2e-3


def test_without_torchsim_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_sim.models.interface", None)
    monkeypatch.delitem(sys.modules, "alflow.md.torch_sim")
    with pytest.raises(PluginError) as caught:
        import alflow.md.torch_sim  # noqa: F401
    assert "alflow[torchsim]" in caught.value.next_step
