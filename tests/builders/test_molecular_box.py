"""Molecules in boxes: density, whole molecules, no contact that is too close."""

import ase
import ase.io
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alflow import registry
from alflow.builders.geometry import separations
from alflow.builders.molecular_box import MolecularBoxSettings
from alflow.builders.species import by_smiles
from alflow.core.elements import COVALENT_RADII_A
from alflow.core.errors import SettingsError

WATER = {"smiles": ("O",), "density_g_per_cm3": (0.8, 1.1)}


def built(seed: int = 0, count: int = 3, **changes):
    given = {**WATER, **changes}
    builder = MolecularBoxSettings(**given).create()
    return builder.build(np.random.default_rng(seed), count)


def closest_between(box, size: int):
    """Shortest distances between molecules of so many atoms, images included, by elements."""
    distances = np.linalg.norm(separations(box.positions, box.cell), axis=-1)
    direct = np.linalg.norm(box.positions[:, None] - box.positions, axis=-1)
    owner = np.arange(box.n_atoms) // size
    is_own = (owner[:, None] == owner) & (np.abs(distances - direct) < 1e-6)
    return np.where(is_own, np.inf, distances).min(axis=0)


def test_entry_point_finds_it():
    assert registry.find("builders", "molecular_box") is MolecularBoxSettings


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    few=st.sampled_from([1, 2, 8]),
    smiles=st.sampled_from(["O", "CCO", "c1ccccc1"]),
    density=st.floats(0.4, 0.9),
    contact=st.floats(1.4, 1.9),
)
def test_boxes_keep_density_molecules_and_distances(seed, few, smiles, density, contact):
    (box,) = built(
        seed, 1, smiles=(smiles,), density_g_per_cm3=(density, density + 0.1),
        contact_A=(contact, contact + 0.3), rattle_A=(0, 0),
        molecules_per_structure=(few, 2 * few),
    )  # fmt: skip
    assert box.pbc.all()
    assert np.linalg.det(box.cell) > 0
    assert density - 1e-6 <= box.density_g_per_cm3 <= density + 0.1 + 1e-6
    edges = np.diag(box.cell)
    assert edges.max() / edges.min() <= 1.25 + 1e-6
    molecule = by_smiles(smiles)
    assert few <= box.n_atoms / molecule.n_atoms <= 2 * few
    parts = box.positions.reshape(-1, molecule.n_atoms, 3)
    bonds = np.linalg.norm(parts[:, :, None] - parts[:, None], axis=-1)
    known = np.linalg.norm(molecule.positions[:, None] - molecule.positions, axis=-1)
    assert bonds == pytest.approx(np.broadcast_to(known, bonds.shape), abs=1e-6)
    radii = COVALENT_RADII_A[box.numbers]
    limits = np.maximum(contact, 1.15 * (radii[:, None] + radii))
    assert (closest_between(box, molecule.n_atoms) >= limits - 1e-6).all()


def test_no_mirror_images_of_molecules():
    alcohol = by_smiles("CC(C)O")
    for box in built(smiles=("CC(C)O",), density_g_per_cm3=(0.7, 0.8), rattle_A=(0, 0)):
        for part in box.positions.reshape(-1, alcohol.n_atoms, 3):
            volume = np.linalg.det(part[1:4] - part[0])
            known = np.linalg.det(alcohol.positions[1:4] - alcohol.positions[0])
            assert volume == pytest.approx(known, abs=1e-5)


def test_contacts_are_drawn_from_the_range():
    boxes = built(count=12, density_g_per_cm3=(0.5, 0.5), contact_A=(1.6, 2.4))
    closest = [closest_between(box, 3).min() for box in boxes]
    assert 1.6 - 1e-6 <= min(closest) < 1.9
    assert 2.1 < max(closest) < 2.5


def test_mixtures_charges_and_spins(tmp_path):
    ion = ase.Atoms("Na", info={"charge": 1})
    ase.io.write(tmp_path / "ion.xyz", ion, format="extxyz")
    boxes = built(count=4, files=[tmp_path / "ion.xyz"])
    for box in boxes:
        assert box.charge == (box.numbers == 11).sum()
        assert box.multiplicity == 1
    assert len({box.formula for box in boxes}) > 1


def test_same_generator_state_gives_the_same_boxes():
    assert built(3) == built(3)
    assert built(3) != built(4)
    assert built(count=0) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"density_g_per_cm3": (9, 9), "molecules_per_structure": (9, 9)},
            r"9 molecules at 9\.00 g/cm³ cannot all be 1\.6 Å apart",
        ),
        ({"molecules_per_structure": (1, 1), "density_g_per_cm3": (9, 9)}, "or take more"),
        ({"names": ("CH5",)}, "did you mean"),
    ],
)
def test_what_cannot_be_built_is_told(changes, words):
    with pytest.raises(SettingsError, match=words):
        built(**changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"smiles": ()}, "smiles, names or files"),
        ({"density_g_per_cm3": (0, 1)}, "above zero"),
        ({"aspect_ratio": (0.5, 1)}, "at least 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        MolecularBoxSettings(**{**WATER, **changes})
