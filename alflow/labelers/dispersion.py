"""Dispersion corrections D3 and D4 to the energy of a functional, with pyscf-dispersion.

They are functions of the geometry and of parameters that were fitted to one functional. Names are
where it goes wrong: the parameters called wb97x belong to another functional than wb97x.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from alflow.core.elements import SYMBOLS
from alflow.core.errors import SettingsError, SiteError
from alflow.labelers.engine import load

Model = Literal["d3bj", "d3zero", "d4"]
"""D3 with rational (Becke-Johnson) or zero damping, both without three-body terms, as is usual;
D4 with them."""

_PARAMETERS = {"b3lypg": "b3lyp", "b3lyp5": "b3lyp"}
"""Parameters by functional where the names differ; the flavours of B3LYP share theirs."""
_D4_PARAMETERS = {**_PARAMETERS, "wb97x": "wb97x-2008"}
_OTHER_FUNCTIONAL = re.compile(r"^w?b97")
"""Of the B97 family the functional was fitted anew together with its dispersion (wB97X-D3), or has
non-local correlation in its place (wB97X-V): the parameters of the name are for that one."""


_HEAVIEST = {"d3bj": 94, "d3zero": 94, "d4": 86}
"""Plutonium and radon. The libraries do not refuse heavier ones; some make them end the process."""


@dataclass(frozen=True, slots=True)
class Dispersion:
    """A correction that is resolved.

    Attributes:
        model: Which one.
        parameters: Name of its parameters.
    """

    model: Model
    parameters: str

    @property
    def has_three_body(self) -> bool:
        """Whether triples of atoms count."""
        return self.model == "d4"


def resolve(model: Model, method: str) -> Dispersion:
    """The correction that goes with a (canonical) method.

    Raises:
        SettingsError: If its parameters are those of another functional.
    """
    known = _D4_PARAMETERS if model == "d4" else _PARAMETERS
    if _OTHER_FUNCTIONAL.match(method) and method not in known:
        hint = "wb97x has parameters of its own for d4" if method == "wb97x" else ""
        raise SettingsError(
            f"{model} has no parameters for the functional {method!r}: those of that name were "
            "made for another one, such as wB97X-V without its non-local part, or wB97X-D3",
            next_step=hint or "take another functional, for example pbe0 or b3lyp",
        )
    return Dispersion(model, known.get(method, method))


def check(what: Dispersion, numbers: Iterable[int] = (1,)) -> None:
    """Refuse a correction that does not exist for a functional or for elements.

    Args:
        what: The correction.
        numbers: Atomic numbers.

    Raises:
        SettingsError: If it has no parameters for the functional, or does not know an element.
        SiteError: If pyscf-dispersion is not installed.
    """
    try:
        _correction(what, _hydrogen())
    except RuntimeError as error:
        raise SettingsError(
            f"{what.model} has no parameters for {what.parameters!r}: {error}",
            next_step="take another functional or another correction, or leave it out",
        ) from error
    missing = [SYMBOLS[number] for number in numbers if number > _HEAVIEST[what.model]]
    if missing:
        raise SettingsError(f"{what.model} does not know {', '.join(missing)}")


def correction(what: Dispersion, mol: Any) -> tuple[float, Float[np.ndarray, "atoms 3"]]:
    """Energy [Hartree] of a molecule and its gradient [Hartree/Bohr], (atoms, 3).

    Args:
        what: The correction.
        mol: The PySCF molecule; D4 depends on its charge.

    Raises:
        SettingsError: If it does not know an element.
        SiteError: If pyscf-dispersion is not installed.
    """
    # Charges would be without the electrons of core potentials.
    heaviest = max(SYMBOLS.index(mol.atom_pure_symbol(i)) for i in range(mol.natm))
    if heaviest > _HEAVIEST[what.model]:
        raise SettingsError(f"{what.model} does not know {SYMBOLS[heaviest]}")
    found = _correction(what, mol)
    return float(found["energy"]), np.asarray(found["gradient"], np.float64)


def version() -> str:
    """Name and version of the package.

    Raises:
        SiteError: If it is not installed.
    """
    try:
        return f"pyscf-dispersion {installed_version('pyscf-dispersion')}"
    except PackageNotFoundError as error:
        raise _missing() from error


def _correction(what: Dispersion, mol: Any) -> dict[str, Any]:
    module = "dftd4" if what.model == "d4" else "dftd3"
    try:
        library = load(f"pyscf.dispersion.{module}")
    except ModuleNotFoundError as error:
        raise _missing() from error
    if what.model == "d4":
        model = library.DFTD4Dispersion(mol, xc=what.parameters, atm=what.has_three_body)
    else:
        model = library.DFTD3Dispersion(
            mol, xc=what.parameters, version=what.model, atm=what.has_three_body
        )
    found: dict[str, Any] = model.get_dispersion(grad=True)
    return found


def _hydrogen() -> Any:
    return load("pyscf.gto").M(
        atom="H", basis="sto-3g", spin=1, verbose=0, dump_input=False, parse_arg=False
    )


def _missing() -> SiteError:
    return SiteError(
        "pyscf-dispersion is not installed here",
        code="AL201",
        next_step='python -m pip install "alflow[dispersion]"',
    )
