"""Published ANI ensembles, against torchani reading the same files."""

import bz2
import shutil
import warnings

import h5py
import numpy as np
import pytest
import torch

from alflow.core.errors import SettingsError
from alflow.core.structures import Structure
from alflow.core.units import EV_PER_HARTREE
from alflow.models.ani.constants import ANI_1X
from alflow.models.ani.ensemble import AniEnsemble
from alflow.models.ani.neurochem import read_neurochem
from alflow.models.neighbours import neighbour_pairs
from alflow.models.potential import Batch

SELF_ENERGIES_HARTREE = {
    1: -0.600952980000,
    6: -38.08316124000,
    7: -54.70775770000,
    8: -75.19446356000,
}


@pytest.fixture(scope="module")
def directory(reference_data):
    return reference_data / "ani-1x_8x"


@pytest.fixture(scope="module")
def ensemble(directory):
    return read_neurochem(directory, dtype=torch.float64)


@pytest.fixture(scope="module")
def dimers(reference_data):
    """Every eleventh dimer of S66x8 at one of its eight distances, with its energy [eV]."""
    with h5py.File(reference_data / "s66x8" / "s66x8_wb97x6-31gd.h5") as file:
        groups = list(next(iter(file.values())).values())[::11]
        return [
            (
                Structure(
                    np.array(
                        [{b"H": 1, b"C": 6, b"N": 7, b"O": 8}[s] for s in g["species"][()]],
                        np.uint8,
                    ),
                    g["coordinates"][k % 8].astype(float),
                ),
                g["energies"][k % 8] * EV_PER_HARTREE,
            )
            for k, g in enumerate(groups)
        ]


@pytest.fixture(scope="module")
def peer(directory):
    """torchani's energies and forces of all members [eV, eV/Å]."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchani import neurochem

        aev, symbols = neurochem.load_aev_computer_and_symbols(
            directory / "rHCNO-5.2R_16-3.5A_a4-8.params"
        )
        networks = neurochem.load_ensemble(symbols, directory / "train", 8).double()
    aev = aev.double()

    def evaluate(structure):
        species = torch.tensor([[{1: 0, 6: 1, 7: 2, 8: 3}[z] for z in structure.numbers]])
        positions = torch.tensor(structure.positions[None], requires_grad=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            descriptors = aev(species, positions)
            members = [member(species, descriptors) for member in networks.members]
        # torchani keeps self energies in single precision: 1e-4 eV would be lost.
        own = sum(SELF_ENERGIES_HARTREE[z] for z in structure.numbers)
        energies = (torch.cat(members) + own) * EV_PER_HARTREE
        forces = [
            -torch.autograd.grad(e, positions, retain_graph=True)[0][0] for e in energies
        ]
        return energies.detach(), torch.stack(forces)

    return evaluate


def test_every_member_agrees_with_torchani(ensemble, peer, dimers):
    structures = [structure for structure, _ in dimers]
    batch = Batch.from_structures(structures)
    result = ensemble.evaluate(batch, neighbour_pairs(batch, 5.2), forces="members")
    ends = torch.cumsum(batch.atoms_per_system, 0).tolist()
    for k, (structure, end) in enumerate(zip(structures, ends, strict=True)):
        energies, forces = peer(structure)
        assert (result.energies[:, k] - energies).abs().max() < 1e-5
        found = result.member_forces[:, end - structure.n_atoms : end]
        assert (found - forces).abs().max() < 1e-5


def test_single_precision_is_good_enough(directory, ensemble, dimers):
    batch = Batch.from_structures([structure for structure, _ in dimers])
    pairs = neighbour_pairs(batch, 5.2)
    single = read_neurochem(directory).evaluate(batch, pairs, forces="members")
    double = ensemble.evaluate(batch, pairs, forces="members")
    assert (single.energies - double.energies).abs().max() < 2e-4
    assert (single.member_forces - double.member_forces).abs().max() < 2e-4


def test_energies_are_those_of_the_quantum_chemistry(ensemble, dimers):
    """In the right units and with the right self energies: within a few kcal/mol."""
    batch = Batch.from_structures([structure for structure, _ in dimers])
    found = ensemble.evaluate(
        batch, neighbour_pairs(batch, 5.2), forces="none"
    ).energies.mean(0)
    errors = found.numpy() - np.array([energy for _, energy in dimers])
    assert np.sqrt(np.mean(errors**2)) < 0.2


def test_what_was_read(ensemble):
    assert ensemble.n_members == 8
    assert ensemble.elements == (1, 6, 7, 8)
    assert ensemble.self_energies[1] == pytest.approx(
        -0.60095298 * EV_PER_HARTREE, abs=1e-12
    )
    constants = ensemble.descriptor.constants
    assert constants.radial_shifts == pytest.approx(ANI_1X.radial_shifts)
    assert constants.angular_shifts == pytest.approx(ANI_1X.angular_shifts)
    assert constants.angular_sections == pytest.approx(ANI_1X.angular_sections)
    assert (constants.radial_eta, constants.angular_eta, constants.zeta) == (
        16.0,
        8.0,
        32.0,
    )


def test_it_can_be_kept_as_bytes(ensemble):
    content = ensemble.to_bytes({"source": "ani-1x_8x"})
    assert AniEnsemble.from_bytes(content).to_bytes({"source": "ani-1x_8x"}) == content


@pytest.fixture
def copy(directory, tmp_path):
    """One member, writable."""
    for name in ("rHCNO-5.2R_16-3.5A_a4-8.params", "sae_linfit.dat"):
        shutil.copyfile(directory / name, tmp_path / name)
    networks = tmp_path / "train0" / "networks"
    networks.mkdir(parents=True)
    for file in (directory / "train0" / "networks").iterdir():
        shutil.copyfile(file, networks / file.name)
    return tmp_path


def rewrite_nnf(copy, old, new):
    file = copy / "train0" / "networks" / "ANN-H.nnf"
    content = file.read_bytes()
    text = bz2.decompress(content[content.index(b"=") + 2 :])
    assert old in text
    file.write_bytes(b"9=\n" + bz2.compress(text.replace(old, new)))


def test_one_member_can_be_read(copy):
    assert read_neurochem(copy).n_members == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda copy: (copy / "sae_linfit.dat").unlink(),
        lambda copy: (copy / "sae_linfit.dat").write_text("H,0=-0.6\n"),
        lambda copy: (copy / "sae_linfit.dat").write_text("H,0=x\n"),
        lambda copy: next(copy.glob("*.params")).write_text("TM = 1\n"),
        lambda copy: (copy / "second.params").write_text(""),
        lambda copy: shutil.rmtree(copy / "train0"),
        lambda copy: (copy / "train0/networks/ANN-C.nnf").unlink(),
        lambda copy: (copy / "train0/networks/ANN-C.nnf").write_bytes(b"nonsense"),
        lambda copy: (copy / "train0/networks/ANN-C.nnf-l2.wparam").write_bytes(b"\0" * 8),
        lambda copy: (copy / "train0/networks/ANN-C.nnf-l2.wparam").write_bytes(b"\0" * 7),
        lambda copy: rewrite_nnf(copy, b"activation=9", b"activation=5"),
        lambda copy: rewrite_nnf(copy, b"FILE:ANN-H.nnf-l1.wparam", b"FILE:../../ANN-H"),
        lambda copy: rewrite_nnf(copy, b"blocksize=160", b"blocksize=16x"),
        lambda copy: rewrite_nnf(copy, b"layer", b"liar"),
    ],
)
def test_damaged_files_are_refused(copy, damage):
    damage(copy)
    with pytest.raises(SettingsError):
        read_neurochem(copy)
