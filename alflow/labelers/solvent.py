"""A solvent around a molecule, as a continuum, with PySCF."""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from alflow.core.errors import SettingsError, closest
from alflow.labelers.engine import load
from alflow.registry import Settings

PCM_ORDER, DDCOSMO_ORDER, SMD_POINTS = 29, 17, 590
"""Orders, and the number of points, of the Lebedev grids on the spheres of atoms. They are those
that PySCF takes today, spelt out because they are part of the level."""
DDCOSMO_MOMENTUM = 6
_NO_CHOICE = {
    "pcm": "programs differ in what they take for it: write ief-pcm (Gaussian's PCM), c-pcm "
    "(ORCA's CPCM, and PySCF's PCM), cosmo or ss(v)pe",
    "ddpcm": "PySCF has no forces of ddPCM: take ddcosmo or ief-pcm",
}
_PERMITTIVITY = 5
"""Where the permittivity stands among the descriptors of a solvent in PySCF's table."""


class Solvent(Settings):
    """A continuum around a molecule."""

    model: Literal["c-pcm", "ief-pcm", "ss(v)pe", "cosmo", "ddcosmo", "smd"]
    """`c-pcm`, `ief-pcm`, `ss(v)pe` and `cosmo`: polarizable continua with smooth surface charges;
    `ddcosmo`: domain-decomposed COSMO; `smd`: ief-pcm with terms for cavity, dispersion and the
    structure of the solvent, which make its energies free energies of solvation."""
    name: str | None = None
    """Solvent by its name in the tables of SMD, for example water or acetonitrile."""
    eps: float | None = Field(default=None, gt=1)
    """Relative permittivity, in place of a name; not enough for `smd`."""

    @field_validator("model", mode="before")
    @classmethod
    def _says_which(cls, model: Any) -> Any:
        if not isinstance(model, str):
            return model
        if (reason := _NO_CHOICE.get(model.lower())) is not None:
            raise ValueError(f"model: {model!r} cannot be used: {reason}")
        return model.lower()

    @field_validator("name")
    @classmethod
    def _spelling(cls, name: str | None) -> str | None:
        return None if name is None else name.strip().lower()

    @model_validator(mode="after")
    def _is_one_solvent(self) -> "Solvent":
        if (self.name is None) == (self.eps is None):
            raise ValueError("give the solvent by 'name' or by 'eps', one of the two")
        if self.model == "smd" and self.name is None:
            raise ValueError(
                "name: smd needs the name of a solvent, not its permittivity alone"
            )
        return self

    def identity(self) -> dict[str, Any]:
        """Everything that changes an energy (JSON-like)."""
        surface: dict[str, Any] = {"lebedev_order": PCM_ORDER}
        if self.model == "ddcosmo":
            surface = {"lebedev_order": DDCOSMO_ORDER, "momentum": DDCOSMO_MOMENTUM}
        elif self.model == "smd":
            surface = {"points": SMD_POINTS}
        what = {"name": self.name} if self.eps is None else {"eps": self.eps}
        return {"model": self.model, **what, "surface": surface}


def check(what: Solvent) -> None:
    """Refuse a solvent that PySCF does not know.

    Raises:
        SettingsError: If its name is not in the table.
    """
    known = load("pyscf.solvent.smd").solvent_db
    if what.name is not None and what.name not in known:
        match = closest(what.name, known)
        raise SettingsError(
            f"there is no solvent {what.name!r} in the table of SMD",
            next_step=f"did you mean {match!r}?" if match else "give its 'eps'",
        )


def immersed(solver: Any, what: Solvent) -> Any:
    """A solver of PySCF in a solvent; density fitting must be part of it already.

    PySCF would leave the forces of the solvent out if densities were fitted afterwards.

    Args:
        solver: The solver in vacuum.
        what: The solvent.
    """
    models = load("pyscf.solvent")
    if what.model == "smd":
        medium = load("pyscf.solvent.smd").SMD(solver.mol, what.name)
        medium.sasa_ng = SMD_POINTS
        medium.surface_discretization_method = "SWIG"
        return models.SMD(solver, medium)
    if what.model == "ddcosmo":
        medium = load("pyscf.solvent.ddcosmo").DDCOSMO(solver.mol)
        medium.lebedev_order = DDCOSMO_ORDER
        medium.lmax = DDCOSMO_MOMENTUM
    else:
        medium = load("pyscf.solvent.pcm").PCM(solver.mol)
        medium.method = what.model.upper()
        medium.lebedev_order = PCM_ORDER
        medium.surface_discretization_method = "SWIG"
    medium.eps = what.eps or _permittivity(str(what.name))
    attach = models.ddCOSMO if what.model == "ddcosmo" else models.PCM
    return attach(solver, medium)


def _permittivity(name: str) -> float:
    return float(load("pyscf.solvent.smd").solvent_db[name][_PERMITTIVITY])
