"""The ensemble as a potential, and its weights as bytes."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from alflow.core.errors import SettingsError
from alflow.core.structures import Structure
from alflow.models.ani.ensemble import AniEnsemble
from alflow.models.ani.settings import AniSettings
from alflow.models.headers import read_header
from alflow.models.neighbours import neighbour_pairs
from alflow.models.potential import Batch, Potential
from alflow.models.weights import read_tensors, write_weights

SMALL = {
    "members": 3,
    "hidden": (8, 6),
    "radial_cutoff_A": 5.0,
    "angular_cutoff_A": 3.5,
    "radial_shifts": 6,
    "angular_shifts": 3,
}


@pytest.fixture(scope="module")
def ensemble():
    made = AniSettings(dtype="float64", **SMALL).create((1, 6, 8), seed=7)
    made.self_energies = {1: -16.0, 6: -1036.0, 8: -2046.0}
    return made


def test_it_is_a_potential(ensemble):
    potential: Potential = ensemble
    assert potential.n_members == 3
    assert potential.cutoff_A == 5.0
    assert potential.elements == (1, 6, 8)
    assert potential.dtype == torch.float64
    assert potential.device == torch.device("cpu")


def test_the_mean_force_is_the_mean_of_the_members(ensemble, mixed_batch, mixed_pairs):
    mean = ensemble.evaluate(mixed_batch, mixed_pairs)
    members = ensemble.evaluate(mixed_batch, mixed_pairs, forces="members")
    energies = ensemble.evaluate(mixed_batch, mixed_pairs, forces="none")
    assert mean.member_forces is None
    assert members.forces is None
    assert energies.forces is None
    assert torch.equal(mean.energies, members.energies)
    torch.testing.assert_close(energies.energies, members.energies)
    torch.testing.assert_close(mean.forces, members.member_forces.mean(0))
    assert members.force_spread().max() > 0
    assert members.energy_spread().max() > 0


def test_self_energies_are_added_in_double(mixed_batch, mixed_pairs):
    single = AniSettings(**SMALL).create((1, 6, 8), seed=7)
    without = single.evaluate(mixed_batch, mixed_pairs, forces="none").energies
    single.self_energies = {1: -16.125, 6: -1036.25, 8: -2046.5}
    with_them = single.evaluate(mixed_batch, mixed_pairs, forces="none").energies
    own = torch.tensor(
        [single.self_energies[z] for z in mixed_batch.numbers.tolist()], dtype=torch.float64
    )
    expected = torch.zeros(mixed_batch.n_systems, dtype=torch.float64)
    expected.index_add_(0, mixed_batch.system_idx, own)
    torch.testing.assert_close(
        with_them - without, expected.expand(3, -1), rtol=0, atol=1e-11
    )
    assert with_them.dtype == torch.float64


def test_a_batch_can_be_in_either_precision(mixed_structures):
    single = AniSettings(**SMALL).create((1, 6, 8), seed=7)
    found = []
    for dtype in (torch.float32, torch.float64):
        batch = Batch.from_structures(mixed_structures, dtype=dtype)
        result = single.evaluate(batch, neighbour_pairs(batch, 5.0))
        assert result.forces.dtype == dtype
        found.append(result)
    assert (found[0].energies - found[1].energies).abs().max() < 1e-4
    assert (found[0].forces - found[1].forces).abs().max() < 1e-3


@pytest.mark.parametrize("forces", ["none", "mean", "members"])
def test_a_coordinate_that_is_not_finite_gives_nan(
    ensemble, mixed_batch, mixed_pairs, forces
):
    """Also with a list from before it happened, as molecular dynamics has it."""
    positions = mixed_batch.positions.clone()
    positions[9, 1] = torch.nan
    broken = dataclasses.replace(mixed_batch, positions=positions)
    intact = ensemble.evaluate(mixed_batch, mixed_pairs, forces=forces)
    spoilt = torch.arange(mixed_batch.n_systems) == 2
    atoms = mixed_batch.system_idx == 2
    for pairs in (mixed_pairs, neighbour_pairs(broken, 6.0)):
        result = ensemble.evaluate(broken, pairs, forces=forces)
        assert result.energies[:, spoilt].isnan().all()
        torch.testing.assert_close(result.energies[:, ~spoilt], intact.energies[:, ~spoilt])
        for found, expected in (
            (result.forces, intact.forces),
            (result.member_forces, intact.member_forces),
        ):
            if found is not None:
                assert found[..., atoms, :].isnan().all()
                torch.testing.assert_close(found[..., ~atoms, :], expected[..., ~atoms, :])
        fingerprint = ensemble.fingerprint(broken, pairs)
        assert fingerprint[spoilt].isnan().all()
        assert fingerprint[~spoilt].isfinite().all()


def test_atoms_on_top_of_each_other_are_not_trusted(ensemble):
    numbers = np.array([1, 1, 8], np.uint8)
    on_top = Structure(numbers, np.array([[0.0, 0, 0], [0, 0, 0], [1, 0, 0]]))
    batch = Batch.from_structures([on_top])
    result = ensemble.evaluate(batch, neighbour_pairs(batch, 5.0))
    assert not result.energies.isfinite().any()


def test_an_unknown_element_is_named(ensemble):
    batch = Batch.from_structures([Structure(np.array([13], np.uint8), np.zeros((1, 3)))])
    with pytest.raises(SettingsError, match="does not know Al"):
        ensemble.evaluate(batch, neighbour_pairs(batch, 5.0))


def test_an_isolated_atom_has_no_force(ensemble):
    batch = Batch.from_structures([Structure(np.array([6], np.uint8), np.ones((1, 3)))])
    result = ensemble.evaluate(batch, neighbour_pairs(batch, 5.0), forces="members")
    assert (result.member_forces == 0).all()
    assert result.energies.isfinite().all()


def test_evaluation_keeps_no_graph(ensemble, mixed_batch, mixed_pairs):
    result = ensemble.evaluate(mixed_batch, mixed_pairs, forces="members")
    assert not result.energies.requires_grad
    assert not result.member_forces.requires_grad


def test_the_fingerprint_is_size_consistent(ensemble, mixed_structures):
    crystal = mixed_structures[2]
    doubled = Structure(
        np.tile(crystal.numbers, 2),
        np.vstack([crystal.positions, crystal.positions + crystal.cell[0]]),
        crystal.cell * np.array([[2], [1], [1]]),
        crystal.pbc,
    )
    batch = Batch.from_structures([crystal, doubled, mixed_structures[0]])
    found = ensemble.fingerprint(batch, neighbour_pairs(batch, 5.0))
    assert found.shape == (3, 3 * ensemble.descriptor.n_features)
    torch.testing.assert_close(found[0], found[1])
    assert (found[0] - found[2]).abs().max() > 1e-2


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bytes_round_trip(dtype, mixed_batch, mixed_pairs):
    made = AniSettings(dtype=dtype, activation="gelu", **SMALL).create((8, 1, 6), seed=3)
    made.self_energies = {1: -0.1, 6: 1 / 3, 8: -2046.0}
    n_features = made.descriptor.n_features
    made.networks.standardise(torch.rand(3, n_features), torch.rand(3, n_features) + 1)
    content = made.to_bytes({"training_digest": "d7", "note": "Å"})
    read = AniEnsemble.from_bytes(content)
    assert read.metadata == {"training_digest": "d7", "note": "Å"}
    assert read.self_energies == made.self_energies
    assert read.descriptor.constants == made.descriptor.constants
    assert read.to_bytes(read.metadata) == content
    one, other = (
        e.evaluate(mixed_batch, mixed_pairs, forces="members") for e in (made, read)
    )
    assert torch.equal(one.energies, other.energies)
    assert torch.equal(one.member_forces, other.member_forces)
    assert all(parameter.requires_grad for parameter in read.networks.parameters())


def test_the_header_says_what_it_is(ensemble):
    header = read_header(ensemble.to_bytes())
    assert header["family"] == "ani"
    assert header["format_version"] == "1"
    ani = json.loads(header["ani"])
    assert ani["elements"] == ["H", "C", "O"]
    assert ani["units"] == {"energy": "eV", "length": "Å"}


def test_the_same_seed_gives_the_same_bytes():
    settings = AniSettings(**SMALL)
    assert settings.create((1, 8), 5).to_bytes() == settings.create((8, 1, 1), 5).to_bytes()
    assert settings.create((1, 8), 5).to_bytes() != settings.create((1, 8), 6).to_bytes()


def changed(ensemble, *, header=None, ani=None, tensors=None):
    content = ensemble.to_bytes()
    strings = {**read_header(content), **(header or {})}
    if ani is not None:
        strings["ani"] = json.dumps({**json.loads(strings["ani"]), **ani})
    kept = {
        k: v
        for k, v in {**read_tensors(content), **(tensors or {})}.items()
        if v is not None
    }
    return write_weights(kept, strings)


@pytest.mark.parametrize(
    "change",
    [
        {"header": {"format_version": "2"}},
        {"header": {"family": "hipnn"}},
        {"header": {"ani": "[]"}},
        {"header": {"ani": "{"}},
        {"header": {"metadata": "3"}},
        {"ani": {"activation": "tanh"}},
        {"ani": {"units": {"energy": "Ha", "length": "Å"}}},
        {"ani": {"elements": ["H", "C"]}},
        {"ani": {"elements": ["H", "C", "Xx"]}},
        {"ani": {"elements": []}},
        {"ani": {"elements": [1, 2, 3]}},
        {"ani": {"elements": ["H", "C", "C"]}},
        {"ani": {"descriptor": {}}},
        {"ani": {"self_energies": {"H": 1.0}}},
        {"ani": {"self_energies": {"H": 1.0, "C": float("nan"), "O": 1.0}}},
        {"tensors": {"H.0.weight": None}},
        {"tensors": {"extra": torch.zeros(1, dtype=torch.float64)}},
        {"tensors": {"H.0.bias": torch.zeros(3, 9, dtype=torch.float64)}},
        {"tensors": {"H.0.bias": torch.zeros(3, dtype=torch.float64)}},
        {"tensors": {"H.0.bias": torch.zeros(3, 8)}},
        {"tensors": {"feature_mean": torch.zeros(1, 1, dtype=torch.float64)}},
        {"tensors": {"H.2.weight": torch.zeros(3, 6, 2, dtype=torch.float64)}},
    ],
)
def test_weights_that_do_not_fit_are_refused(ensemble, change):
    with pytest.raises(SettingsError):
        AniEnsemble.from_bytes(changed(ensemble, **change))
