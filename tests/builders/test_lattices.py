"""What a crystal or slab has to say about its settings before anything is built."""

import ase.io
import numpy as np
import pytest
from ase import Atoms

from alflow.builders.crystal import CrystalSettings
from alflow.builders.slab import SlabSettings

AL = {"element": "Al", "lattice": "fcc", "lattice_A": 4.05}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (CrystalSettings(**AL), None),
        (CrystalSettings(**AL, atoms=(5, 7)), "no supercell of fcc Al"),
        (CrystalSettings(**AL, antisites=(0, 1)), "need a second element"),
        (CrystalSettings(path="absent.cif"), None),
        (SlabSettings(**AL), None),
        (SlabSettings(**AL, atoms=(5, 7)), "no slab of fcc Al"),
        (SlabSettings(**AL, guests=("Xx",)), None),
    ],
)
def test_what_cannot_be_built_is_known_before(settings, words):
    found = list(settings.problems(["Al"]))
    assert len(found) == (words is not None)
    assert all(words in one.message and one.path == () for one in found)


def test_elements_of_files_are_compared_with_the_system(tmp_path):
    cell = Atoms("NaCl", [[0, 0, 0], [2, 2, 2]], cell=4 * np.eye(3), pbc=True)
    ase.io.write(tmp_path / "salt.cif", cell)
    settings = CrystalSettings(path=tmp_path / "salt.cif")
    assert list(settings.problems(["Na", "Cl"])) == []
    (finding,) = settings.problems(["Na"])
    assert finding.path == ("path",)
    assert finding.message == "has Cl, which is not in system.elements [Na]"
