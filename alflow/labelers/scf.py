"""Self-consistent fields with PySCF: one rung after another, until one converges."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from alflow.core.elements import SYMBOLS
from alflow.core.structures import Structure
from alflow.labelers.accelerator import on_cpu, on_gpu
from alflow.labelers.engine import load
from alflow.labelers.names import core_potentials
from alflow.labelers.quality import TRANSITION_METALS
from alflow.labelers.solvent import Solvent, immersed

COARSE_GRID_LEVEL = 1
"""Grid of the first cycles. On clusters of two and three water molecules (wB97X/6-31G*, grid
level 4) starting there saved 15-30 % of the SCF time, none for one molecule, and moved the
converged energy by less than 1e-11 Hartree. It is part of the level, as it may pick the state."""

COARSE_CONV_TOL = 1e-6
NEWTON_CYCLES = 50
WALK_CONV_TOL = 1e-4
LEVEL_SHIFT_HARTREE = 0.3
SMEARING_HARTREE = 0.01
"""Width of the occupations that only make a guess: a smeared energy is another one."""
SAME_STATE_HARTREE = 1e-6
SECOND_GUESS = "huckel"
"""The second start of hard cases: of the guesses it found the lowest state of FeO and CrO."""


@dataclass(frozen=True, slots=True)
class Level:
    """What is to be solved, fully resolved.

    Attributes:
        method: "hf" or a functional.
        basis: Basis set.
        cartesian: Whether d and higher functions are Cartesian.
        fitting: Auxiliary basis, or None for exact integrals.
        grid_level: Level of the integration grid.
        grid_response: Whether forces include the motion of the grid.
        is_unrestricted: Whether singlets are treated as open shells too.
        conv_tol_hartree: Convergence of the energy [Hartree].
        second_start: Whether hard cases, or `always` all, are started twice, and the lower solution
            counts.
        solvent: What is around the molecule, or None for vacuum.
    """

    method: str
    basis: str
    cartesian: bool
    fitting: str | None
    grid_level: int
    grid_response: bool
    is_unrestricted: bool
    conv_tol_hartree: float
    second_start: bool | Literal["always"] = True
    solvent: Solvent | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What a calculation may use; changes no number.

    Attributes:
        max_cycle: Cycles on one rung.
        max_memory_MB: Hint to PySCF on memory [MB], beyond what the process has in use.
        is_on_gpu: Whether the usual way to converge, and forces, are computed on a GPU. What the
            usual way does not solve is left to the CPU.
    """

    max_cycle: int
    max_memory_MB: int
    is_on_gpu: bool = False


@dataclass(slots=True)
class Rung:
    """How one try to converge went.

    Attributes:
        name: Name of the method of convergence.
        solver: The PySCF object; its orbitals are those of the last cycle.
        cycles: Number of cycles, the coarse ones included.
        energy_change: Change of the energy in the last cycle [Hartree].
        gradient: Norm of the orbital gradient in the last cycle.
    """

    name: str
    solver: Any
    cycles: int = 0
    energy_change: float = float("inf")
    gradient: float = float("inf")

    @property
    def is_converged(self) -> bool:
        """Whether PySCF says so."""
        return bool(self.solver.converged)

    def watch(self, cycle: dict[str, Any]) -> None:
        """Callback of PySCF: note how close to convergence a cycle came."""
        self.cycles += 1
        if "norm_gorb" in cycle:
            self.gradient = float(cycle["norm_gorb"])
        if "last_hf_e" in cycle and "e_tot" in cycle:
            self.energy_change = float(cycle["e_tot"] - cycle["last_hf_e"])

    def to_json(self) -> dict[str, Any]:
        """A JSON-like dict; None where a number is not finite."""
        values = {
            "energy_hartree": float(self.solver.e_tot),
            "energy_change_hartree": self.energy_change,
            "gradient": self.gradient,
        }
        finite = {
            key: value if np.isfinite(value) else None for key, value in values.items()
        }
        return {"rung": self.name, "cycles": self.cycles, **finite}


@dataclass(slots=True)
class Ascent:
    """All rungs that were tried; the last one converged, or none did.

    Attributes:
        rungs: The rungs, the one that decided last.
        raised_hartree: By how much another start that converged ended higher [Hartree]; None if
            there was none.
    """

    rungs: list[Rung] = field(default_factory=list)
    raised_hartree: float | None = None

    @property
    def last(self) -> Rung:
        """The rung that decided."""
        return self.rungs[-1]


def molecule(structure: Structure, level: Level, limits: Limits) -> Any:
    """The PySCF molecule of a structure."""
    atoms = [
        (SYMBOLS[number], tuple(position))
        for number, position in zip(structure.numbers, structure.positions, strict=True)
    ]
    # PySCF counts the whole process, and one that was forked has its parent's memory in use.
    in_use_MB, _ = load("pyscf.lib").current_memory()
    return load("pyscf.gto").M(
        atom=atoms,
        basis=level.basis,
        ecp=core_potentials(level.basis, structure.numbers.tolist()),
        cart=level.cartesian,
        charge=structure.charge,
        spin=structure.multiplicity - 1,
        unit="Angstrom",
        symmetry=False,
        verbose=0,
        max_memory=in_use_MB + limits.max_memory_MB,
        dump_input=False,
        parse_arg=False,
    )


def converge(mol: Any, level: Level, limits: Limits) -> Ascent:
    """Climb until a rung converges. Starts from the guess of atoms, never from other results.

    A singlet that may break its symmetry is started twice, because each start misses states
    that the other finds; the lower energy counts.
    """
    ascent = Ascent([_diis(mol, level, limits, None)])
    if level.is_unrestricted and mol.spin == 0:
        density = _mixed_density(mol, level, limits)
        _also(ascent, _diis(mol, level, limits, density))
    for climb in _LADDER:
        if ascent.last.is_converged:
            break
        ascent.rungs.append(climb(mol, level, limits, ascent))
    is_hard = (
        level.second_start == "always"
        or mol.spin > 1
        or len(ascent.rungs) > 1
        or not TRANSITION_METALS.isdisjoint(mol.atom_charges().tolist())
    )
    if is_hard and level.second_start and ascent.last.is_converged:
        second = _diis(mol, level, limits, None, SECOND_GUESS)
        second.name = f"{SECOND_GUESS} second"
        _also(ascent, second)
    return ascent


def walk_down(mol: Any, level: Level, limits: Limits, density: Any) -> Rung:
    """Roughly the unrestricted solution below a restricted one that is a saddle.

    By second order, which walks away from saddles where extrapolation returns to them, and on the
    coarse grid: its energy is good to some 0.01 eV.

    Args:
        mol: The molecule.
        level: What is to be solved.
        limits: What it may use.
        density: Densities of both spins, off the saddle.
    """
    walk = Rung("walk", _solver(mol, replace(level, is_unrestricted=True), limits))
    if level.method != "hf":
        _set_grid(walk.solver, min(COARSE_GRID_LEVEL, level.grid_level))
    walk.solver = walk.solver.newton()
    walk.solver.conv_tol, walk.solver.max_cycle = WALK_CONV_TOL, NEWTON_CYCLES
    return _run(walk, density)


def polarised(mol: Any, level: Level, limits: Limits, density: Any) -> Ascent:
    """The unrestricted solution from a density of both spins; the mixed start may be lower."""
    level = replace(level, is_unrestricted=True)
    ascent = Ascent([_diis(mol, level, limits, density)])
    ascent.last.name = "polarised"
    mixed = _diis(mol, level, limits, _mixed_density(mol, level, limits))
    mixed.name = "mixed"
    _also(ascent, mixed)
    return ascent


def _also(ascent: Ascent, rung: Rung) -> None:
    """Take the solution of another start if it is lower."""
    before = ascent.last
    ascent.rungs.append(rung)
    if before.is_converged and rung.is_converged:
        ascent.raised_hartree = abs(float(before.solver.e_tot - rung.solver.e_tot))
    ascent.rungs.sort(key=lambda one: (one.is_converged, -float(one.solver.e_tot)))


def gradient(
    solver: Any, level: Level, *, is_on_gpu: bool = False
) -> Float[np.ndarray, "atoms 3"]:
    """Gradient of a converged energy [Hartree/Bohr], (atoms, 3).

    Raises:
        ValueError: If the solver has not converged: PySCF itself would not mind.
    """
    if not solver.converged:
        raise ValueError("forces of an unconverged density were asked for")
    gradients = (on_gpu(solver) if is_on_gpu else solver).nuc_grad_method()
    if level.method != "hf":
        gradients.grid_response = level.grid_response
    return np.asarray(gradients.kernel(), np.float64)


def _solver(mol: Any, level: Level, limits: Limits, guess: str = "minao") -> Any:
    is_open = level.is_unrestricted or mol.spin != 0
    if level.method == "hf":
        scf = load("pyscf.scf")
        solver = (scf.UHF if is_open else scf.RHF)(mol)
    else:
        dft = load("pyscf.dft")
        solver = (dft.UKS if is_open else dft.RKS)(mol, xc=level.method)
        _set_grid(solver, level.grid_level)
    if level.fitting is not None:
        solver = solver.density_fit(auxbasis=level.fitting)
    if level.solvent is not None:
        solver = immersed(solver, level.solvent)
    solver.chkfile = None
    solver.init_guess = guess
    solver.conv_tol = level.conv_tol_hartree
    solver.max_cycle = limits.max_cycle
    return solver


def _set_grid(solver: Any, grid_level: int) -> None:
    # Spelt out, although these are the defaults of PySCF today: they are part of the level.
    gen_grid, radi = load("pyscf.dft.gen_grid"), load("pyscf.dft.radi")
    solver.grids = gen_grid.Grids(solver.mol)
    solver.grids.level = grid_level
    solver.grids.prune = gen_grid.nwchem_prune
    solver.grids.radi_method = radi.treutler_ahlrichs
    solver.grids.atomic_radii = radi.BRAGG_RADII
    solver.grids.radii_adjust = radi.treutler_atomic_radii_adjust


def _diis(
    mol: Any, level: Level, limits: Limits, density: Any, guess: str = "minao"
) -> Rung:
    """The usual way; a functional is first converged roughly on a coarse grid."""
    rung = Rung("diis", _solver(mol, level, limits, guess))
    if level.method != "hf" and level.grid_level > COARSE_GRID_LEVEL:
        coarse = _coarse(rung, level, density, limits)
        if not coarse.converged:
            return rung  # A finer grid would not help.
        density = coarse.make_rdm1()
        _set_grid(rung.solver, level.grid_level)
        rung.solver.conv_tol = level.conv_tol_hartree
    return _run(rung, density, is_on_gpu=limits.is_on_gpu)


def _coarse(rung: Rung, level: Level, density: Any, limits: Limits) -> Any:
    if level.method != "hf":
        _set_grid(rung.solver, min(COARSE_GRID_LEVEL, level.grid_level))
    rung.solver.conv_tol = max(COARSE_CONV_TOL, level.conv_tol_hartree)
    return _run(rung, density, is_on_gpu=limits.is_on_gpu).solver


def _mixed_density(mol: Any, level: Level, limits: Limits) -> Float[np.ndarray, "2 ao ao"]:
    """Restricted orbitals with HOMO and LUMO mixed, one way for each spin."""
    restricted = Rung("guess", _solver(mol, replace(level, is_unrestricted=False), limits))
    orbitals = _coarse(restricted, level, None, limits).mo_coeff
    n_pairs = mol.nelectron // 2
    occupied = orbitals[:, : n_pairs - 1]
    core = occupied @ occupied.T
    if n_pairs == orbitals.shape[1]:
        return np.array([orbitals @ orbitals.T] * 2)
    homo, lumo = orbitals[:, n_pairs - 1], orbitals[:, n_pairs]
    mixed = [(homo + lumo) / 2**0.5, (homo - lumo) / 2**0.5]
    return np.array([core + np.outer(orbital, orbital) for orbital in mixed])


def _damped(mol: Any, level: Level, limits: Limits, _ascent: Ascent) -> Rung:
    """From the start again, with damping in the first cycles and a longer memory."""
    rung = Rung("damped", _solver(mol, level, limits))
    rung.solver.diis_start_cycle = 8
    rung.solver.diis_space = 12
    rung.solver.damp = 0.4
    return _run(rung, None)


def _shifted(mol: Any, level: Level, limits: Limits, _ascent: Ascent) -> Rung:
    """With empty orbitals raised, and then once more without that from the density found."""
    rung = Rung("shifted", _solver(mol, level, limits))
    rung.solver.level_shift = LEVEL_SHIFT_HARTREE
    density = _run(rung, None).solver.make_rdm1()
    rung.solver.level_shift = 0
    return _run(rung, density)


def _other_guess(guess: str) -> "Climb":
    def climb(mol: Any, level: Level, limits: Limits, _ascent: Ascent) -> Rung:
        """From another guess."""
        rung = _diis(mol, level, limits, None, guess)
        rung.name = guess
        return rung

    return climb


def _smeared(mol: Any, level: Level, limits: Limits, _ascent: Ascent) -> Rung:
    """Second order from the density of smeared occupations, which itself is no answer."""
    rung = Rung("smeared", _solver(mol, level, limits))
    smearing = load("pyscf.scf.addons").smearing
    rung.solver = smearing(rung.solver, sigma=SMEARING_HARTREE, method="fermi")
    return _newton(mol, level, limits, Ascent([_run(rung, None)]), "smeared")


def _newton(
    mol: Any, level: Level, limits: Limits, ascent: Ascent, name: str = "newton"
) -> Rung:
    """Second order, from the density that came closest; never from scratch."""
    closest = min(ascent.rungs, key=lambda rung: rung.gradient)
    rung = Rung(name, _solver(mol, level, limits).newton())
    rung.solver.max_cycle = NEWTON_CYCLES
    return _run(rung, closest.solver.make_rdm1())


Climb = Callable[[Any, Level, Limits, Ascent], Rung]
_LADDER: tuple[Climb, ...] = (
    _damped,
    _shifted,
    _other_guess("atom"),
    _other_guess("huckel"),
    _newton,
    _smeared,
)
"""What is tried in turn when the usual way does not converge."""


def _run(rung: Rung, density: Any, *, is_on_gpu: bool = False) -> Rung:
    watch: Callable[[dict[str, Any]], None] = rung.watch
    if is_on_gpu:
        rung.solver = on_gpu(rung.solver)
    rung.solver.callback = watch
    rung.solver.kernel(dm0=density)
    rung.solver.callback = None
    if is_on_gpu:
        rung.solver = on_cpu(rung.solver)
    return rung
