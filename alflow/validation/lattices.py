"""Simple crystals: their cells, and the one with the least energy."""

from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms
from ase.build import bulk
from jaxtyping import Float

from alflow.core.elements import SYMBOLS
from alflow.core.errors import SettingsError
from alflow.models.potential import Potential
from alflow.validation.potentials import Unanswered, energies
from alflow.validation.settings import Phase, SolidSettings

ATOMS_PER_CUBE = {"fcc": 4, "bcc": 2, "sc": 1, "diamond": 8}
IDEAL_C_OVER_A = (8 / 3) ** 0.5
_C_OVER_A_STEPS = np.linspace(0.94, 1.06, 9)
_MOST_WALKS = 8
_SEARCHED = np.linspace(0.85, 1.15, 25)
"""Factors on the guessed lattice constant among which the minimum is looked for first."""
_WINDOW = np.linspace(0.99, 1.01, 11)
"""Factors on the lattice constant within which E(V) is fitted: three per cent of the volume."""
_VOLUME_TOLERANCE, _AXES_TOLERANCE = 1e-5, 1e-4
"""Relative changes at which a search ends. Energies in single precision bear no smaller ones."""


@dataclass(frozen=True, slots=True)
class Crystal:
    """A crystal of one element.

    Attributes:
        symbol: Chemical symbol.
        phase: Which crystal.
        volume_A3: Volume of an atom [Å³].
        c_over_a: Ratio of axes; of use for hcp only.
    """

    symbol: str
    phase: Phase
    volume_A3: float
    c_over_a: float = IDEAL_C_OVER_A

    @property
    def lattice_A(self) -> float:
        """Lattice constant a [Å], of the conventional cell."""
        return lattice_constant_A(self.phase, self.volume_A3, self.c_over_a)

    def primitive(self) -> Atoms:
        """The smallest cell; axes of cubic crystals along x, y, z, the c of hcp along z."""
        if self.phase == "hcp":
            c_A = self.lattice_A * self.c_over_a
            return bulk(self.symbol, "hcp", a=self.lattice_A, c=c_A)
        return bulk(self.symbol, self.phase, a=self.lattice_A)

    def conventional(self) -> Atoms:
        """The cube of a cubic crystal; of hcp the smallest cell."""
        if self.phase == "hcp":
            return self.primitive()
        return bulk(self.symbol, self.phase, a=self.lattice_A, cubic=True)

    def supercell(self, sites: int) -> Atoms:
        """The most compact repetition of the conventional cell with at least so many sites."""
        unit = self.conventional()
        lengths = unit.cell.lengths()
        edge = (sites * self.volume_A3) ** (1 / 3)
        while True:
            repeats = np.maximum(1, np.rint(edge / lengths).astype(int))
            if len(unit) * int(np.prod(repeats)) >= sites:
                found: Atoms = unit.repeat(tuple(int(n) for n in repeats))
                return found
            edge *= 1.01

    def energy_per_atom(self, potential: Potential) -> Float[np.ndarray, " columns"]:
        """Energy of an atom [eV], by the mean and by the members."""
        cell = self.primitive()
        return energies(potential, [cell])[:, 0] / len(cell)


@dataclass(frozen=True, eq=False, slots=True)
class EnergyVolume:
    """Energies of a crystal over its volume, next to the minimum, and what follows from them.

    Attributes:
        crystal: The crystal with the least energy by the mean.
        volumes_A3: Volumes of an atom [Å³], ascending.
        energies_eV: Energies of an atom [eV], (columns, volumes).
        minimum_A3: Volume with the least energy of each column [Å³]; NaN where there is none.
        minimum_eV: That energy [eV].
        bulk_modulus: At that volume [eV/Å³].
    """

    crystal: Crystal
    volumes_A3: Float[np.ndarray, " volumes"]
    energies_eV: Float[np.ndarray, "columns volumes"]
    minimum_A3: Float[np.ndarray, " columns"]
    minimum_eV: Float[np.ndarray, " columns"]
    bulk_modulus: Float[np.ndarray, " columns"]


def lattice_constant_A(phase: Phase, volume_A3: float, c_over_a: float) -> float:
    """Lattice constant a [Å] of a crystal with this volume of an atom."""
    if phase == "hcp":
        return float((4 * volume_A3 / (3**0.5 * c_over_a)) ** (1 / 3))
    return float((ATOMS_PER_CUBE[phase] * volume_A3) ** (1 / 3))


def guessed_volume_A3(settings: SolidSettings) -> float:
    """Volume of an atom to start from [Å³]: as set, or that of the element in nature.

    Raises:
        SettingsError: If none is set, and ASE knows no simple crystal of the element.
    """
    if settings.volume_A3 is not None:
        return settings.volume_A3
    try:
        found = bulk(settings.element)
    except (ValueError, KeyError, NotImplementedError) as error:
        raise SettingsError(
            f"nothing is known here about crystals of {settings.element}",
            next_step="set volume_A3, the volume of an atom in Å³",
        ) from error
    return float(found.get_volume() / len(found))


def equilibrium(potential: Potential, guess: Crystal) -> EnergyVolume:
    """The crystal with the least energy next to a guess, and its energies around it.

    Raises:
        Unanswered: If there is no minimum within 15 per cent of the lattice constant, or none of
            the axes of hcp.
        SettingsError: If the potential does not know the element.
    """
    if SYMBOLS.index(guess.symbol) not in potential.elements:
        raise SettingsError(f"the potential does not know {guess.symbol}")
    scanned = [replace(guess, volume_A3=guess.volume_A3 * f**3) for f in _SEARCHED]
    found = energies(potential, [one.primitive() for one in scanned])[0]
    is_lower = (found[1:-1] <= found[:-2]) & (found[1:-1] < found[2:])
    places = np.flatnonzero(is_lower & np.isfinite(found[1:-1])) + 1
    if not len(places):
        raise Unanswered(
            f"{guess.symbol} in {guess.phase} has no minimum of the energy between "
            f"{scanned[0].volume_A3:.3g} and {scanned[-1].volume_A3:.3g} Å³ per atom"
        )
    nearest = places[np.abs(_SEARCHED[places] - 1).argmin()]
    crystal = scanned[nearest]
    curve = _around(potential, crystal)
    for _ in range(_MOST_WALKS):
        old, crystal = crystal, curve.crystal
        if abs(crystal.volume_A3 / old.volume_A3 - 1) < _VOLUME_TOLERANCE:
            break
        curve = _around(potential, crystal)
    return curve


def birch_murnaghan(
    volumes_A3: Float[np.ndarray, " volumes"],
    energies_eV: Float[np.ndarray, "columns volumes"],
) -> tuple[Float[np.ndarray, " columns"], ...]:
    """Volume [Å³], energy [eV] and bulk modulus [eV/Å³] at the minimum of a fit of E(V).

    The equation of state of third order of Birch and Murnaghan is a cubic polynomial in V^(-2/3),
    so that the fit has an exact solution. Where it has no minimum the three are NaN.
    """
    scale = float(np.mean(volumes_A3))
    x = (volumes_A3 / scale) ** (-2 / 3) - 1
    coefficients = np.polynomial.polynomial.polyfit(x, energies_eV.T, 3)
    _, b, c, d = coefficients
    with np.errstate(invalid="ignore", divide="ignore"):
        root = np.sqrt(c**2 - 3 * b * d)
        # the root with a positive second derivative, in a form that stands d = 0
        least = -b / (c + root)
        curvature = 2 * c + 6 * d * least
        volume = scale * (1 + least) ** (-1.5)
    slope = -(2 / 3) * (1 + least) / volume
    energy = np.polynomial.polynomial.polyval(least, coefficients, tensor=False)
    return volume, energy, volume * curvature * slope**2


def _around(potential: Potential, crystal: Crystal) -> EnergyVolume:
    """E(V) in a window around a volume; for hcp with the best ratio of axes at each."""
    crystals = [replace(crystal, volume_A3=crystal.volume_A3 * f**3) for f in _WINDOW]
    if crystal.phase == "hcp":
        crystals = _with_best_axes(potential, crystals)
    cells = [one.primitive() for one in crystals]
    found = energies(potential, cells) / len(cells[0])
    volumes_A3 = np.array([one.volume_A3 for one in crystals])
    volume, energy, modulus = birch_murnaghan(volumes_A3, found)
    if not np.isfinite(volume[0]):
        raise Unanswered(f"E(V) of {crystal.symbol} in {crystal.phase} has no minimum")
    low, high = crystal.volume_A3 * 0.9, crystal.volume_A3 * 1.1
    best = float(np.clip(volume[0], low, high))
    at_minimum = replace(crystal, volume_A3=best)
    if crystal.phase == "hcp":
        at_minimum = _with_best_axes(potential, [replace(crystals[5], volume_A3=best)])[0]
    return EnergyVolume(at_minimum, volumes_A3, found, volume, energy, modulus)


def _with_best_axes(potential: Potential, crystals: list[Crystal]) -> list[Crystal]:
    """The same volumes, each with the ratio of axes that has the least energy by the mean."""
    best = np.array([one.c_over_a for one in crystals])
    for _ in range(_MOST_WALKS):
        ratios = best[:, None] * _C_OVER_A_STEPS
        cells = [
            replace(one, c_over_a=ratio).primitive()
            for one, row in zip(crystals, ratios, strict=True)
            for ratio in row.tolist()
        ]
        found = energies(potential, cells)[0].reshape(ratios.shape)
        step = _lowest(_C_OVER_A_STEPS, found)
        best = best * step
        if np.abs(step - 1).max() < _AXES_TOLERANCE:
            return [
                replace(one, c_over_a=float(ratio))
                for one, ratio in zip(crystals, best, strict=True)
            ]
    raise Unanswered(f"hcp {crystals[0].symbol} has no best ratio of its axes")


def _lowest(
    x: Float[np.ndarray, " points"], y: Float[np.ndarray, "rows points"]
) -> Float[np.ndarray, " rows"]:
    """Where the quartic through each row is lowest, on a fine grid and then by a parabola."""
    coefficients = np.polynomial.polynomial.polyfit(x - 1, y.T, 4)
    fine = np.linspace(x[0], x[-1], 1201)
    values = np.polynomial.polynomial.polyval(fine - 1, coefficients)
    place = np.clip(values.argmin(axis=1), 1, len(fine) - 2)
    rows = np.arange(len(y))
    left, middle, right = (values[rows, place + k] for k in (-1, 0, 1))
    bend = left - 2 * middle + right
    shift = np.where(bend > 0, 0.5 * (left - right) / np.where(bend > 0, bend, 1.0), 0.0)
    lowest: np.ndarray = fine[place] + np.clip(shift, -1, 1) * (fine[1] - fine[0])
    return lowest
