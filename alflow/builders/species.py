"""Small molecules by SMILES: a table of common ones, not a parser.

Geometries are those of the G2 set that comes with ASE (optimised with MP2/6-31G*).
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alflow.builders.atoms import read_frames, structure_of
from alflow.core.errors import SettingsError, closest
from alflow.core.structures import Structure

G2_NAME = {
    "[H][H]": "H2",
    "C": "CH4",
    "N": "NH3",
    "O": "H2O",
    "F": "HF",
    "S": "SH2",
    "P": "PH3",
    "Cl": "HCl",
    "[SiH4]": "SiH4",
    "N#N": "N2",
    "O=O": "O2",
    "FF": "F2",
    "ClCl": "Cl2",
    "[C-]#[O+]": "CO",
    "O=C=O": "CO2",
    "O=S=O": "SO2",
    "S=C=S": "CS2",
    "O=C=S": "OCS",
    "[O-][O+]=O": "O3",
    "[N-]=[N+]=O": "N2O",
    "OO": "H2O2",
    "NN": "N2H4",
    "C#N": "HCN",
    "CC": "C2H6",
    "C=C": "C2H4",
    "C#C": "C2H2",
    "CCC": "C3H8",
    "C=CC": "C3H6_Cs",
    "C#CC": "C3H4_C3v",
    "C=C=C": "C3H4_D2d",
    "C1CC1": "C3H6_D3h",
    "CCCC": "trans-butane",
    "CC(C)C": "isobutane",
    "C=CC=C": "butadiene",
    "C1CCC1": "cyclobutane",
    "C1=CCC1": "cyclobutene",
    "c1ccccc1": "C6H6",
    "c1ccoc1": "C4H4O",
    "c1cc[nH]c1": "C4H4NH",
    "c1ccsc1": "C4H4S",
    "c1ccncc1": "C5H5N",
    "CO": "CH3OH",
    "CCO": "CH3CH2OH",
    "CC(C)O": "C2H6CHOH",
    "COC": "CH3OCH3",
    "C=O": "H2CO",
    "CC=O": "CH3CHO",
    "CC(C)=O": "CH3COCH3",
    "O=CC=O": "OCHCHO",
    "OC=O": "HCOOH",
    "COC=O": "HCOOCH3",
    "CC(=O)O": "CH3COOH",
    "CC(N)=O": "CH3CONH2",
    "CN": "H3CNH2",
    "CCN": "CH3CH2NH2",
    "CNC": "C2H6NH",
    "CN(C)C": "C3H9N",
    "CC#N": "CH3CN",
    "C[N+](=O)[O-]": "CH3NO2",
    "CS": "CH3SH",
    "CSC": "CH3SCH3",
    "CCl": "CH3Cl",
    "FC(F)(F)F": "CF4",
    "ClC(Cl)(Cl)Cl": "CCl4",
    "[H]": "H",
    "[OH]": "OH",
    "[CH3]": "CH3",
    "[NH2]": "NH2",
    "[N]=O": "NO",
}
"""Name in the G2 set by SMILES."""


def by_smiles(smiles: str) -> Structure:
    """The molecule that a SMILES of the table stands for, its centre of mass at the origin.

    Raises:
        SettingsError: If it is not in the table; says what is.
    """
    name = G2_NAME.get(smiles)
    if name is None:
        hint = closest(smiles, G2_NAME)
        raise SettingsError(
            f"the SMILES {smiles!r} is not among the molecules known here"
            + (f"; did you mean {hint!r}?" if hint else ""),
            consequence=f"Known: {' '.join(G2_NAME)}",
            next_step="give other molecules by 'names' (of ASE's G2 set) or 'files' (geometries)",
        )
    return by_name(name)


def by_name(name: str) -> Structure:
    """A molecule of ASE's G2 set, its centre of mass at the origin.

    Raises:
        SettingsError: If there is none of that name.
    """
    from ase.build import molecule as g2_molecule
    from ase.collections import g2

    if name not in g2.names:
        hint = closest(name, g2.names)
        raise SettingsError(
            f"there is no molecule {name!r} in the G2 set of ASE"
            + (f"; did you mean {hint!r}?" if hint else ""),
            consequence=f"Known: {' '.join(sorted(g2.names))}",
        )
    build: Callable[[str], Any] = g2_molecule
    return _centred([build(name)])[0]


def from_geometries(path: Path) -> list[Structure]:
    """All molecules in a file that ASE reads, each with its centre of mass at the origin.

    Raises:
        SettingsError: If the file cannot be read, or what is in it is periodic.
    """
    found = read_frames(path)
    if any(atoms.pbc.any() for atoms in found):
        raise SettingsError(f"{path} has periodic structures; molecules are not")
    return _centred(found)


def _centred(found: Sequence[Any]) -> list[Structure]:
    for atoms in found:
        atoms.positions -= np.asarray(atoms.get_center_of_mass())
    return [structure_of(atoms) for atoms in found]
