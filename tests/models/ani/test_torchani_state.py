"""State dicts of torchani: read and written with the same energies and forces."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from alflow.core.errors import SettingsError
from alflow.core.structures import Structure
from alflow.core.units import EV_PER_HARTREE
from alflow.models.ani import torchani_state
from alflow.models.ani.constants import ANI_1X, ANI_2X
from alflow.models.ani.ensemble import AniEnsemble
from alflow.models.ani.foreign import read_foreign
from alflow.models.ani.settings import AniSettings
from alflow.models.ani.torchani_state import Unsaid, read_torchani, write_torchani
from alflow.models.neighbours import neighbour_pairs
from alflow.models.potential import Batch
from alflow.models.weights import read_tensors, write_weights

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:torchani")
GUIDE = Path(__file__).parents[3] / "docs" / "guide.md"
SYMBOLS = {"ani1x": "HCNO", "ani2x": ("H", "C", "N", "O", "S", "F", "Cl")}
NUMBERS = {"ani1x": [1, 6, 7, 8], "ani2x": [1, 6, 7, 8, 16, 9, 17]}


def published(kind, members=2, *, dtype=torch.float64, **changes):
    """torchani's model of a published shape with random weights and small self energies."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchani.arch import Assembler

        torch.manual_seed(3)
        asm = Assembler()
        asm.set_symbols(tuple(SYMBOLS[kind]))
        asm.set_atomic_networks(ctor=kind, **changes)
        asm.set_global_cutoff_fn("cosine")
        asm.set_aev_computer(angular=kind, radial=kind)
        asm.set_neighborlist("all_pairs")
        asm.set_self_energies({s: -0.5 - 0.1 * k for k, s in enumerate(SYMBOLS[kind])})
        return asm.assemble(members).to(dtype)


def a_molecule(numbers, seed=0):
    """Atoms at random, none within 1 Å of another, every element there twice."""
    rng = np.random.default_rng(seed)
    chosen = np.array([*numbers, *numbers], np.uint8)
    places = []
    while len(places) < len(chosen):
        trial = rng.uniform(0, 5.0, 3)
        if all(np.linalg.norm(trial - other) > 1.0 for other in places):
            places.append(trial)
    return Structure(chosen, np.array(places))


def theirs(model, structure, dtype=torch.float64):
    """Energies and forces of all members by torchani [eV, eV/Å]."""
    numbers = torch.tensor(structure.numbers[None].astype(int))
    positions = torch.tensor(structure.positions[None], dtype=dtype, requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        energies = model((numbers, positions), ensemble_values=True).energies[:, 0]
        forces = [
            -torch.autograd.grad(e, positions, retain_graph=True)[0][0] for e in energies
        ]
    return energies.detach() * EV_PER_HARTREE, torch.stack(forces) * EV_PER_HARTREE


def ours(ensemble, structure):
    batch = Batch.from_structures([structure])
    found = ensemble.evaluate(
        batch, neighbour_pairs(batch, ensemble.cutoff_A), forces="members"
    )
    return found.energies[:, 0], found.member_forces


def saved(model, tmp_path):
    """What a user does with a model of torchani."""
    path = tmp_path / "model.safetensors"
    save_file(model.state_dict(), path)
    return path


@pytest.mark.parametrize("kind", ["ani1x", "ani2x"])
@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-7), (torch.float32, 2e-4)])
def test_published_shapes_read_agree_with_torchani(kind, dtype, close, tmp_path):
    model = published(kind, dtype=dtype)
    ensemble = read_foreign(saved(model, tmp_path))
    structure = a_molecule(NUMBERS[kind])
    for found, wanted in zip(
        ours(ensemble, structure), theirs(model, structure, dtype), strict=True
    ):
        assert (found - wanted).abs().max() < close
        assert wanted.abs().max() > 1e-3
    assert list(ensemble.elements) == NUMBERS[kind]
    assert (ensemble.dtype, ensemble.networks.activation) == (dtype, "celu")
    assert ensemble.metadata["imported_from"] == "torchani"
    if dtype == torch.float32:  # as they were meant, not as float32 rounds them
        known = {"ani1x": ANI_1X, "ani2x": ANI_2X}[kind]
        assert ensemble.descriptor.constants.radial_cutoff_A == known.radial_cutoff_A
        assert ensemble.descriptor.constants.angular_eta == known.angular_eta


def test_one_network_without_biases_and_with_another_activation_can_be_read(tmp_path):
    model = published("ani1x", 1, kwargs={"bias": False, "activation": "gelu"})
    path = saved(model, tmp_path)
    with pytest.raises(SettingsError, match="does not say its activation"):
        read_foreign(path)
    ensemble = read_foreign(path, Unsaid("gelu", "cosine"))
    assert ensemble.n_members == 1
    assert ensemble.networks.activation == "gelu"
    structure = a_molecule(NUMBERS["ani1x"])
    numbers = torch.tensor(structure.numbers[None].astype(int))
    wanted = model((numbers, torch.tensor(structure.positions[None]))).energies.detach()
    assert abs(float(ours(ensemble, structure)[0]) - float(wanted) * EV_PER_HARTREE) < 1e-9


def loaded_by_torchani(path):
    """The model that the code in the guide makes of an exported file."""
    code = re.search(
        r"<!-- torchani -->\n```python\n(.*?)```", GUIDE.read_text(), re.DOTALL
    )
    names = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(code[1].replace('"g3.safetensors"', repr(str(path))), names)
    return names["model"]


def an_ensemble(activation, dtype="float64", members=3):
    """Random weights, features standardised, biases and self energies that are not zero."""
    settings = AniSettings(
        repulsion=None,
        members=members, hidden=(12, 9), activation=activation, dtype=dtype
    )
    ensemble = settings.create([1, 8], 7)
    rng = torch.Generator().manual_seed(1)
    shape = ensemble.networks.feature_mean.shape
    for bias in ensemble.networks.biases:
        bias.data += torch.randn(bias.shape, generator=rng, dtype=bias.dtype)
    ensemble.networks.standardise(
        torch.rand(shape, generator=rng, dtype=ensemble.dtype),
        0.3 + torch.rand(shape, generator=rng, dtype=ensemble.dtype),
    )
    ensemble.self_energies = {1: -13.6123456789, 8: -2041.3987654321}
    return ensemble


@pytest.mark.parametrize("activation", ["silu", "celu", "gelu"])
def test_what_is_written_gives_the_same_energies_and_forces_in_torchani(
    activation, tmp_path
):
    ensemble = an_ensemble(activation)
    path = tmp_path / "model.safetensors"
    path.write_bytes(write_torchani(ensemble))
    structure = a_molecule([1, 8, 1])
    wanted = theirs(loaded_by_torchani(path), structure)
    for found, other in zip(ours(ensemble, structure), wanted, strict=True):
        assert (found - other).abs().max() < 1e-8
    again = read_torchani(path.read_bytes())
    for found, other in zip(ours(ensemble, structure), ours(again, structure), strict=True):
        assert (found - other).abs().max() < 1e-8
    assert again.descriptor.constants == ensemble.descriptor.constants


def test_single_precision_and_a_single_member_are_written_too(tmp_path):
    ensemble = an_ensemble("celu", "float32", members=2)
    again = read_torchani(write_torchani(ensemble))
    assert again.dtype == torch.float32
    structure = a_molecule([1, 8, 1])
    for found, other in zip(ours(ensemble, structure), ours(again, structure), strict=True):
        assert (found - other).abs().max() < 2e-4
    one = read_torchani(
        write_torchani(AniEnsemble.from_bytes(_first_member(ensemble).to_bytes()))
    )
    assert one.n_members == 1
    assert (ours(one, structure)[0] - ours(ensemble, structure)[0][0]).abs().max() < 2e-4


def _first_member(ensemble):
    from alflow.models.ani.network import StackedNetworks

    old = ensemble.networks
    networks = StackedNetworks(
        [w.detach()[:1].clone() for w in old.weights],
        [b.detach()[:1].clone() for b in old.biases],
        old.n_elements,
        old.activation,
    )
    networks.standardise(old.feature_mean, old.feature_scale)
    return AniEnsemble(ensemble.descriptor, networks, ensemble.self_energies)


def test_an_activation_that_torchani_lacks_is_refused(monkeypatch):
    monkeypatch.delitem(torchani_state.ACTIVATION_OF_TORCHANI, "silu")
    with pytest.raises(SettingsError, match="no activation 'silu'"):
        write_torchani(an_ensemble("silu"))


def test_an_exported_file_is_the_same_every_time():
    assert write_torchani(an_ensemble("celu")) == write_torchani(an_ensemble("celu"))


def changed(**changes):
    """A state dict with some tensors replaced, added, or left out (None)."""
    tensors = read_tensors(write_torchani(an_ensemble("celu"))) | changes
    return write_weights({k: t for k, t in tensors.items() if t is not None}, {})


AEV = "potentials.nnp.aev_computer."
FIRST = "potentials.nnp.neural_networks.members.0.atomics.H.layers.0.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"potentials.repulsion_xtb.y_ab": torch.ones(2)}, "beside its networks: repul"),
        ({"potentials.0.y_ab": torch.ones(2)}, "torchani before 2"),
        ({"aev_computer.EtaR": torch.ones(2)}, "torchani before 2"),
        ({"energy_shifter.self_energies": None}, "lacks energy_shifter"),
        ({"charges": torch.ones(2)}, "does not know: charges"),
        ({FIRST: None}, "lacks the layer"),
        ({FIRST: torch.full((12, 112), torch.nan).double()}, "not finite"),
        ({FIRST: torch.ones(12, 112)}, "have the types"),
        ({FIRST: torch.ones(5, 112).double()}, "differ between members"),
        ({f"{AEV}radial.eta": torch.ones(2)}, "radial_eta of this state dict has 2"),
        ({f"{AEV}radial.shifts": torch.tensor([1.0, 2.0, 4.0])}, "--radial-cutoff"),
        ({f"{AEV}angular.shifts": torch.tensor([1.0])}, "--angular-cutoff"),
        ({"atomic_numbers": torch.tensor([1, 200])}, "atomic number 200"),
        ({}, "--activation gelu"),
    ],
)
def test_what_cannot_be_read_is_named(change, message):
    with pytest.raises(SettingsError) as caught:
        read_torchani(changed(**change))
    assert message in f"{caught.value.message} {caught.value.next_step}"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (Unsaid("celu", "smooth"), "alflow knows 'cosine' alone"),
        (Unsaid("tanh", "cosine"), "no activation 'tanh'"),
    ],
)
def test_what_is_said_must_be_known(said, message):
    with pytest.raises(SettingsError, match=message):
        read_torchani(changed(), said)


def test_a_header_that_is_not_a_number_is_refused():
    tensors = read_tensors(write_torchani(an_ensemble("celu")))
    with pytest.raises(SettingsError, match="not a number"):
        read_torchani(write_weights(tensors, {"radial_cutoff_A": "wide"}))
