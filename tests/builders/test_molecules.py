"""Molecules and clusters: the right species, no accidental bonds, the asked contacts."""

import re

import ase
import ase.io
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alflow import registry
from alflow.builders.geometry import closest_ratio
from alflow.builders.molecules import MoleculesSettings
from alflow.builders.species import G2_NAME, by_smiles
from alflow.core.elements import COVALENT_RADII_A, SYMBOLS
from alflow.core.errors import SettingsError


def built(seed: int = 0, count: int = 5, **changes):
    return MoleculesSettings(**changes).create().build(np.random.default_rng(seed), count)


def test_entry_point_finds_it():
    assert registry.find("builders", "molecules") is MoleculesSettings


def test_the_smiles_o_is_water():
    for water in built(smiles=["O"], rattle_A=(0, 0)):
        assert water.formula == "H2O"
        assert not water.is_periodic
        assert (water.charge, water.multiplicity) == (0, 1)
        lengths = np.linalg.norm(water.positions[1:] - water.positions[0], axis=1)
        assert lengths == pytest.approx([0.969, 0.969], abs=0.002)


@pytest.mark.parametrize("smiles", G2_NAME)
def test_every_smiles_of_the_table_has_its_heavy_atoms(smiles):
    molecule = by_smiles(smiles)
    spelt = sorted(s.capitalize() for s in re.findall(r"Cl|Si|[BCNOPSF]|[cnos]", smiles))
    heavy = sorted(SYMBOLS[z] for z in molecule.numbers if z != 1)
    assert heavy == spelt
    assert (molecule.n_electrons - molecule.multiplicity) % 2 == 1


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), contact=st.floats(1.7, 2.5), width=st.floats(0, 1))
def test_clusters_touch_but_are_not_bonded(seed, contact, width):
    (cluster,) = built(
        seed, 1, smiles=["O", "CO"], molecules_per_structure=(3, 3), rattle_A=(0, 0.05),
        contact_A=(contact, contact + width),
    )  # fmt: skip
    sizes = [3 if z == 8 else 6 for z in cluster.numbers[[0]]]
    first = cluster.positions[: sizes[0]]
    rest = cluster.positions[sizes[0] :]
    closest = np.linalg.norm(first[:, None] - rest, axis=-1).min()
    assert closest >= contact - 1e-5
    assert closest_ratio(cluster.numbers, cluster.positions) > 0.65


def test_contact_is_what_was_asked_for():
    for pair in built(
        count=20, smiles=["O"], molecules_per_structure=(2, 2), contact_A=(2.0, 2.1)
    ):
        radii = COVALENT_RADII_A[pair.numbers]
        between = np.linalg.norm(
            pair.positions[:3, None] - pair.positions[None, 3:], axis=-1
        )
        limits = np.maximum(2.0, 1.15 * (radii[:3, None] + radii[None, 3:]))
        excess = (between - limits).min()
        assert -1e-5 <= excess <= 0.1 + 1e-5


def test_numbers_of_molecules_cover_the_range():
    sizes = {
        len(s.numbers) // 3
        for s in built(count=40, smiles=["O"], molecules_per_structure=(1, 3))
    }
    assert sizes == {1, 2, 3}


def test_same_generator_state_gives_the_same_molecules():
    options = {"smiles": ["O"], "molecules_per_structure": (1, 3)}
    assert built(4, **options) == built(4, **options)
    assert built(4, **options) != built(5, **options)
    assert built(count=0, **options) == []


def test_spins_and_charges_add_up(tmp_path):
    ion = ase.Atoms("OH", [[0, 0, 0], [0, 0, 0.97]], info={"charge": -1})
    ase.io.write(tmp_path / "ion.xyz", ion, format="extxyz")
    (pair,) = built(count=1, files=[tmp_path / "ion.xyz"], molecules_per_structure=(2, 2))
    assert (pair.charge, pair.multiplicity, pair.n_electrons) == (-2, 1, 20)
    (oxygen,) = built(count=1, names=["O2"])
    assert oxygen.multiplicity == 3
    (radicals,) = built(count=1, smiles=["[OH]"], molecules_per_structure=(2, 2))
    assert radicals.multiplicity == 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"smiles": ["CCCCCCO"]},
            r"'CCCCCCO' is not among the molecules.*\n.*\[H\]\[H\] C N O",
        ),
        ({"names": ["CH5"]}, "did you mean 'C2H5'"),
        ({"files": ["absent.xyz"]}, "not a file"),
    ],
)
def test_unknown_molecules_are_told_with_what_is_known(changes, words):
    with pytest.raises(SettingsError, match=words):
        MoleculesSettings(**changes).create()


def test_files_must_hold_molecules(tmp_path):
    (tmp_path / "bad.xyz").write_text("nonsense\n")
    with pytest.raises(SettingsError, match="cannot read"):
        MoleculesSettings(files=[tmp_path / "bad.xyz"]).create()
    ase.io.write(
        tmp_path / "cell.xyz", ase.Atoms("O", cell=np.eye(3) * 5, pbc=True), format="extxyz"
    )
    with pytest.raises(SettingsError, match="periodic"):
        MoleculesSettings(files=[tmp_path / "cell.xyz"]).create()


def test_settings_without_molecules_are_refused():
    with pytest.raises(ValueError, match="smiles, names or files"):
        MoleculesSettings()


def test_molecules_whose_atoms_overlap_are_told(tmp_path):
    ase.io.write(tmp_path / "fused.xyz", ase.Atoms("H2", [[0, 0, 0], [0, 0, 0.2]]))
    with pytest.raises(SettingsError, match="lower rattle_A"):
        built(files=[tmp_path / "fused.xyz"], rattle_A=(0, 0))
