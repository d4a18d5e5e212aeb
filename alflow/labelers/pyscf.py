"""Labels of molecules by Hartree-Fock, density functionals and correlated methods, with PySCF."""

from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from alflow.core.elements import atomic_number
from alflow.core.errors import SettingsError
from alflow.core.findings import Finding
from alflow.core.protocols import Labeler
from alflow.labelers import dispersion, names, scf, solvent, stability
from alflow.labelers.accelerator import Device
from alflow.labelers.correlated import COMPONENTS, METHODS, Correlation
from alflow.labelers.dispersion import Dispersion, Model
from alflow.labelers.names import canonical_basis, canonical_method, fitting_basis
from alflow.labelers.solvent import Solvent
from alflow.registry import Settings

_SECOND_STARTS = {
    False: None,
    True: scf.SECOND_GUESS,
    "always": f"{scf.SECOND_GUESS}, always",
}
FINEST_GRID = 9
"""The finest grid of integration that PySCF has."""


class PyscfSettings(Settings):
    """Hartree-Fock, density functionals, MP2, CCSD or CCSD(T) for molecules, with PySCF."""

    handles_periodic: ClassVar[bool] = False
    kind: Literal["pyscf"] = "pyscf"
    method: str
    """`hf`, a functional by its name in PySCF, for example wb97x, pbe0, b3lyp (which is the flavour
    of Gaussian), or mp2, ccsd, ccsd(t). Names with a dispersion correction are refused: it is said
    by `dispersion`."""
    basis: str
    """Basis set by its name in PySCF, for example 6-31g* or def2-svp."""
    cartesian: bool = False
    """Cartesian instead of spherical d and f functions; Gaussian does so for 6-31g*."""
    density_fit: bool = True
    """Fit densities in an auxiliary basis: cheaper, and a level of theory of its own."""
    auxbasis: str | None = None
    """Auxiliary basis; by default one that goes with the basis set."""
    dispersion: Model | None = None
    """Dispersion correction to add, with the parameters of the functional: `d3bj`, `d3zero` (both
    without three-body terms) or `d4` (with them). Needs the extra `dispersion`."""
    solvent: Solvent | None = None
    """A solvent around the molecule, as a continuum."""
    frozen_core: bool | None = None
    """Whether a correlated method leaves the innermost electrons as they are in Hartree-Fock; must
    be said for one, as programs differ in what they take for granted."""
    correlation_auxbasis: str | None = None
    """Auxiliary basis of fitted correlation energies; by default one that goes with the basis."""
    correlated_forces: bool = False
    """Forces of correlated methods, which cost 10 to 30 times the energy and need `density_fit:
    false`; without them labels have an energy alone."""
    multireference: Literal["flag", "reject"] = "flag"
    """What to do where T1 or D1 say that one determinant is a poor reference (coupled cluster)."""
    grid_level: int = Field(default=4, ge=0, le=FINEST_GRID)
    """Level of the integration grid of functionals."""
    grid_response: bool = True
    """Let forces follow the motion of the grid, which makes them exact for a given grid."""
    unrestricted: Literal["auto", True] = "auto"
    """Open-shell treatment: auto for all but singlets; true for singlets too, from a guess of
    broken symmetry, which is what dissociating bonds need."""
    stability: Literal["reject", "flag", "relabel", "off"] = "reject"
    """What to do about a closed shell that is no ground state, as at a broken bond: put the label
    aside, tell it on the label (`instability_eV`), or take the unrestricted solution instead."""
    instability_eV: float = Field(default=0.05, ge=0)
    """How far the unrestricted energy must be below the restricted one for that [eV]."""
    stability_gap_eV: float | None = Field(default=None, ge=0)
    """Beyond this gap of the orbitals a closed shell is taken to be stable [eV]; default 4 plus 15
    times the share of exact exchange."""
    second_start: bool | Literal["always"] = True
    """Start transition metals, triplets and higher, and what needed rescue, from another guess too;
    the lower energy counts. `always` does so for all, false for none."""
    contamination_limit: float | None = Field(default=None, ge=0)
    """Largest excess of <S²> over that of the pure state of an open shell; default 0.1, and 1.0
    with transition metals."""
    conv_tol_hartree: float = Field(default=1e-9, gt=0, le=1e-4)
    """Convergence of the energy [Hartree]."""
    device: Device = "cpu"
    """Where to compute: `cpu`, `gpu` with gpu4pyscf, or `auto` for a GPU where there is one; labels
    tell which it was. For hf and functionals."""
    max_cycle: int = Field(default=100, ge=1)
    """Cycles in each of the ways to converge."""
    max_memory_MB: int = Field(default=2000, ge=100)
    """Memory that PySCF plans with [MB]; a hint, no limit."""
    force_cap_eV_per_A: float = Field(default=50.0, gt=0)
    """Labels with a larger force on an atom are put aside [eV/Å]."""
    net_force_eV_per_A: float = Field(default=1e-3, gt=0)
    """Labels with a larger net force, divided by √(number of atoms), are put aside [eV/Å]."""
    min_distance_factor: float = Field(default=0.5, ge=0)
    """Closest approach of two atoms, in sums of their covalent radii."""

    @field_validator("method")
    @classmethod
    def _no_trap(cls, method: str) -> str:
        try:
            return canonical_method(method)
        except SettingsError as error:
            raise ValueError(error.message) from error

    @model_validator(mode="after")
    def _says_what_it_correlates(self) -> "PyscfSettings":
        is_correlated = self.method in METHODS
        if is_correlated and self.frozen_core is None:
            raise ValueError(
                f"method: {self.method} needs frozen_core: true or false; ORCA and Psi4 mean true "
                "resp. false by default"
            )
        if not is_correlated and self.frozen_core is not None:
            raise ValueError(f"frozen_core: {self.method} correlates nothing: leave it out")
        if self.correlated_forces and (not is_correlated or self.density_fit):
            raise ValueError(
                "correlated_forces: of mp2, ccsd and ccsd(t) with density_fit: false only"
            )
        if is_correlated and (self.dispersion is not None or self.solvent is not None):
            name = "solvent" if self.dispersion is None else "dispersion"
            raise ValueError(f"{name}: for hf and functionals only, not for {self.method}")
        if is_correlated and self.device != "cpu":
            raise ValueError(f"device: {self.method} is computed on the CPU only")
        if self.dispersion is not None:
            self._has_parameters(self.dispersion)
        return self

    def _has_parameters(self, model: Model) -> None:
        try:
            dispersion.resolve(model, self.method)
        except SettingsError as error:
            raise ValueError(f"dispersion: {error.message}; {error.next_step}") from error

    def corrected(self) -> Dispersion | None:
        """The dispersion correction, resolved; None for none."""
        if self.dispersion is None:
            return None
        return dispersion.resolve(self.dispersion, self.method)

    def correlation(self) -> Correlation | None:
        """What is added to Hartree-Fock; None for Hartree-Fock and functionals."""
        if self.method not in METHODS:
            return None
        basis = canonical_basis(self.basis)
        fitting = self.correlation_auxbasis or names.correlation_fitting_basis(basis)
        return Correlation(
            self.method,
            bool(self.frozen_core),
            canonical_basis(fitting) if self.density_fit else None,
            self.correlated_forces,
        )

    def components(self) -> tuple[str, ...]:
        """Energies that labels tell beside the total one."""
        if self.dispersion is not None:
            return ("scf", "dispersion")
        return COMPONENTS.get(self.method, ())

    def problems(self, elements: Iterable[str]) -> Iterator[Finding]:
        """A functional that PySCF does not know, and basis sets that lack elements.

        Without PySCF nothing is found; that it is missing is told elsewhere.
        """
        if find_spec("pyscf") is None:
            return
        numbers = [atomic_number(symbol) for symbol in elements]
        yield from _finding("method", lambda: names.check_functional(self.method))
        yield from _finding("basis", lambda: names.check_basis(self.basis, numbers))
        auxbasis = self.auxbasis if self.density_fit else None
        if auxbasis is not None:
            yield from _finding("auxbasis", lambda: names.check_basis(auxbasis, numbers))
        found = self.corrected()
        if found is not None:
            check = lambda: dispersion.check(found, numbers)  # noqa: E731
            yield from _finding("dispersion", check)
        medium = self.solvent
        if medium is not None:
            yield from _finding("solvent", lambda: solvent.check(medium))
        added = self.correlation()
        if added is not None and (fitting := added.fitting) is not None:
            check = lambda: names.check_basis(fitting, numbers)  # noqa: E731
            yield from _finding("correlation_auxbasis", check)

    def level(self) -> scf.Level:
        """What is to be solved, fully resolved."""
        basis = canonical_basis(self.basis)
        return scf.Level(
            method="hf" if self.method in METHODS else self.method,
            basis=basis,
            cartesian=self.cartesian,
            fitting=(self.auxbasis or fitting_basis(basis)) if self.density_fit else None,
            grid_level=self.grid_level,
            grid_response=self.grid_response,
            is_unrestricted=self.unrestricted is True,
            conv_tol_hartree=self.conv_tol_hartree,
            second_start=self.second_start,
            solvent=self.solvent,
        )

    @property
    def has_forces(self) -> bool:
        """Whether its labels have forces."""
        return self.method not in METHODS or self.correlated_forces

    def level_identity(self) -> dict[str, Any]:
        """Everything that changes an energy or a force, resolved."""
        level = self.level()
        fitting = None if level.fitting is None else canonical_basis(level.fitting)
        identity: dict[str, Any] = {
            "kind": self.kind,
            "method": self.method,
            "basis": level.basis,
            "core_potentials": "of the basis",
            "functions": "cartesian" if level.cartesian else "spherical",
            "density_fit": fitting,
            "open_shell": "all" if level.is_unrestricted else "auto",
            "conv_tol_hartree": level.conv_tol_hartree,
            "guess": "minao, mixed" if level.is_unrestricted else "minao",
            "second_start": _SECOND_STARTS[level.second_start],
        }
        if self.stability == "relabel" and not level.is_unrestricted:
            identity["closed_shells"] = {
                "unstable": "relabelled",
                "instability_eV": self.instability_eV,
                "gap_eV": self.checked_gap_eV(),
            }
        if (correction := self.corrected()) is not None:
            identity["dispersion"] = {
                "model": correction.model,
                "parameters": correction.parameters,
                "three_body": correction.has_three_body,
            }
        if self.solvent is not None:
            identity["solvent"] = self.solvent.identity()
        added = self.correlation()
        if added is not None:
            identity["core"] = "frozen" if added.is_core_frozen else "correlated"
            identity["correlation_fit"] = added.fitting
        if level.method != "hf":
            identity["grid"] = {
                "level": level.grid_level,
                "pruning": "nwchem",
                "radii": "treutler-ahlrichs",
                "response": level.grid_response,
                "start_level": min(scf.COARSE_GRID_LEVEL, level.grid_level),
            }
        return identity

    def checked_gap_eV(self) -> float:
        """Gap of the orbitals below which a closed shell is checked [eV]."""
        if self.stability_gap_eV is not None:
            return self.stability_gap_eV
        return stability.safe_gap_eV(self.level().method)

    def tightened(self) -> "PyscfSettings":
        """The same with less noise of its own, and always started twice."""
        tighter: dict[str, Any] = {
            "second_start": "always",
            "conv_tol_hartree": self.conv_tol_hartree / 10,
            "grid_level": min(self.grid_level + 1, FINEST_GRID),
        }
        return self.model_copy(update=tighter)

    def create(self) -> Labeler:
        """The labeler with these settings.

        Raises:
            SiteError: If PySCF is not installed, or a GPU is wanted that is not there.
            SettingsError: If PySCF does not know the method or the basis.
        """
        from alflow.labelers.pyscf_run import PyscfLabeler

        return PyscfLabeler(self)


def _finding(setting: str, check: Callable[[], None]) -> Iterator[Finding]:
    try:
        check()
    except SettingsError as error:
        yield Finding((setting,), error.message, error.next_step)
