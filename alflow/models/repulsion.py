"""The repulsion of atoms below the networks: what no data set teaches, they do not fuse.

The universal screened potential of Ziegler, Biersack and Littmark (The Stopping and Range of Ions
in Solids, 1985), switched off smoothly at 0.8 of the sum of the covalent radii, so that it acts
where atoms are closer than any bond vibrates. Where it is fitted, a sum of c (1 - r/R)^4 with
positive coefficients is added for each pair of elements, which repels as steeply as the labels do.
Networks learn the rest.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from alflow.core.elements import COVALENT_RADII_A, SYMBOLS, atomic_number
from alflow.core.units import ANGSTROM_PER_BOHR, COULOMB_EV_A
from alflow.models.compiled import is_switched_off, usable
from alflow.models.potential import Batch, Pairs

SHARES = (0.18175, 0.50986, 0.28022, 0.02817)
DECAYS = (3.19980, 0.94229, 0.40290, 0.20162)
"""The screening function is the sum of `share * exp(-decay * r / length)`."""
SCREENING_A, SCREENING_POWER = 0.8854 * ANGSTROM_PER_BOHR, 0.23
"""The screening length is 0.8854 Bohr / (Z_i^0.23 + Z_j^0.23)."""
POWER = 6
"""Power of the envelope 1 - (p+1)(p+2)/2 x^p + p(p+2) x^(p+1) - p(p+1)/2 x^(p+2), which and two
derivatives of which vanish at the cutoff (Gasteiger, Groß and Günnemann, ICLR 2020)."""
ZBL_REACH = 0.8
"""Reach of the bare repulsion, in sums of covalent radii. Up to the sum itself it acts on double
bonds, which networks have to take back: force errors on acetylacetone were 1.4 times as large."""
REACHES = (0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3)
"""Reach R of each fitted term, in sums of covalent radii."""
FITTED_POWER = 4
MODULES, SOURCES = (
    ("alflow.models.repulsion_kernel",),
    ("repulsion.py", "repulsion_kernel.py"),
)


@dataclass(frozen=True, eq=False, slots=True)
class Repelled:
    """What atoms do to each other.

    Attributes:
        energies: Of each system [eV], float64, (systems,).
        forces: On each atom [eV/Å], float64, (atoms, 3).
        virial: Derivative of the energy of each system in a strain [eV], float64,
            (systems, 3, 3); by the volume it is the stress.
    """

    energies: Float[Tensor, " systems"]
    forces: Float[Tensor, "atoms 3"]
    virial: Float[Tensor, "systems 3 3"]


@dataclass(frozen=True, slots=True)
class Repulsion:
    """The repulsion of all pairs of atoms.

    Attributes:
        name: `zbl`, or `fitted` for one with further terms.
        terms: Coefficients of the fitted terms [eV], one for each of `REACHES`, by the atomic
            numbers of a pair, ascending.
    """

    name: str
    terms: Mapping[tuple[int, int], Sequence[float]] = field(default_factory=dict)
    _tables: "_Tables" = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Lay coefficients out for the kernels, once: dynamics asks at every step."""
        object.__setattr__(self, "_tables", _Tables.of(self.terms))

    def evaluate(self, batch: Batch, pairs: Pairs) -> Repelled:
        """Energies, forces and virials, in double precision.

        Args:
            batch: Systems.
            pairs: Every ordered pair within a cutoff; those farther apart than `reach_A` says do
                not count.
        """
        is_compiled = batch.positions.device.type == "cpu" and not is_switched_off()
        if is_compiled and usable("of the repulsion", MODULES, SOURCES):
            return _by_kernel(batch, pairs, self._tables)
        return _by_torch(batch, pairs, self._tables)

    def to_json(self) -> str | dict[str, list[float]]:
        """Name alone, or coefficients by pair of symbols."""
        if self.name == ZBL:
            return self.name
        return {
            f"{SYMBOLS[a]}-{SYMBOLS[b]}": [float(c) for c in values]
            for (a, b), values in sorted(self.terms.items())
        }

    @classmethod
    def from_json(cls, value: str | Mapping[str, Sequence[float]]) -> "Repulsion":
        """The inverse of `to_json`.

        Raises:
            ValueError: If it is none of this version.
        """
        if isinstance(value, str):
            if value != ZBL:
                raise ValueError(f"there is no repulsion {value!r}")
            return cls(ZBL)
        terms = {}
        for pair, given in value.items():
            first, second = pair.split("-")
            numbers = [float(c) for c in given]
            if len(numbers) != len(REACHES) or not all(0 <= c < np.inf for c in numbers):
                raise ValueError(f"the repulsion of {pair} has wrong coefficients")
            terms[atomic_number(first), atomic_number(second)] = tuple(numbers)
        return cls(FITTED, terms)


ZBL, FITTED = "zbl", "fitted"


@dataclass(frozen=True, eq=False, slots=True)
class _Tables:
    """Fitted terms: the row of `coefficients` by two atomic numbers; row 0 is of zeros."""

    index: Int[np.ndarray, "elements elements"]
    coefficients: Float[np.ndarray, "rows terms"]

    @classmethod
    def of(cls, terms: Mapping[tuple[int, int], Sequence[float]]) -> "_Tables":
        """Lay them out."""
        index = np.zeros((len(COVALENT_RADII_A), len(COVALENT_RADII_A)), np.int64)
        rows = [np.zeros(len(REACHES))]
        for (a, b), values in terms.items():
            index[a, b] = index[b, a] = len(rows)
            rows.append(np.array(values, np.float64))
        return cls(index, np.stack(rows))


def _by_kernel(batch: Batch, pairs: Pairs, tables: _Tables) -> Repelled:
    from alflow.models.repulsion_kernel import repelled

    energies, forces, virial = repelled(
        batch.positions.detach().numpy(),
        batch.numbers.numpy(),
        batch.system_idx.numpy(),
        batch.cells.detach().numpy(),
        pairs.i.numpy(),
        pairs.j.numpy(),
        pairs.shifts.numpy(),
        COVALENT_RADII_A,
        tables.index,
        tables.coefficients,
    )
    found = (torch.from_numpy(array) for array in (energies, forces, virial))
    return Repelled(*found)


def _by_torch(batch: Batch, pairs: Pairs, tables: _Tables) -> Repelled:
    """The same with torch, on any device."""
    device = batch.positions.device
    vectors = pairs.vectors(batch).detach().to(torch.float64)
    radii = torch.from_numpy(COVALENT_RADII_A).to(device)
    z_i, z_j = batch.numbers[pairs.i], batch.numbers[pairs.j]
    squares, bond = vectors.square().sum(1), radii[z_i] + radii[z_j]
    is_fitted = len(tables.coefficients) > 1
    reach = bond * (REACHES[-1] if is_fitted else ZBL_REACH)
    near = (squares < reach.square()).nonzero()[:, 0]
    vectors, bond, centres, r = (
        vectors[near],
        bond[near],
        pairs.i[near],
        squares[near].sqrt(),
    )
    z_i, z_j = z_i[near], z_j[near]
    energy, change = _zbl(r, z_i.double(), z_j.double(), ZBL_REACH * bond)
    index = torch.from_numpy(tables.index).to(device)
    rows = torch.from_numpy(tables.coefficients).to(device)[index[z_i, z_j]]
    for share, coefficient in zip(REACHES, rows.unbind(1), strict=True):
        left = (1 - r / (share * bond)).clamp(min=0)
        energy = energy + coefficient * left**FITTED_POWER
        slope = -FITTED_POWER * left ** (FITTED_POWER - 1) / (share * bond)
        change = change + coefficient * slope
    pulls = (change / r)[:, None] * vectors
    system = batch.system_idx[centres]
    n_systems, n_atoms = batch.n_systems, batch.n_atoms
    return Repelled(
        vectors.new_zeros(n_systems).index_add_(0, system, energy / 2),
        vectors.new_zeros(n_atoms, 3).index_add_(0, centres, pulls),
        vectors.new_zeros(n_systems, 3, 3).index_add_(
            0, system, torch.einsum("px,py->pxy", vectors, pulls) / 2
        ),
    )


def _zbl(r: Tensor, z_i: Tensor, z_j: Tensor, reach: Tensor) -> tuple[Tensor, Tensor]:
    """Energies of pairs, and their derivatives in the distance."""
    length = SCREENING_A / (z_i**SCREENING_POWER + z_j**SCREENING_POWER)
    screening, slope = torch.zeros_like(r), torch.zeros_like(r)
    for share, decay in zip(SHARES, DECAYS, strict=True):
        part = share * torch.exp(-decay * r / length)
        screening, slope = screening + part, slope - decay / length * part
    x, p = (r / reach).clamp(max=1.0), POWER
    envelope = (
        1
        - (p + 1) * (p + 2) / 2 * x**p
        + p * (p + 2) * x ** (p + 1)
        - p * (p + 1) / 2 * x ** (p + 2)
    )
    fall = -p * (p + 1) * (p + 2) / 2 * x ** (p - 1) * (1 - x) ** 2 / reach
    strength = COULOMB_EV_A * z_i * z_j / r
    change = strength * (slope * envelope + screening * fall - screening * envelope / r)
    return strength * screening * envelope, change


def repulsion(name: str | None) -> Repulsion | None:
    """The repulsion of this name, not fitted yet; None for none.

    Raises:
        ValueError: If there is none of this name.
    """
    if name not in (None, ZBL, FITTED):
        raise ValueError(f"there is no repulsion {name!r}")
    return None if name is None else Repulsion(name)
